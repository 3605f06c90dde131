//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/wire"
)

func (a *app) forceCmd() *cobra.Command {
	var f forcing
	var from string
	c := &cobra.Command{
		Use:   "force [FILE...]",
		Short: "Make files that coord infer has left to be made",
		Long: `Make files that coord infer has left to be made, and what they are made of; without a FILE all that it
has left in this directory. They are made of the sources as they are now, by the commands of then.`,
		RunE: func(_ *cobra.Command, args []string) error {
			t, ctx, done, err := a.newToolBuild(append([]string{"force"}, args...))
			if err != nil {
				return &result{err: err}
			}
			defer done()
			f.t = t
			if err := f.choose(from, args); err != nil {
				return &result{err: err}
			}
			return ended(f.build(ctx))
		},
	}
	c.Flags().StringVar(&from, "from", "", "`FILE` that coord infer --save has written")
	c.Flags().BoolVarP(&f.keepGoing, "keep-going", "k", false, "after an error, go on with what does not depend on it")
	c.Flags().IntVarP(&f.jobs, "jobs", "j", 64, "`CALLS` that are made at once")
	return c
}

// A forcing carries calls out that coord infer has noted.
type forcing struct {
	t         *toolBuild
	keepGoing bool
	jobs      int
	calls     []*forced // in the order of the build

	turn     chan struct{} // an element for each call that is made
	starting sync.Mutex    // held while a process begins, which has the umask of this one
	stop     context.CancelFunc
}

// A forced is one of its calls.
type forced struct {
	client.InferredCall
	env   []string
	after []*forced

	done   chan struct{} // closed when the fields below are set
	output bytes.Buffer
	err    error
}

// choose finds the calls that make files, all paths relative to the working directory.
func (f *forcing) choose(from string, files []string) error {
	dir := f.t.builder.Command.Dir
	var all []*client.Inferred
	if from == "" {
		all = client.AllInferred(f.t.opt.State)
	} else {
		in, err := client.ReadInferred(from)
		if err != nil {
			return err
		}
		all, dir = []*client.Inferred{in}, in.Dir
	}
	if len(files) == 0 {
		i := slices.IndexFunc(all, func(in *client.Inferred) bool { return in.Dir == dir })
		if i < 0 {
			return wire.Errorf(wire.CauseInvalid, "coord infer -- make comes first", "nothing was inferred in %s", dir)
		}
		f.add(all[i], all[i].Makers(""))
		return nil
	}
	needed := map[*client.Inferred]map[int]bool{}
	for _, file := range files {
		path, err := absolute(file)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(in *client.Inferred) bool { return len(in.Makers(path)) > 0 })
		if i < 0 {
			return wire.Errorf(wire.CauseInvalid, "coord infer notes what a build would make", "%s is nothing that was left to be made", file)
		}
		if needed[all[i]] == nil {
			needed[all[i]] = map[int]bool{}
		}
		for _, n := range all[i].Makers(path) {
			needed[all[i]][n] = true
		}
	}
	for _, in := range all {
		if calls := needed[in]; calls != nil {
			f.add(in, slices.DeleteFunc(in.Makers(""), func(n int) bool { return !calls[n] }))
		}
	}
	return nil
}

// absolute returns a file's path as the kernel names it.
func absolute(file string) (string, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", wire.Errorf(wire.CauseInvalid, "", "%v", err)
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

// add adds calls of one build, which wait for those whose outputs they read, and for those that make or
// read what they make anew.
func (f *forcing) add(in *client.Inferred, calls []int) {
	of := map[int]*forced{}
	makes, reads := map[string]*forced{}, map[*forced][]*forced{}
	for _, n := range calls {
		c := &forced{InferredCall: in.Calls[n], env: f.environment(in.Envs[in.Calls[n].Env]), done: make(chan struct{})}
		for _, before := range c.After {
			if other := of[before]; other != nil {
				c.after = append(c.after, other)
				reads[other] = append(reads[other], c)
			}
		}
		for _, m := range c.Makes {
			for _, path := range []string{m.Path, m.End()} {
				if other := makes[path]; other != nil && other != c {
					c.after = append(append(c.after, other), slices.DeleteFunc(slices.Clone(reads[other]), func(r *forced) bool { return r == c })...)
				}
				makes[path] = c
			}
		}
		of[n] = c
		f.calls = append(f.calls, c)
	}
}

// environment is that of a call without what belonged to the make of then.
func (f *forcing) environment(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains([]string{client.ToolsVar, client.BuildVar, client.MeshVar, "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}, name)
	})
}

// build makes the calls.
func (f *forcing) build(ctx context.Context) (code int, err error) {
	f.t.builder.Run = func(at *client.Building, _ func(context.Context) bool) (code int, stopped bool, err error) {
		code, f.t.stopped = f.run(at)
		return code, f.t.stopped, nil
	}
	calls, code, err := f.t.builder.Build(ctx, f.t.opt)
	if err == nil {
		f.t.a.tellCalls(calls)
	}
	return code, err
}

// run makes the calls, and returns 1 if one failed.
func (f *forcing) run(at *client.Building) (code int, stopped bool) {
	ctx, stop := context.WithCancel(context.Background())
	signaled := make(chan bool, 1)
	go func() {
		select {
		case <-f.t.builder.Signals:
			stop()
			signaled <- true
		case <-ctx.Done():
			signaled <- false
		}
	}()
	f.turn, f.stop = make(chan struct{}, max(1, f.jobs)), stop
	for _, c := range f.calls {
		go f.one(ctx, c, f.t.variables(at))
	}
	for _, c := range f.calls {
		<-c.done
		_, _ = f.t.a.err.Write(c.output.Bytes()) // what compilers say is for people
		if c.err == nil {
			continue
		}
		code = 1
		if !errors.Is(c.err, errNotBegun) {
			fmt.Fprintf(f.t.a.err, "coord force: %s: %v\n", strings.Join(c.names(), " "), c.err)
		}
	}
	for _, c := range f.calls {
		c.tidy()
	}
	stop()
	return code, <-signaled
}

// errNotBegun is the error of a call that was not begun after another one's.
var errNotBegun = errors.New("what it needs was not made")

// one makes a call when those that it waits for have ended.
func (f *forcing) one(ctx context.Context, c *forced, variables []string) {
	defer close(c.done)
	for _, other := range c.after {
		if <-other.done; other.err != nil {
			c.err = errNotBegun
			return
		}
	}
	select {
	case <-ctx.Done():
		c.err = errNotBegun
		return
	case f.turn <- struct{}{}:
	}
	defer func() { <-f.turn }()
	if c.err = f.start(ctx, c, variables); c.err != nil && !f.keepGoing {
		f.stop()
	}
}

// start runs the shim for a call, and gives what it made the names that the build gave it.
func (f *forcing) start(ctx context.Context, c *forced, variables []string) error {
	p := exec.CommandContext(ctx, f.t.shim, c.Args...)
	p.Args[0] = filepath.Base(c.Tool)
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGTERM) }
	p.Dir, p.Stdout, p.Stderr = c.Dir, &c.output, &c.output
	p.Env = append(slices.Clip(c.env), variables...)
	f.starting.Lock()
	mask := syscall.Umask(int(c.Umask))
	err := p.Start()
	syscall.Umask(mask)
	f.starting.Unlock()
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		return err
	}
	for _, m := range c.Makes {
		if end := m.End(); end != "" && end != m.Path {
			if err := os.Rename(m.Path, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// names are the files that a call makes.
func (c *forced) names() (names []string) {
	for _, m := range c.Makes {
		names = append(names, m.Path)
	}
	return names
}

// tidy removes what the build has removed again.
func (c *forced) tidy() {
	for _, m := range c.Makes {
		if m.Gone {
			_ = os.Remove(m.Path) // it may not have been made
		}
	}
}
