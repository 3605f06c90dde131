package client

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"gaggle/coord/placeholder"
)

// A freezer stops the processes of a build for as long as somebody wants that.
type freezer struct {
	processes placeholder.Processes

	mu      sync.Mutex // guards the fields below
	holders int
	resumes []func()
}

// hold stops them until release is called.
func (f *freezer) hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holders++
	resume, _ := f.processes.Freeze() // those that do not stop are in no wait for a placeholder
	f.resumes = append(f.resumes, resume)
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.holders--; f.holders == 0 {
			for _, resume := range f.resumes {
				resume()
			}
			f.resumes = nil
		}
	})
}

// look notes which placeholders somebody waits for, and reports whether there are some.
func (d *deferral) look() bool {
	var calls []*deferredCall
	for _, f := range d.tools.pendings.of(d) {
		if f.Wanted() { // which may wait for the disk
			d.mu.Lock()
			if _, known := d.wanted[f]; !known {
				d.wanted[f] = time.Now()
				calls = append(calls, f.call)
			}
			d.mu.Unlock()
		}
	}
	d.demand(calls...)
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.wanted) > 0
}

// overdue reports whether somebody has waited for a placeholder for almost as long as the kernel has
// them wait.
func (d *deferral) overdue(patience time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, since := range d.wanted {
		if patience > 0 && time.Since(since) > patience*2/3 {
			return true
		}
	}
	return false
}

// watch stops the processes of all builds while somebody has waited too long. The kernel says by a
// signal when somebody begins to wait, but not for which file.
func (d *deferral) watch() {
	wants := make(chan os.Signal, 1)
	notifyWaiting(wants)
	defer signal.Stop(wants)
	every := time.NewTicker(time.Second)
	defer every.Stop()
	patience := placeholder.Patience()
	// Processes of other builds may wait as well.
	stopped := freezer{processes: placeholder.Processes{Variable: BuildVar + "="}}
	release := func() {}
	defer func() { release() }()
	held := false
	for {
		select {
		case <-d.over:
			return
		case <-wants:
		case <-every.C:
		}
		d.look()
		switch late := d.overdue(patience); {
		case late: // again and again: somebody else may let them go on
			before := release
			release, held = stopped.hold(), true
			before()
		case !late && held:
			release()
			held = false
		}
	}
}

// passed returns when the calls so far have ended; false says that one has failed.
func (d *deferral) passed() bool {
	d.mu.Lock()
	calls := slices.DeleteFunc(slices.Clone(d.calls), func(c *deferredCall) bool { return c.ended })
	d.mu.Unlock()
	d.demand(calls...)
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		for _, c := range calls {
			<-c.filled
		}
	}()
	untilClosed(filled, func() { d.tellWaiting("a program of the build waits") })
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why == "" && d.ctx.Err() == nil
}

// failing reports whether a call has failed.
func (d *deferral) failing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why != ""
}

// settle waits until all calls that are carried out have ended.
func (d *deferral) settle(ctx context.Context, how over) {
	d.mu.Lock()
	d.closed, d.dropped = true, d.lazy
	d.mu.Unlock()
	if how.Stopped {
		d.cancel(errCancelled)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.work.Wait()
	}()
	defer context.AfterFunc(ctx, func() { d.cancel(errCancelled) })()
	untilClosed(ended, func() { d.tellWaiting("make is done; waiting") })
}

// conclude ends it when no placeholder is left, and returns why make has to run again, if it has, and
// what it has to make then.
func (d *deferral) conclude(how over) (again string, lost []string) {
	close(d.over)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unkept {
		return d.why, nil
	}
	if err := d.journal.remove(); err != nil {
		d.tools.b.log.Error("forgetting a build", "error", err)
	}
	if how.Stopped {
		return "", nil
	}
	return d.why, d.lost
}

// tellsWaiting is how long somebody waits for calls until that is said; then twice as long, and so on.
const tellsWaiting = 2 * time.Second

// untilClosed returns when c is closed, and calls tell while that takes long.
func untilClosed(c <-chan struct{}, tell func()) {
	pause := tellsWaiting
	for {
		select {
		case <-c:
			return
		case <-time.After(pause):
			tell()
			pause *= 2
		}
	}
}

// tellWaiting says who waits for how many calls, and for which first; once if several wait.
func (d *deferral) tellWaiting(who string) {
	d.mu.Lock()
	left := d.demanded - d.ended
	text := fmt.Sprintf("%s for %d of %d calls", who, left, d.demanded)
	if i := slices.IndexFunc(d.calls, func(c *deferredCall) bool { return c.demanded && !c.ended }); i >= 0 {
		text += ", first for " + printable(d.calls[i].name)
	}
	again := left == 0 || time.Since(d.toldWaiting) < tellsWaiting/2
	if !again {
		d.toldWaiting = time.Now()
	}
	d.mu.Unlock()
	if again {
		return
	}
	if err := d.say(&Event{Note: text}); err != nil {
		d.tools.b.log.Info("a command that waits is gone", "error", err)
	}
}

// abandon ends a build whose command is gone, and its calls.
func (d *deferral) abandon() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.end(d.look())
	d.cancel(errCancelled)
}
