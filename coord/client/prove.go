package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"gaggle/coord/server"
	"gaggle/wire"
)

// A wants is what was wanted of a job when it was submitted, by path; nil if that is not known.
type wants map[string]wire.TargetSpec

// wantsOf returns targets by path.
func wantsOf(targets []wire.TargetSpec) wants {
	w := make(wants, len(targets))
	for _, t := range targets {
		w[t.Path] = t
	}
	return w
}

// missed returns the first of those that are due and were not delivered, and how many there are.
func (w wants) missed(targets []wire.Target, due func(path string) bool) (first string, n int) {
	delivered := make(map[string]bool, len(targets))
	for _, t := range targets {
		delivered[t.Path] = true
	}
	for p := range w {
		if !delivered[p] && due(p) {
			if n++; n == 1 || p < first {
				first = p
			}
		}
	}
	return first, n
}

// proves reports whether a job has a policy that its coordinator has to show that it kept.
func (r *record) proves(l *link) bool { return r.Trust != wire.TrustAny && l.authority != nil }

// wanted returns what the targets of a job are to be checked against. Without a policy that is nothing;
// a machine that does not have what was submitted says that it cannot check.
func (b *backend) wanted(l *link, rec *record, tell func(*Event)) (wants, error) {
	if !rec.proves(l) {
		return nil, nil
	}
	w, err := b.dir.loadWanted(rec.Job)
	if errors.Is(err, fs.ErrNotExist) {
		tell(&Event{Note: fmt.Sprintf("not checked here: that --trust %s was kept; it is the coordinator's word, since this machine does not have what was submitted (the one that submitted it does, for its latest %d jobs)", rec.Trust, maxRecords)})
		return nil, nil
	}
	if err != nil {
		return nil, unkept(err)
	}
	return w, nil
}

// complete checks that what is due of a job that succeeded was delivered.
func (w wants) complete(l *link, rec *record, targets []wire.Target, due func(path string) bool) error {
	first, n := w.missed(targets, due)
	if n == 0 {
		return nil
	}
	cause, hint := wire.CauseInternal, "submit again: what it finished is known; if that does not help, update the coordinator"
	if rec.proves(l) {
		cause, hint = wire.CauseUnproven, hintUnproven
	}
	return wire.Errorf(cause, hint, "the coordinator says that the job succeeded, but did not deliver %s of those that were wanted, first %s", count(n, "target"), first)
}

// prove checks that the targets of a job are what those gave whom the job believes; not if nothing is
// known of what was wanted.
func (b *backend) prove(ctx context.Context, l *link, rec *record, wanted wants, targets []wire.Target, tell func(*Event)) error {
	if !rec.proves(l) || wanted == nil || len(targets) == 0 {
		return nil
	}
	p := newProver(l, rec.Trust)
	if !rec.Passing {
		p.job = rec.Job
	}
	p.read = func(ctx context.Context, o wire.Object) ([]byte, error) { return b.readHeld(ctx, l, o) }
	if err := b.dir.keptTasks(rec.Job, func(t *wire.TaskSpec) bool { p.add(t); return true }); err != nil {
		return unkept(err)
	}
	for _, spec := range wanted { // what sub-graphs hold is added as it is found
		if p.tasks[spec.Thunk] == nil {
			return unkept(fmt.Errorf("target %s is of none of the tasks that were kept", spec.Path))
		}
	}
	if err := p.prefetch(ctx, b.dir, rec.Job); err != nil {
		return err
	}
	return p.all(ctx, wanted, targets, tell)
}

// unkept is about what was kept of a submission for its proof, and is not there to be read.
func unkept(err error) error {
	return wire.Errorf(wire.CauseDisk, hintUnkept, "what was submitted cannot be read on this machine, so what was delivered cannot be checked: %v", err)
}

// proveOne is prove for the one thunk of a tool's call.
func (b *backend) proveOne(ctx context.Context, l *link, as request, encoded []byte, outs []wire.Object) error {
	if as.trust == wire.TrustAny || l.authority == nil {
		return nil
	}
	p := newProver(l, as.trust)
	p.add(&wire.TaskSpec{Name: as.name, Thunk: encoded})
	id := wire.ThunkID(wire.Sum(encoded))
	if err := p.prove(ctx, id, 0); err != nil {
		return err
	}
	if !slices.Equal(p.values[id].outs, outs) {
		return wire.Errorf(wire.CauseUnproven, hintUnproven, "what was delivered for %s is not what the nodes gave that it believes", as.name)
	}
	return nil
}

// prefetch asks for the claims of what the tasks were resolved to by the coordinator's word.
func (p *prover) prefetch(ctx context.Context, dir stateDir, job string) error {
	var ids []wire.ThunkID
	var failed error
	err := dir.loggedTasks(job, func(n *wire.Notice) bool {
		if n.State == wire.StateDone && n.Resolved != (wire.ThunkID{}) {
			ids = append(ids, n.Resolved)
		}
		if len(ids) == wire.MaxBatch {
			failed, ids = p.claims.ask(ctx, p.link, ids), ids[:0]
		}
		return failed == nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // then all are asked for one by one
		return err
	}
	if failed != nil {
		return failed
	}
	return p.claims.ask(ctx, p.link, ids)
}

// all checks targets, and tells what was proven of them.
func (p *prover) all(ctx context.Context, wanted wants, targets []wire.Target, tell func(*Event)) error {
	var unproven []string
	for _, t := range targets {
		spec, ok := wanted[t.Path]
		if !ok {
			return wire.Errorf(wire.CauseUnproven, hintUnproven, "target %s was delivered, but not asked for", t.Path)
		}
		err := p.target(ctx, &spec, t.Held.Object)
		if errors.Is(err, errGang) {
			unproven = append(unproven, t.Path)
		} else if err != nil {
			return err
		}
	}
	if len(unproven) < len(targets) {
		whose := "nodes of " + p.link.authority.owner()
		if k := p.claims.trust.Owners(); k > 0 {
			whose = fmt.Sprintf("nodes of %d owners", k)
		}
		tell(&Event{Note: fmt.Sprintf("checked here: what the targets are made of was signed by %s (%s)", whose, count(len(p.values), "task"))})
	}
	if n := len(unproven); n > 0 {
		tell(&Event{Note: fmt.Sprintf("not checked here: whose %s is (%s); it is made of what a gang gave, of which no node alone can sign a part",
			strings.Join(unproven[:min(n, 5)], ", "), count(n, "target"))})
	}
	return nil
}

// readHeld returns the bytes of a graph that a task wrote, from this store or from who holds it.
func (b *backend) readHeld(ctx context.Context, l *link, o wire.Object) ([]byte, error) {
	if o.Size > wire.MaxGraphFile {
		return nil, wire.Errorf(wire.CauseTooLarge, "", "it is %d bytes; the bound is %d", o.Size, wire.MaxGraphFile)
	}
	held := wire.Held{Object: o}
	missing, err := b.store.Missing(l.space, o)
	if err == nil && len(missing) > 0 {
		var r *wire.Response
		if r, err = l.ask(ctx, &wire.Request{Where: &wire.Where{Space: l.space, Objects: []wire.Object{o}}}); err == nil {
			_, err = l.Fetch(ctx, holders{space: l.space, peers: r.Peers, grant: r.Grant}, r.Found, func(Fetching) {})
		}
	}
	if err != nil {
		return nil, err
	}
	return server.ReadGraph(b.store, l.space, held)
}

// saveWanted keeps the targets of a job as they were submitted, as frames, durably: without them nothing
// can be proven.
func (d stateDir) saveWanted(job string, targets []wire.TargetSpec) error {
	return replaceFile(d.jobFile(job, ".wanted"), true, func(f io.Writer) error {
		w := bufio.NewWriter(f)
		for part := range slices.Chunk(targets, wire.MaxBatch) {
			if err := wire.WriteFrame(w, part); err != nil {
				return err
			}
		}
		return w.Flush()
	})
}

// loadWanted returns them by path.
func (d stateDir) loadWanted(job string) (wants, error) {
	f, err := os.Open(d.jobFile(job, ".wanted"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wanted := wants{}
	for frames := wire.NewFrameReader(bufio.NewReader(f)); ; {
		var part []wire.TargetSpec
		err := frames.Read(&part)
		if errors.Is(err, io.EOF) && len(wanted) > 0 { // each job has targets
			return wanted, nil
		} else if err != nil {
			return nil, err
		}
		for _, t := range part {
			wanted[t.Path] = t
		}
	}
}
