package client

import (
	"context"
	"fmt"

	"gaggle/wire"
)

// run makes what a call was to make.
func (d *deferral) run(c *deferredCall) {
	var release func()
	release, c.valueErr = d.value(c)
	close(c.valued) // what depends on it need not wait for the disk
	err := c.valueErr
	if err == nil {
		err = d.fill(c)
	}
	release()
	switch {
	case err == nil:
		d.build.done(c.how)
	case d.ctx.Err() == nil:
		d.fail(c, err)
	}
	d.finish(c, err)
}

// finish notes how a call has ended.
func (d *deferral) finish(c *deferredCall, err error) {
	d.remove(c)
	d.mu.Lock()
	c.err, c.ended, c.draft, c.sight = err, true, nil, nil
	d.ended++
	d.mu.Unlock()
	close(c.filled)
	d.tell()
}

// value has the call carried out.
func (d *deferral) value(c *deferredCall) (release func(), err error) {
	release = func() {}
	objects, err := c.sight.waited(d.ctx, c.draft)
	if err != nil {
		return release, err
	}
	plan, err := c.draft.Plan(d.ctx, objects)
	if err != nil {
		return release, err
	}
	select {
	case <-d.ctx.Done():
		return release, context.Cause(d.ctx)
	case d.turn <- struct{}{}:
	}
	defer func() { <-d.turn }()
	m, err := d.tools.value(d.ctx, c.link, plan, request{c.name, c.trust, deferredWait})
	if err != nil {
		return release, err
	}
	c.how, c.outputs = m.how, map[string]wire.Object{}
	for i, o := range plan.Thunk.Outputs {
		c.outputs[o.Path] = m.outputs[i]
	}
	return m.release, nil
}

// fill makes the placeholders of a call what they stand for.
func (d *deferral) fill(c *deferredCall) error {
	for _, f := range c.files {
		o := c.outputs[f.output]
		if run := o.Kind == wire.Exec; run != f.run {
			return fmt.Errorf("%s is a program: %v", f.output, run)
		}
		blob, err := d.tools.b.store.OpenHashed(c.link.space, o.Digest)
		if err == nil {
			f.end = f.Name()
			err = f.Fill(blob, f.run, d.frozen.hold)
			blob.Close()
		}
		if err != nil {
			return err
		}
		d.forget(f)
	}
	return nil
}

// forget notes that a placeholder is none any more.
func (d *deferral) forget(f *pendingFile) {
	d.tools.pendings.remove(f)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.wanted, f)
	d.files--
}

// fail notes that a call has failed: make is ended, and has to run again. With make -k the other calls are
// not cancelled.
func (d *deferral) fail(c *deferredCall, err error) {
	d.tools.b.log.Info("a deferred call failed", "call", c.name, "error", err)
	d.mu.Lock()
	d.failed++
	first := d.failed == 1
	if first {
		d.why = printable(c.name + ": " + wire.AsError(err).Message)
	}
	d.closed = true
	d.mu.Unlock()
	if first {
		d.end(d.look())
		if !d.keepGoing {
			d.cancel(errFailed)
		}
	}
}

// end ends the processes of the build. If some of them may wait for a placeholder, none goes on.
func (d *deferral) end(waiting bool) {
	if err := d.processes.End(waiting); err != nil {
		d.tools.b.log.Error("ending a build", "error", err)
	}
}

// maxLost bounds the names of files that were removed.
const maxLost = 1_000

// remove takes away what is left of a call's placeholders.
func (d *deferral) remove(c *deferredCall) {
	for _, f := range c.files {
		if !d.tools.pendings.has(f) {
			continue
		}
		name := f.Name()
		if err := f.Remove(func() { d.end(true) }); err != nil {
			d.tools.b.log.Error("removing a placeholder", "error", err)
		}
		d.forget(f)
		d.mu.Lock()
		if name != "" && len(d.lost) < maxLost {
			d.lost = append(d.lost, name)
		}
		d.mu.Unlock()
	}
}
