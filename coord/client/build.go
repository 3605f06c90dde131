package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"gaggle/coord/infer"
	"gaggle/wire"
)

// Build asks the agent to answer calls of tools while run goes on, and returns what became of them.
// Notes for people go to notes. That the agent goes away meanwhile is no error: tools then run here,
// and the result is nil.
func Build(ctx context.Context, opt Options, cmd *Command, notes io.Writer, run func(*Building) error) (*Calls, error) {
	c, err := Dial(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Start(cmd, nil); err != nil {
		return nil, err
	}
	ran := false
	for {
		e, err := c.Next()
		switch {
		case err != nil && ran:
			return nil, nil
		case err != nil:
			return nil, err
		case e.Note != "":
			fmt.Fprintln(notes, e.Note)
		case e.Building != nil:
			ran = true
			if err := run(e.Building); err != nil {
				return nil, err
			}
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
