//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

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
			t, ctx, done, err := a.newToolBuild(nil, append([]string{"force"}, args...))
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
	steps     []*step // in the order of the build

	turn     chan struct{}      // an element for each call that is made
	enough   context.CancelFunc // no step begins any more
	starting sync.Mutex         // held while a process begins, which has the umask of this one
}

// A step is a call, or that a file gets another name, as a program of the build has given it.
type step struct {
	call   *client.InferredCall // nil of a new name
	env    []string
	from   string  // old name, and
	to     string  // new one
	needs  []*step // which have to end well
	follow []*step // which have to end, before it begins

	done   chan struct{} // closed when the fields below are set
	output bytes.Buffer
	made   []string // files that were not there before
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
		if len(f.steps) == 0 {
			fmt.Fprintln(f.t.a.err, "nothing was left to be made")
		}
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
			f.add(in, slices.Sorted(maps.Keys(calls)))
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

// environment is that of a call without what belonged to the make of then.
func environment(env []string) []string {
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
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	signaled := make(chan int, 1)
	go func() {
		select {
		case s := <-f.t.builder.Signals:
			kill()
			number, _ := s.(syscall.Signal) // all of Unix are
			signaled <- 128 + int(number)
		case <-ctx.Done():
			signaled <- 0
		}
	}()
	jobs := max(1, f.jobs)
	if at.Away {
		jobs = min(jobs, runtime.NumCPU())
	}
	f.turn = make(chan struct{}, jobs)
	beginning, enough := context.WithCancel(ctx)
	defer enough()
	f.enough = enough
	for _, s := range f.steps {
		go f.one(ctx, beginning, s, f.t.variables(at))
	}
	for _, s := range f.steps {
		<-s.done
		_, _ = f.t.a.err.Write(s.output.Bytes()) // what compilers say is for people
		if s.err == nil {
			continue
		}
		code = 1
		if !errors.Is(s.err, errNotBegun) {
			fmt.Fprintf(f.t.a.err, "coord force: %s: %v\n", strings.Join(s.names(), " "), s.err)
		}
	}
	f.tidy()
	kill()
	if by := <-signaled; by != 0 {
		return by, true
	}
	return code, false
}

// errNotBegun is the error of a step that was not begun after another one's, or was stopped.
var errNotBegun = errors.New("what it needs was not made")

// one takes a step when those that it waits for have ended. It begins until beginning is done, and is
// stopped when ctx is.
func (f *forcing) one(ctx, beginning context.Context, s *step, variables []string) {
	defer close(s.done)
	for _, other := range s.follow {
		<-other.done
	}
	for _, other := range s.needs {
		if <-other.done; other.err != nil {
			s.err = errNotBegun
			return
		}
	}
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	switch {
	case beginning.Err() != nil:
		s.err = errNotBegun
	case s.call == nil:
		s.err = os.Rename(s.from, s.to)
	default:
		s.err = f.start(ctx, s, variables)
	}
	if s.err != nil && ctx.Err() != nil {
		s.err = errNotBegun
	}
	if s.err != nil && !f.keepGoing {
		f.enough()
	}
}

// start runs the shim for a call.
func (f *forcing) start(ctx context.Context, s *step, variables []string) error {
	c := s.call
	for _, m := range c.Makes {
		if _, err := os.Lstat(m.Path); errors.Is(err, fs.ErrNotExist) {
			s.made = append(s.made, m.Path)
		}
	}
	p := exec.CommandContext(ctx, f.t.shim, c.Args...)
	p.Args[0] = filepath.Base(c.Tool)
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGTERM) }
	p.WaitDelay = killAfter
	p.Dir, p.Stdout, p.Stderr = c.Dir, &s.output, &s.output
	p.Env = append(slices.Clip(s.env), variables...)
	f.starting.Lock()
	mask := syscall.Umask(int(c.Umask))
	err := p.Start()
	syscall.Umask(mask)
	f.starting.Unlock()
	if err != nil {
		return err
	}
	return p.Wait()
}

// killAfter is how long a call that is stopped may take to end.
const killAfter = 2 * time.Second

// names are the files that a step makes.
func (s *step) names() (names []string) {
	if s.call == nil {
		return []string{s.to}
	}
	for _, m := range s.call.Makes {
		names = append(names, m.Path)
	}
	return names
}

// tidy removes what was made on the way, which the build has removed again.
func (f *forcing) tidy() {
	kept := map[string]bool{}
	for _, s := range f.steps {
		if s.call == nil {
			kept[s.to] = true
			continue
		}
		for _, m := range s.call.Makes {
			kept[m.Path] = kept[m.Path] || !m.Gone
		}
	}
	for _, s := range f.steps {
		for _, path := range s.made {
			if !kept[path] {
				_ = os.Remove(path) // it may not have been made
			}
		}
	}
}
