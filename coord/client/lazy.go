package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The calls of coord infer, and of coord make --plan, are lazy: one is carried out only if somebody
// waits for what it makes, as a program does that the build runs. The others are noted, and their
// placeholders removed when the build has ended; what was there before is there again.

// keptPrefix begins the names of files that were there before lazy calls, while those have placeholders.
const keptPrefix = ".gaggle-was-"

// errUnmade is why a lazy call has no value.
var errUnmade = errors.New("nobody has asked for it")

// demand has calls carried out, and those whose outputs they read, once each.
func (d *deferral) demand(calls ...*deferredCall) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(calls) > 0 {
		c := calls[len(calls)-1]
		calls = calls[:len(calls)-1]
		switch {
		case c.of != d:
			go c.of.demand(c) // which takes another lock
			continue
		case c.demanded || d.dropped:
			continue
		}
		c.demanded = true
		for _, name := range c.draft.Pending {
			calls = append(calls, c.sight.waits[name].call)
		}
		d.work.Go(func() { d.run(c) })
	}
}

// keepBefore keeps what is at a path in whose place a placeholder comes.
func (d *deferral) keepBefore(path string) error {
	if !d.lazy || d.tools.pendings.at(path) != nil {
		return nil
	}
	as := filepath.Join(filepath.Dir(path), keptPrefix+filepath.Base(path))
	err := os.Link(path, as)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil // the first is what was there before the build
	}
	if err == nil {
		d.mu.Lock()
		d.before = append(d.before, as)
		d.mu.Unlock()
	}
	return err
}

// putBack gives a kept file its name again, unless there is another by now.
func putBack(kept string) error {
	name := strings.TrimPrefix(filepath.Base(kept), keptPrefix)
	err := os.Link(kept, filepath.Join(filepath.Dir(kept), name))
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(kept))
}

// unmade returns the lazy calls that nobody has waited for, when the others have ended.
func (d *deferral) unmade() []*deferredCall {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(d.calls), func(c *deferredCall) bool { return c.demanded })
}

// drop ends calls that were not carried out.
func (d *deferral) drop(calls []*deferredCall) {
	for _, c := range calls {
		c.valueErr = errUnmade
		close(c.valued)
		d.finish(c, errUnmade)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, kept := range d.before {
		if err := putBack(kept); err != nil {
			d.tools.b.log.Error("putting back what was there before a build", "error", err)
		}
	}
}
