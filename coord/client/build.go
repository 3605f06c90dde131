package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"gaggle/coord/infer"
	"gaggle/wire"
)

// Build asks the agent to answer calls of tools while run goes on, and returns what became of them.
// Notes for people go to notes. That the agent goes away meanwhile is no error: tools then run here,
// and the result is nil. A signal that comes when run does not, or is over, ends the waiting by
// interrupted, which ends ctx.
func Build(ctx context.Context, opt Options, cmd *Command, notes io.Writer, run func(*Building) error, signals <-chan os.Signal, interrupted func()) (*Calls, error) {
	waiting := watchSignals(signals, interrupted)
	defer func() { waiting() }()
	c, err := Dial(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.Start(cmd, nil); err != nil {
		return nil, err
	}
	ran := false
	for {
		e, err := c.Next()
		switch {
		case ctx.Err() != nil:
			return nil, ErrInterrupted
		case err != nil && ran:
			return nil, nil
		case err != nil:
			return nil, err
		case e.Note != "":
			fmt.Fprintln(notes, e.Note)
		case e.Building != nil:
			ran = true
			waiting()
			if err := run(e.Building); err != nil {
				return nil, err
			}
			waiting = watchSignals(signals, interrupted)
			if c.Cancel() != nil {
				return nil, nil
			}
		case e.Calls != nil:
			return e.Calls, nil
		case e.End != nil && e.End.Error != nil:
			return nil, e.End.Error
		case e.End != nil:
			return nil, wire.Errorf(wire.CauseInternal, "", "the background process ended the build without a word")
		}
	}
}

// watchSignals calls interrupted at a signal, until the function that it returns is called.
func watchSignals(signals <-chan os.Signal, interrupted func()) (stop func()) {
	enough, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-signals:
			interrupted()
		case <-enough:
		}
	}()
	return sync.OnceFunc(func() { close(enough); <-over })
}

// Wait starts an agent if there is none, and returns where it answers tools.
func Wait(ctx context.Context, opt Options) (socket string, err error) {
	c, err := Dial(ctx, opt)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return stateDir(opt.State).toolSocket()
}

// Shims has a directory with a stand-in for each compiler that is on a search path, and returns it.
// It is the same for equal paths: builds keep the names of compilers that they found (cmake, in its
// cache). The shim is the program that stands in.
func Shims(state, path, shim string) (string, error) {
	if _, err := os.Stat(shim); err != nil {
		return "", wire.Errorf(wire.CauseInvalid, "make build makes it, beside coord", "there is no %s", shim)
	}
	dir := stateDir(state).path("shims", wire.Sum([]byte(path)).Short())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	wanted := map[string]bool{}
	for _, d := range filepath.SplitList(path) {
		entries, err := os.ReadDir(d)
		if err != nil || !filepath.IsAbs(d) {
			continue
		}
		for _, e := range entries {
			if infer.Compiler(e.Name()) && lookPath(e.Name(), d) != "" {
				wanted[e.Name()] = true
			}
		}
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range old {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil && target == shim && wanted[e.Name()] {
			delete(wanted, e.Name())
		} else if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	for name := range wanted {
		if err := os.Symlink(shim, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return dir, nil
}
