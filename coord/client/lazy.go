package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gaggle/coord/placeholder"
)

// The calls of coord infer, and of coord make --plan, are lazy: one is carried out only if somebody
// waits for what it makes, as a program does that the build runs. The others are noted, and their
// placeholders removed when the build has ended; what was there before is there again.

// errUnmade is why a lazy call has no value.
var errUnmade = errors.New("nobody has asked for it")

// demand has calls carried out, and those whose outputs they read, once each.
func (d *deferral) demand(calls ...*deferredCall) {
	for _, c := range d.demandOwn(calls) {
		c.of.demand(c)
	}
}

// demandOwn does that for calls of its build, and returns those of others.
func (d *deferral) demandOwn(calls []*deferredCall) (others []*deferredCall) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(calls) > 0 {
		c := calls[len(calls)-1]
		calls = calls[:len(calls)-1]
		switch {
		case c.of != d:
			others = append(others, c)
			continue
		case c.demanded || d.dropped:
			continue
		}
		c.demanded = true
		d.demanded++
		for _, name := range c.draft.Pending {
			calls = append(calls, c.sight.waits[name].call)
		}
		d.work.Go(func() { d.run(c) })
	}
	return others
}

// keepBefore keeps what is at a path in whose place a placeholder of a lazy call comes. The error says
// that there must be none.
func (d *deferral) keepBefore(ctx context.Context, path string) error {
	if !d.lazy {
		return nil
	}
	if f := d.tools.pendings.at(path); f != nil {
		if f.call.of != d {
			return errors.New("another build is making it")
		}
		if !d.carriesOut(f.call) {
			return nil
		}
		select { // somebody has asked for it, and may go on before it is no placeholder
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.call.filled:
		}
	}
	return d.before.keep(path)
}

// carriesOut reports whether a call is carried out, or was.
func (d *deferral) carriesOut(c *deferredCall) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return c.demanded
}

// A callNeed is what a call reads of another one.
type callNeed struct {
	call *deferredCall
	path string // as the reader names it
}

// note notes a lazy call, and what it reads of others, made or not. The caller holds mu.
func (d *deferral) note(c *deferredCall) {
	d.all = append(d.all, c)
	for _, path := range c.draft.Reads {
		if f := c.sight.waits[path]; f != nil {
			c.needs = append(c.needs, callNeed{f.call, path})
		} else if maker := d.makers[path]; maker != nil {
			c.needs = append(c.needs, callNeed{maker, path})
		}
	}
	for _, f := range c.files {
		d.makers[f.path] = c
	}
}

// lazyCalls returns the calls of a lazy build, and those that nobody has waited for, when the others have
// ended.
func (d *deferral) lazyCalls() (all, unmade []*deferredCall) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		if !c.demanded {
			unmade = append(unmade, c)
		}
	}
	return d.all, unmade
}

// drop ends calls that were not carried out, and puts back what was there before.
func (d *deferral) drop(calls []*deferredCall) {
	d.mu.Lock()
	d.calls = nil // they have nothing to tell
	d.mu.Unlock()
	for _, c := range calls {
		c.valueErr = errUnmade
		close(c.valued)
		d.finish(c, errUnmade)
	}
	if err := d.before.putBack(); err != nil {
		d.tools.b.log.Error("putting back what was there before a build", "error", err)
		d.mu.Lock()
		d.unkept = true // the next agent tries again
		d.mu.Unlock()
	}
}

// keptPrefix begins the names of files that were there before a lazy build, as long as that goes on.
const keptPrefix = ".gaggle-was-"

// A keeper keeps files that a lazy build replaces or removes, each beside its place.
type keeper struct {
	begun time.Time // the build

	mu   sync.Mutex      // guards kept
	kept map[string]bool // by the name that they are kept under
}

func newKeeper(now time.Time) *keeper { return &keeper{begun: now, kept: map[string]bool{}} }

// clockSlack is how far the times of files may be behind the clock: they go by ticks.
const clockSlack = 10 * time.Millisecond

// keep keeps what is at a path; if that is nothing it does nothing. What the build itself has made is
// not kept: put back, it would be half a target that looks whole.
func (k *keeper) keep(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir() || info.ModTime().After(k.begun.Add(-clockSlack)):
		return fmt.Errorf("%s is of this build", path)
	}
	as := filepath.Join(filepath.Dir(path), keptPrefix+filepath.Base(path))
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept[as] {
		return fmt.Errorf("%s has come back", path)
	}
	if err := os.Remove(as); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a build before
		return err
	}
	if err := os.Link(path, as); err != nil {
		return err
	}
	k.kept[as] = true
	return nil
}

// putBack gives all of them their names again.
func (k *keeper) putBack() (err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for as := range k.kept {
		err = errors.Join(err, putBack(as))
	}
	clear(k.kept)
	return err
}

// putBack gives a kept file its name again, unless the build has made another one.
func putBack(kept string) error {
	path := filepath.Join(filepath.Dir(kept), strings.TrimPrefix(filepath.Base(kept), keptPrefix))
	err := os.Link(kept, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was put back by another process
	}
	if errors.Is(err, fs.ErrExist) {
		info, statErr := os.Lstat(path)
		if statErr == nil && placeholder.MayBe(info) {
			return fmt.Errorf("%s may be a placeholder; what was there is %s", path, kept)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return os.Remove(kept)
}
