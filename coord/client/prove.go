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

// prove checks that the targets of a job are what those gave whom the job believes. Without a policy
// there is nothing to check; a machine that does not know what was submitted says that it cannot.
func (b *backend) prove(ctx context.Context, l *link, rec *record, targets []wire.Target, tell func(*Event)) error {
	if rec.Trust == wire.TrustAny || l.authority == nil || len(targets) == 0 {
		return nil
	}
	wanted, err := b.dir.loadWanted(rec.Job)
	if errors.Is(err, fs.ErrNotExist) {
		tell(&Event{Note: fmt.Sprintf("not checked here: that --trust %s was kept; it is the coordinator's word, since only the machine that submitted the job knows what it is made of", rec.Trust)})
		return nil
	}
	p := newProver(l, rec.Trust)
	p.read = func(ctx context.Context, o wire.Object) ([]byte, error) { return b.readHeld(ctx, l, o) }
	if err == nil {
		err = b.dir.keptTasks(rec.Job, func(t *wire.TaskSpec) bool { p.add(t); return true })
	}
	if err != nil {
		return fmt.Errorf("reading what was submitted: %w", err)
	}
	if err := p.prefetch(ctx, b.dir, rec.Job); err != nil {
		return err
	}
	return p.all(ctx, wanted, targets, tell)
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
func (p *prover) all(ctx context.Context, wanted map[string]wire.TargetSpec, targets []wire.Target, tell func(*Event)) error {
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

// saveWanted keeps the targets of a job as they were submitted, as frames.
func (d stateDir) saveWanted(job string, targets []wire.TargetSpec) error {
	f, err := os.CreateTemp(d.path("jobs"), ".new-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for part := range slices.Chunk(targets, wire.MaxBatch) {
		err = errors.Join(err, wire.WriteFrame(w, part))
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err == nil {
		err = os.Rename(f.Name(), d.jobFile(job, ".wanted"))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// loadWanted returns them by path.
func (d stateDir) loadWanted(job string) (map[string]wire.TargetSpec, error) {
	f, err := os.Open(d.jobFile(job, ".wanted"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wanted := map[string]wire.TargetSpec{}
	for frames := wire.NewFrameReader(bufio.NewReader(f)); ; {
		var part []wire.TargetSpec
		err := frames.Read(&part)
		if errors.Is(err, io.EOF) {
			return wanted, nil
		} else if err != nil {
			return nil, err
		}
		for _, t := range part {
			wanted[t.Path] = t
		}
	}
}
