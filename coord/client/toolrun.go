package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"gaggle/coord/infer"
	"gaggle/wire"
)

// answer gives a call what its tool would have done. An error says why the tool must run here; up
// to then nothing has been written or said.
func (b *build) answer(ctx context.Context, c *toolCall, to toolAnswer) error {
	call := infer.Model(c.tool, append([]string{c.tool}, c.args...), c.dir, c.env, infer.Disk{})
	if call.Local != "" {
		return errors.New(call.Local)
	}
	l, err := b.linked()
	if err != nil {
		return err
	}
	plan, err := b.tools.planner(l, b.path).Plan(ctx, call, c.args, b.baseOf(c), c.env)
	if err != nil {
		return err
	}
	trust, err := c.trust()
	if err != nil {
		return err
	}
	v, how, err := b.tools.value(ctx, l, plan, taskName(call), trust)
	if err != nil {
		return err
	}
	if err := b.tools.deliver(l, plan, v, c.umask, to); err != nil {
		return err
	}
	b.done(how)
	return to.exit(0)
}

// taskName names the task of a call for people: by the kind of tool and the source.
func taskName(c *infer.Call) string {
	name := c.Model
	if len(c.Units) > 0 {
		name += "[" + c.Units[0].Source + "]"
	}
	return name
}

// value returns what a plan gives, every object of which is in the store then.
func (t *tools) value(ctx context.Context, l *link, p *infer.Plan, name string, trust wire.Trust) (*wire.Value, wire.How, error) {
	id, encoded := p.Thunk.Encode()
	known, err := l.values(ctx, []wire.ThunkID{id}, trust)
	if err != nil {
		return nil, 0, err
	}
	if v := known[0]; v != nil && t.has(l, v) {
		return v, wire.HowMemo, nil
	}
	var job wire.JobID
	if _, err := rand.Read(job[:]); err != nil {
		return nil, 0, err
	}
	pin := job.String()
	for _, o := range p.Leaves {
		t.b.store.Pin(l.space, o.Digest, pin)
		defer t.b.store.Unpin(l.space, o.Digest, pin)
	}
	l.worker.Announce(l.space, p.Leaves)
	head := wire.Submit{Job: job, Space: l.space, Name: name, Tasks: 1, Trust: trust, Passing: true}
	for _, o := range p.Thunk.Outputs {
		head.Targets = append(head.Targets, wire.TargetSpec{Path: o.Path, Thunk: id, Output: o.Path})
	}
	one := &oneTask{head: head, spec: wire.TaskSpec{Name: name, Thunk: encoded, RootSize: p.RootSize}}
	if err := patiently(ctx, func() error { return one.run(ctx, l) }, nil); err != nil {
		if ctx.Err() != nil {
			t.b.work.Go(func() { t.cancel(l, job) })
		}
		return nil, 0, err
	}
	defer t.b.work.Go(func() { t.release(l, job) })
	if len(one.done.Failures) > 0 {
		f := &one.done.Failures[0].Failure
		if f.Cause == wire.CauseExit { // the tool has said why, and says it again
			return nil, 0, errors.New("it failed on a node")
		}
		return nil, 0, fmt.Errorf("it failed on a node: %s", ending(f))
	}
	v := &wire.Value{Outputs: make([]wire.Object, len(p.Thunk.Outputs))}
	for _, target := range one.done.Targets {
		if i, ok := p.Thunk.OutputIndex(target.Path); ok {
			v.Outputs[i] = target.Held.Object
		}
	}
	return v, one.how, t.fetch(ctx, l, one.done)
}

// A oneTask is a job of one task, which nobody follows but the call that waits for it.
type oneTask struct {
	head wire.Submit
	spec wire.TaskSpec
	how  wire.How
	done *wire.Done
}

// run submits the job and reads how it ends. It may be called again after a broken connection: the
// coordinator knows the job by its id.
func (o *oneTask) run(ctx context.Context, l *link) error {
	rw, err := l.Open(ctx)
	if err != nil {
		return err
	}
	defer rw.Close()
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	defer stop()
	sub := submission{head: o.head, tasks: []wire.TaskSpec{o.spec}}
	if err := sub.write(rw); err != nil {
		return err
	}
	frames := wire.NewFrameReader(rw)
	var early wire.Done
	for {
		var r wire.Response
		if err := frames.Read(&r); err != nil {
			return wire.Errorf(wire.CauseUnreachable, "", "the connection to the coordinator broke: %v", err)
		}
		for i := range r.Notices {
			if r.Notices[i].State == wire.StateDone {
				o.how = r.Notices[i].How
			}
		}
		switch {
		case r.Error != nil:
			return r.Error
		case r.Part != nil:
			early.Targets = append(early.Targets, r.Part.Targets...)
		case r.Done != nil:
			r.Done.Targets = append(early.Targets, r.Done.Targets...)
			o.done = r.Done
			if r.Done.Error != nil {
				return r.Done.Error
			}
			return nil
		}
	}
}

// has reports whether the store has all of a value.
func (t *tools) has(l *link, v *wire.Value) bool {
	for _, o := range v.Outputs {
		if missing, err := t.b.store.Missing(l.space, o); err != nil || len(missing) > 0 {
			return false
		}
	}
	return true
}

func (t *tools) fetch(ctx context.Context, l *link, d *wire.Done) error {
	want, err := t.b.lacking(l.space, d.Targets)
	if err != nil || len(want) == 0 {
		return err
	}
	_, err = l.Fetch(ctx, holders{space: l.space, peers: d.Peers, grant: d.Grant}, want, func(Fetching) {})
	return err
}

// release lets the coordinator forget the targets of a job, which are here.
func (t *tools) release(l *link, job wire.JobID) {
	if _, err := l.ask(t.b.ctx, &wire.Request{Release: &wire.JobRef{Job: job}}); err != nil && wire.CauseOf(err) != wire.CauseNotFound {
		t.b.log.Info("the coordinator was not told that outputs are here", "job", job, "error", err)
	}
}

// cancel stops a job that nobody waits for.
func (t *tools) cancel(l *link, job wire.JobID) {
	if _, err := l.ask(t.b.ctx, &wire.Request{Cancel: &wire.JobRef{Job: job}}); err != nil {
		t.b.log.Info("the coordinator was not told to cancel", "job", job, "error", err)
	}
}

// deliver writes the outputs of a plan, then what the tool said.
func (t *tools) deliver(l *link, p *infer.Plan, v *wire.Value, umask fs.FileMode, to toolAnswer) error {
	object := func(output string) wire.Object {
		if i, ok := p.Thunk.OutputIndex(output); ok && i < len(v.Outputs) {
			return v.Outputs[i]
		}
		return wire.Object{}
	}
	for _, m := range p.Made {
		o, mode := object(m.Output), fs.FileMode(0o666)
		if o.Kind == wire.Exec {
			mode = 0o777
		}
		blob, err := t.b.store.Open(l.space, o.Digest)
		if err != nil {
			return err
		}
		err = place(blob, filepath.FromSlash(m.Path), mode&^umask)
		blob.Close()
		if err != nil {
			return err
		}
	}
	for kind, output := range map[byte]string{'o': wire.Stdout, 'e': wire.Stderr} {
		o := object(output)
		if o.Size == 0 {
			continue
		}
		blob, err := t.b.store.Open(l.space, o.Digest)
		if err != nil {
			return err
		}
		err = to.stream(kind, blob)
		blob.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
