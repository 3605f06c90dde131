package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gaggle/wire"
)

const (
	// maxItems bounds the objects that one Fetch has under way: what maxWorkers streams of one
	// holder can be busy with.
	maxItems = maxWorkers * maxBatch
	// progressStep is how many bytes pass between two calls of progress.
	progressStep = 1 << 20
	// maxFiles is the number of files waiting from which they go before further directories, so
	// that a Fetch does not hold the names of a whole root at once.
	maxFiles = 64 << 10
)

// Progress tells how far a Fetch is. Bytes are of files, not of tree encodings; of a directory not
// yet read Total takes its word.
type Progress struct {
	Done, Total int64
	From        wire.PeerID // who sent the last bytes
}

// A Report says what a Fetch found out about peers, also when it failed.
type Report struct {
	Bytes int64       // received by transfers that this call began; those joined count elsewhere
	Gone  []wire.Gone // holders that lacked an object, sent wrong bytes or are blocked, each once for an object
	Links []wire.Link // as measured lately, of the peers that were asked
}

// Fetch brings every object of want whole into the store: for a Dir all below it too. What is here
// already, or is on its way for another call, is not asked for again. Holders are asked best
// first; one that lacks an object, sends wrong bytes or stalls is followed by the next.
//
// The error is of ctx, or a *wire.Error: CauseFetch names the object and the peers tried and why;
// CauseDiskFull; CauseInvalid for a Dir whose bytes are no directory. What arrived whole stays.
// progress, which may be nil, is called one at a time, from any goroutine, about once a MiB; it
// must not block.
func (x *Exchange) Fetch(ctx context.Context, space wire.Space, want []wire.Held, progress func(Progress)) (Report, error) {
	if !space.Valid() {
		return Report{}, wire.Errorf(wire.CauseInvalid, "", "%q cannot name a space", string(space))
	}
	f := &fetch{
		x: x, space: space, want: want, progress: progress,
		companions: make([][]wire.PeerID, len(want)),
		ended:      make(chan *waiter, maxItems), running: map[*waiter]struct{}{},
		seen: map[seenKey]struct{}{}, sized: map[wire.Digest]struct{}{}, gone: map[wire.Gone]struct{}{},
	}
	for i := range want {
		for _, p := range want[i].Coming {
			f.meet(i, p)
		}
	}
	err := f.run(ctx)
	return f.report(), err
}

// An item is one object that a Fetch lacks, and which of the wanted ones it is part of.
type item struct {
	object wire.Object
	top    int
	counts bool // its size counts in the progress
}

type seenKey struct {
	digest wire.Digest
	top    int
	dir    bool
}

// A fetch is one call of Fetch. But for ended and what mu guards it is of the calling goroutine.
type fetch struct {
	x     *Exchange
	space wire.Space
	want  []wire.Held
	ended chan *waiter // flights that have ended; has room for all that run

	dirs, files []item // not begun
	running     map[*waiter]struct{}
	seen        map[seenKey]struct{}
	sized       map[wire.Digest]struct{} // files that count in the progress
	gone        map[wire.Gone]struct{}
	result      Report

	mu         sync.Mutex      // guards the fields below, and waiter.reported
	companions [][]wire.PeerID // for each wanted object, members that are fetching it, too
	progress   func(Progress)
	state      Progress
	unread     int64 // of Total, what directories say that are not read yet
	silent     int64 // bytes since progress was called
}

func (f *fetch) run(ctx context.Context) error {
	defer f.leave()
	for i, h := range f.want {
		if !h.Object.Final() && h.Object.Kind != wire.Graph {
			return wire.Errorf(wire.CauseInvalid, "", "fetching %s: it names no content", h.Object.Kind)
		}
		if err := f.need(h.Object, i); err != nil {
			return err
		}
	}
	for {
		if err := f.launch(); err != nil {
			return err
		}
		if len(f.running) == 0 {
			f.finish()
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case w := <-f.ended:
			if err := f.take(w); err != nil {
				return err
			}
		}
	}
}

// leave gives up what is still under way.
func (f *fetch) leave() {
	for w := range f.running {
		w.leave()
	}
}

// need queues what is missing of an object.
func (f *fetch) need(o wire.Object, top int) error {
	missing, err := f.x.cfg.Store.Missing(f.space, o)
	if err != nil {
		return fmt.Errorf("looking for what is missing of %s: %w", o.CID(), err)
	}
	for _, m := range missing {
		k := seenKey{m.Digest, top, m.Kind == wire.Dir}
		if _, ok := f.seen[k]; ok {
			continue
		}
		f.seen[k] = struct{}{}
		f.queue(item{object: m, top: top})
	}
	return nil
}

func (f *fetch) queue(it item) {
	size := int64(it.object.Size)
	f.mu.Lock()
	defer f.mu.Unlock()
	if it.object.Kind == wire.Dir {
		f.unread += size
		f.dirs = append(f.dirs, it)
		return
	}
	if _, ok := f.sized[it.object.Digest]; !ok {
		f.sized[it.object.Digest] = struct{}{}
		it.counts = true
		f.state.Total += size
	}
	f.files = append(f.files, it)
}

// launch begins flights up to the bound.
func (f *fetch) launch() error {
	for len(f.running) < maxItems {
		it, ok := f.pop()
		if !ok {
			return nil
		}
		w := &waiter{fetch: f, item: it}
		if f.space != wire.Public && f.x.grant(f.space) == nil {
			return wire.Errorf(wire.CauseFetch, "the coordinator gives it with the next offer; try again",
				"fetching %s: this machine has no grant to read space %s", it.object.CID(), f.space)
		}
		k := flightKey{space: f.space, digest: it.object.Digest, tree: it.object.Kind == wire.Dir}
		if !k.tree {
			k.size = it.object.Size
		}
		f.running[w] = struct{}{}
		f.x.join(k, &f.want[it.top], w)
	}
	return nil
}

// pop returns what to fetch next: directories, since they say what else there is.
func (f *fetch) pop() (item, bool) {
	from := &f.dirs
	if len(f.dirs) == 0 || len(f.files) > maxFiles {
		from = &f.files
	}
	if len(*from) == 0 {
		return item{}, false
	}
	last := len(*from) - 1
	it := (*from)[last]
	*from = (*from)[:last]
	return it, true
}

// take ends the wait for a flight.
func (f *fetch) take(w *waiter) error {
	delete(f.running, w)
	fl := w.flight
	if w.leader {
		f.result.Bytes += fl.moved
	}
	for p, o := range fl.faults {
		// Who is asked nothing is no holder for us, and naming it again would not help.
		blocked := o.why == errBlocked
		if blocked || o.final() && o.verdict != unfit {
			f.miss(wire.Gone{Peer: p, Space: f.space, Digest: f.want[w.item.top].Object.Digest, Wrong: blocked || o.wrong})
		}
	}
	if fl.err == nil {
		return f.arrived(w)
	}
	if errors.Is(fl.err, context.Canceled) {
		return wire.Errorf(wire.CauseFetch, "", "fetching %s: the exchange is closing", w.item.object.CID())
	}
	return fl.err
}

// miss reports a holder, once for an object.
func (f *fetch) miss(g wire.Gone) {
	if _, ok := f.gone[g]; !ok {
		f.gone[g] = struct{}{}
		f.result.Gone = append(f.result.Gone, g)
	}
}

// arrived counts an object that is here, and queues what is below it.
func (f *fetch) arrived(w *waiter) error {
	o := w.item.object
	if o.Kind == wire.Dir {
		f.mu.Lock()
		f.unread -= int64(o.Size)
		f.mu.Unlock()
		return f.need(o, w.item.top)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.movedLocked(w, int64(o.Size)-w.reported, w.flight.sender)
	return nil
}

// moved counts bytes of a file, and calls progress after every progressStep.
func (f *fetch) moved(w *waiter, n int64, from wire.PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.movedLocked(w, n, from)
}

func (f *fetch) movedLocked(w *waiter, n int64, from wire.PeerID) {
	w.reported += n
	if !w.item.counts {
		return
	}
	f.state.Done += n
	f.silent += n
	if !from.IsZero() {
		f.state.From = from
	}
	if f.silent >= progressStep {
		f.tell()
	}
}

// finish calls progress a last time, if it was called or anything was missing.
func (f *fetch) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.Total > 0 {
		f.tell()
	}
}

// tell calls progress. Called with mu held.
func (f *fetch) tell() {
	f.silent = 0
	if f.progress == nil {
		return
	}
	p := f.state
	p.Total += f.unread
	f.progress(p)
}

func (f *fetch) report() Report {
	asked := map[wire.PeerID]struct{}{}
	for _, h := range f.want {
		for _, p := range h.Peers {
			if _, ok := asked[p]; ok || len(f.seen) == 0 {
				continue
			}
			asked[p] = struct{}{}
			if l, ok := f.x.member(p).link(p); ok {
				f.result.Links = append(f.result.Links, l)
			}
		}
	}
	return f.result
}
