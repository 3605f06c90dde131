package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gaggle/blobstore"
	"gaggle/coord/infer"
	"gaggle/wire"
)

// answer gives a call what its tool would have done. An error says why the tool must run here; up
// to then nothing has been written or said.
func (b *build) answer(ctx context.Context, c *toolCall, to toolAnswer) error {
	trust, err := c.trust()
	if err != nil {
		return err
	}
	l, err := b.linked(c)
	if err != nil {
		return err
	}
	sight := b.tools.sight(l)
	call, draft, err := b.infer(ctx, c, l, sight)
	if err != nil {
		return err
	}
	if d := b.deferral(); d.takes(ctx, c, call, draft) {
		later := &deferredCall{of: d, asked: c, name: taskName(call), link: l, trust: trust, draft: draft, sight: sight, filled: make(chan struct{}), valued: make(chan struct{})}
		if d.add(ctx, later) {
			return to.exit(0)
		}
	}
	objects, err := sight.waited(ctx, draft)
	if err != nil {
		return err
	}
	plan, err := draft.Plan(ctx, objects)
	if err != nil {
		return err
	}
	v, err := b.tools.value(ctx, l, plan, request{taskName(call), trust, waitsAtMost})
	if err != nil {
		if !final(err) && ctx.Err() == nil {
			b.isAway()
		}
		return err
	}
	defer v.release()
	if err := b.tools.deliver(l, plan, v, c.umask, to); err != nil {
		return err
	}
	b.done(v.how)
	return to.exit(0)
}

// infer finds out what a call reads and writes and takes in what is there. An error says why the tool
// must run here.
func (b *build) infer(ctx context.Context, c *toolCall, l *link, sight *sight) (*infer.Call, *infer.Draft, error) {
	took := cpuTime()
	defer func() {
		t := took().Seconds()
		b.tools.reports.note(b.report, func(r *BuildReport) { r.InferenceSeconds += t })
	}()
	if tool, args, ok := infer.Unwrapped(c.tool, c.args, c.dir, c.variable("PATH")); ok {
		compiler := *c
		compiler.tool, compiler.args = tool, args
		c = &compiler
	}
	call := b.models.Model(c.tool, append([]string{c.tool}, c.args...), c.dir, c.env, sight)
	b.lost.asked(c, call)
	if call.Local != "" {
		return nil, nil, errors.New(call.Local)
	}
	if err := sight.sources(ctx, call); err != nil {
		return nil, nil, err
	}
	if err := b.reachable(); err != nil {
		return nil, nil, err
	}
	planner := b.tools.planner(l, sight)
	planner.Portable = c.variable(PortableVar) != ""
	draft, err := planner.Draft(ctx, call, c.colored(call), b.baseOf(c), c.env)
	if err != nil {
		return nil, nil, err
	}
	if draft.Bound != "" {
		b.bound(c, draft.Bound)
	}
	return call, draft, nil
}

// colored returns the arguments with what makes a compiler's messages as they would be here: on a
// node its standard error is no terminal.
func (c *toolCall) colored(call *infer.Call) []string {
	said := func(a string) bool {
		return strings.HasPrefix(a, "-fdiagnostics-color") || strings.HasPrefix(a, "-fno-diagnostics-color") || strings.HasPrefix(a, "-fcolor-") || strings.HasPrefix(a, "-fno-color-")
	}
	if !c.color || c.variable("TERM") == "dumb" || call.Model != "gcc" && call.Model != "clang" || slices.ContainsFunc(c.args, said) {
		return c.args
	}
	return append(slices.Clone(c.args), "-fdiagnostics-color=always")
}

// taskName names the task of a call for people: by the kind of tool and the source, or what it makes of
// several.
func taskName(c *infer.Call) string {
	switch {
	case c.Mode != infer.Compile && c.Mode != infer.Assemble && len(c.Writes) > 0:
		return c.Model + "-" + c.Mode.String() + "[" + c.Writes[0].Path + "]"
	case len(c.Units) > 0:
		return c.Model + "[" + c.Units[0].Source + "]"
	}
	return c.Model
}

// A made is the value of a plan, every object of which is in the store.
type made struct {
	outputs []wire.Object
	how     wire.How
	release func() // lets go of it
}

// A request is what a plan does not say of a task.
type request struct {
	name  string
	trust wire.Trust
	waits time.Duration // for a mesh that says that no node can run it now
}

// value has a plan carried out, or finds what it gave before. Texts of a portable one name files as
// they are called here.
func (t *tools) value(ctx context.Context, l *link, p *infer.Plan, as request) (*made, error) {
	m, err := t.carriedOut(ctx, l, p, as)
	if err != nil || !p.Moved() {
		return m, err
	}
	if err := t.restore(ctx, l.space, p, m); err != nil {
		m.release()
		return nil, err
	}
	return m, nil
}

func (t *tools) carriedOut(ctx context.Context, l *link, p *infer.Plan, as request) (*made, error) {
	id, encoded := p.Thunk.Encode()
	r, err := l.askOnce(ctx, &wire.Request{Known: &wire.Known{Space: l.space, Thunks: []wire.ThunkID{id}, Trust: as.trust}})
	if err != nil {
		return nil, err
	}
	if len(r.Values) == 1 && len(r.Values[0]) > 0 {
		v, err := wire.DecodeValue(r.Values[0])
		if err == nil && len(v.Outputs) == len(p.Thunk.Outputs) && t.has(l, v) {
			if err := t.b.proveOne(ctx, l, as, encoded, v.Outputs); err != nil {
				return nil, err
			}
			return &made{v.Outputs, wire.HowMemo, func() {}}, nil
		}
	}
	var job wire.JobID
	if _, err := rand.Read(job[:]); err != nil {
		return nil, err
	}
	pin := job.String()
	for _, o := range p.Leaves {
		t.b.store.Pin(l.space, o.Digest, pin)
		defer t.b.store.Unpin(l.space, o.Digest, pin)
	}
	l.worker.Announce(l.space, p.Leaves)
	head := wire.Submit{Job: job, Space: l.space, Name: as.name, Tasks: 1, Trust: as.trust, Passing: true}
	for _, o := range p.Thunk.Outputs {
		head.Targets = append(head.Targets, wire.TargetSpec{Path: o.Path, Thunk: id, Output: o.Path})
	}
	one := &oneTask{head: head, waits: as.waits, spec: wire.TaskSpec{Name: as.name, Thunk: encoded, Hints: p.Hints, RootSize: p.RootSize}}
	if err := one.run(ctx, l); err != nil {
		return nil, err // the coordinator cancels what nobody waits for
	}
	release := func() { t.b.work.Go(func() { t.release(l, job) }) }
	m := &made{make([]wire.Object, len(p.Thunk.Outputs)), one.how, release}
	if err := one.failure(); err != nil {
		return nil, err
	}
	if first, n := wantsOf(head.Targets).missed(one.done.Targets, func(string) bool { return true }); n > 0 {
		release()
		return nil, wire.Errorf(wire.CauseInternal, "update the coordinator", "the coordinator says that %s succeeded, but did not deliver %s of it, first %s", as.name, count(n, "output"), first)
	}
	for _, target := range one.done.Targets {
		if i, ok := p.Thunk.OutputIndex(target.Path); ok {
			m.outputs[i] = target.Held.Object
		}
	}
	err = t.fetch(ctx, l, one.done)
	if err == nil {
		err = t.b.proveOne(ctx, l, as, encoded, m.outputs)
	}
	if err != nil {
		release()
		return nil, err
	}
	return m, nil
}

// A oneTask is a job of one task, which nobody follows but the call that waits for it.
type oneTask struct {
	head  wire.Submit
	spec  wire.TaskSpec
	waits time.Duration
	how   wire.How
	done  *wire.Done
}

// failure returns why the task has no value.
func (o *oneTask) failure() error {
	if len(o.done.Failures) == 0 {
		return nil
	}
	f := &o.done.Failures[0].Failure
	if f.Cause == wire.CauseExit { // the tool has said why, and says it again
		return wire.Errorf(f.Cause, "", "it ended with an error")
	}
	return wire.Errorf(f.Cause, f.Hint, "it failed on a node: %s", ending(f))
}

// waitsAtMost is how long a call waits for a mesh that says of its task that no node can run it
// now. The compiler is here. A node that is silent on a busy machine is back sooner.
const waitsAtMost = 15 * time.Second

// A waitLimit ends a wait that the coordinator sees no end of.
type waitLimit struct {
	most  time.Duration
	why   string
	timer *time.Timer
}

// note takes in what the coordinator says of the job.
func (w *waitLimit) note(n *wire.Notice, enough context.CancelCauseFunc) {
	if n.Task == "" || n.Waiting == w.why && n.State < wire.StateOffered {
		return // of the job it is said that it waits for inputs, which are here
	}
	w.stop()
	if w.why = n.Waiting; w.why != "" {
		err := fmt.Errorf("%w: %s", errAway, w.why)
		w.timer = time.AfterFunc(w.most, func() { enough(err) })
	}
}

func (w *waitLimit) stop() {
	w.why = ""
	if w.timer != nil {
		w.timer.Stop()
	}
}

// run submits the job and reads how it ends.
func (o *oneTask) run(ctx context.Context, l *link) error {
	ctx, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	waits := waitLimit{most: o.waits}
	defer waits.stop()
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
		if err := frames.Read(&r); err != nil && errors.Is(context.Cause(ctx), errAway) {
			return context.Cause(ctx)
		} else if err != nil {
			return wire.Errorf(wire.CauseUnreachable, "", "the connection to the coordinator broke: %v", err)
		}
		for i := range r.Notices {
			n := &r.Notices[i]
			if n.State == wire.StateDone {
				o.how = n.How
			}
			waits.note(n, enough)
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
	if _, err = l.Fetch(ctx, holders{space: l.space, peers: d.Peers, grant: d.Grant}, want, func(Fetching) {}); err == nil {
		l.announce(want)
	}
	return err
}

// release lets the coordinator forget the targets of a job, which are here.
func (t *tools) release(l *link, job wire.JobID) {
	if _, err := l.ask(t.b.ctx, &wire.Request{Release: &wire.JobRef{Job: job}}); err != nil && wire.CauseOf(err) != wire.CauseNotFound {
		t.b.log.Info("the coordinator was not told that outputs are here", "job", job, "error", err)
	}
}

// deliver writes the outputs of a plan, then what the tool said. After an error nothing was said.
func (t *tools) deliver(l *link, p *infer.Plan, m *made, umask fs.FileMode, to toolAnswer) error {
	object := func(output string) wire.Object {
		i, _ := p.Thunk.OutputIndex(output) // it is one of its outputs
		return m.outputs[i]
	}
	said := [...]struct {
		kind byte
		name string
		blob *blobstore.Blob
	}{{kind: 'o', name: wire.Stdout}, {kind: 'e', name: wire.Stderr}}
	for i := range said {
		blob, err := t.b.store.Open(l.space, object(said[i].name).Digest)
		if err != nil {
			return err
		}
		defer blob.Close()
		said[i].blob = blob
	}
	for _, made := range p.Made {
		o := object(made.Output)
		blob, err := t.b.store.OpenHashed(l.space, o.Digest)
		if err != nil {
			return err
		}
		err = place(blob, filepath.FromSlash(made.Path), permissions(made, o.Kind, umask))
		blob.Close()
		if err != nil {
			return err
		}
	}
	for i := range said {
		if err := to.stream(said[i].kind, said[i].blob); err != nil {
			t.b.log.Info("what a tool said could not be told", "error", err)
			return to.exit(1)
		}
	}
	return nil
}

// permissions are those that the tool would have given an output.
func permissions(m infer.Made, kind wire.Kind, umask fs.FileMode) fs.FileMode {
	if m.Mode != "" {
		info, err := os.Stat(filepath.FromSlash(m.Mode))
		switch {
		case err == nil && m.Mode == m.Path:
			return info.Mode().Perm()
		case err == nil:
			return info.Mode().Perm() &^ umask
		}
	}
	mode := 0o666 &^ umask
	if m.Mode == "" {
		mode = before(m.Path, mode)
	}
	if kind == wire.Exec {
		mode |= 0o111 &^ umask
	}
	return mode
}

// before returns the permissions of an empty file that is to be written, which all tools leave as they
// are: it is often mktemp's. With one that is not empty some do so, others put another in its place, with
// the permissions of a new one.
func before(path string, fresh fs.FileMode) fs.FileMode {
	info, err := os.Lstat(filepath.FromSlash(path))
	if err != nil || !info.Mode().IsRegular() || info.Size() > 0 {
		return fresh
	}
	return info.Mode().Perm()
}
