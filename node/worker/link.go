package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gaggle/wire"
)

// A Link carries frames between a node and its coordinator. Read and Write are each called by one
// goroutine at a time; Close makes both fail.
type Link interface {
	Read(*wire.ToNode) error
	Write(*wire.FromNode) error
	Close() error
}

// NewLink returns the Link over a byte stream.
func NewLink(rw io.ReadWriteCloser) Link {
	return &streamLink{rw: rw, frames: wire.NewFrameReader(rw)}
}

type streamLink struct {
	rw      io.ReadWriteCloser
	frames  *wire.FrameReader
	writing sync.Mutex // held by Write
}

func (l *streamLink) Read(f *wire.ToNode) error { return l.frames.Read(f) }

func (l *streamLink) Write(f *wire.FromNode) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return wire.WriteFrame(l.rw, f)
}

// CloseWrite says that nothing more will be written, if the stream can do that.
func (l *streamLink) CloseWrite() error {
	if c, ok := l.rw.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// awaitEnd says that nothing more will be written, and waits until the coordinator ends the connection,
// as it does then: it has read everything. Without that a host that closes takes back what is on the
// way (RFC 9000, section 10.2).
func (w *Worker) awaitEnd(link Link, ended <-chan struct{}) {
	if c, ok := link.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	select {
	case <-ended:
	case <-time.After(lastWords):
	}
}

// Close lets what was written arrive. A Write that hangs is cut off if the stream can do that.
func (l *streamLink) Close() error {
	if r, ok := l.rw.(interface{ Reset() }); ok && !l.writing.TryLock() {
		r.Reset()
		return nil
	} else if ok {
		defer l.writing.Unlock()
	}
	return l.rw.Close()
}

const (
	// gather is the pause after each frame in which the next one fills: of small thunks a
	// thousand end in a second, and a frame costs more than a result in it.
	gather = time.Millisecond
	// progressEvery is how often watchers see a lease move.
	progressEvery = 250 * time.Millisecond
	// welcomeLimit bounds the wait for the coordinator's first frame.
	welcomeLimit = 30 * time.Second
	// writeLimit is when a frame that cannot be sent ends the connection.
	writeLimit = time.Minute
	// firstRetry and lastRetry bound the back-off between connections. A session of steadyAfter
	// starts it over; shorter ones are two machines with one key, each replacing the other.
	firstRetry  = 100 * time.Millisecond
	lastRetry   = 15 * time.Second
	steadyAfter = 5 * time.Second
	// defaultBeat is assumed of a coordinator that does not say, minBeat of one that asks for
	// nonsense.
	defaultBeat = time.Second
	minBeat     = 20 * time.Millisecond
)

// connect keeps a connection until ctx ends. It returns earlier only if the coordinator says that
// it will never accept this node, or a membership was revoked.
func (w *Worker) connect(ctx context.Context) error {
	delay := firstRetry
	for {
		begun := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var refusal *refusedError
		if errors.As(err, &refusal) && refusal.final() || wire.CauseOf(err) == wire.CauseRevoked {
			return err
		}
		if time.Since(begun) >= steadyAfter {
			delay = firstRetry
		}
		// Jitter, or all nodes come back in the same moment after a restart.
		wait := delay/2 + rand.N(delay/2)
		w.log.Info("no connection to the coordinator", "error", err, "retry", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		delay = min(2*delay, lastRetry)
	}
}

// A refusedError is the coordinator's no.
type refusedError struct{ reason *wire.Error }

func (e *refusedError) Error() string { return "refused by the coordinator: " + e.reason.Error() }
func (e *refusedError) Unwrap() error { return e.reason }

// final reports whether trying again is pointless: what is wrong does not change by itself.
func (e *refusedError) final() bool {
	switch e.reason.Cause {
	case wire.CauseVersion, wire.CauseUnauthorized, wire.CauseInvalid:
		return true
	}
	return false
}

// session connects once and serves the connection until it ends.
func (w *Worker) session(ctx context.Context) error {
	link, err := w.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer link.Close()
	stop := context.AfterFunc(ctx, func() { link.Close() })
	defer stop()
	out := newOutbox(w.cfg.Key)
	hello, again := w.attach(out)
	defer w.detach(out)
	for _, o := range again {
		w.recheck(o.receipt.Space, o.outputs)
	}
	welcome, err := w.greet(link, hello)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	w.mu.Lock()
	w.said = func() { w.awaitEnd(link, ended) }
	w.mu.Unlock()
	var listening sync.WaitGroup
	defer listening.Wait()
	if welcome.Says > 0 {
		listening.Go(func() { w.listen(ended, link, out) })
	}
	wrote := make(chan error, 1)
	go func() {
		defer link.Close()
		wrote <- w.write(ended, link, out, beatEvery(welcome))
	}()
	for err == nil {
		var f wire.ToNode // a new one each time: decoding merges
		if err = link.Read(&f); err == nil {
			err = w.receive(&f)
		}
	}
	close(ended)
	link.Close()
	if werr := <-wrote; werr != nil && !errors.Is(err, io.EOF) {
		err = errors.Join(err, werr)
	}
	return fmt.Errorf("serving the coordinator: %w", err)
}

func beatEvery(welcome *wire.Welcome) time.Duration {
	if welcome.Beat <= 0 {
		return defaultBeat
	}
	return max(welcome.Beat, minBeat)
}

// attach makes out the place for all that is to be told from now on, puts in what a new
// connection has to hear, and returns the hello and the outcomes that are told again.
func (w *Worker) attach(out *outbox) (*wire.Hello, []*outcome) {
	inventory := 0
	for range w.cfg.Store.Held() {
		inventory++
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = false
	h := w.cfg.Hello
	h.Epoch, h.Inventory, h.Host = w.epoch, inventory, w.host
	w.dropNetworks()
	if w.cfg.Addrs != nil {
		h.Addrs = w.cfg.Addrs()
	}
	for _, id := range slices.Sorted(maps.Keys(w.leases)) {
		l := w.leases[id]
		h.Running = append(h.Running, id)
		h.Working = append(h.Working, wire.Work{Space: l.Space, Thunk: l.id, Started: l.started, Fresh: l.Fresh})
		if l.started {
			out.started(id)
		}
	}
	// A lease is held until its outcome is recorded: one that was not named would be given to
	// another node in the moment before its result arrives.
	older := func(a, b *outcome) int { return cmp.Compare(a.seq, b.seq) }
	held := slices.SortedFunc(maps.Values(w.outcomes), older)
	for _, o := range held {
		h.Running = append(h.Running, o.lease())
		work := wire.Work{Space: o.receipt.Space, Thunk: o.receipt.Thunk, Started: true, Fresh: o.fresh}
		h.Working = append(h.Working, work)
		out.outcome(o)
	}
	out.beat(w.beat())
	w.out = out
	return &h, held
}

func (w *Worker) detach(out *outbox) {
	w.mu.Lock()
	w.out, w.said = nil, nil
	w.mu.Unlock()
	out.close()
}

// greet says hello and returns the welcome.
func (w *Worker) greet(link Link, hello *wire.Hello) (*wire.Welcome, error) {
	late := time.AfterFunc(welcomeLimit, func() { w.hangUp(link) })
	defer late.Stop()
	if err := link.Write(&wire.FromNode{Hello: hello}); err != nil {
		return nil, fmt.Errorf("greeting the coordinator: %w", err)
	}
	var f wire.ToNode
	if err := link.Read(&f); err != nil {
		return nil, fmt.Errorf("waiting for the coordinator's welcome: %w", err)
	}
	if f.Refuse != nil {
		return nil, &refusedError{f.Refuse}
	}
	if f.Welcome == nil {
		return nil, wire.Errorf(wire.CauseInvalid, "",
			"the coordinator's first frame is no welcome")
	}
	if err := w.obey(f.Epoch); err != nil {
		return nil, err
	}
	w.cfg.Clock.set(f.Welcome.Clock)
	if d := time.Since(time.UnixMicro(f.Welcome.Now)); d.Abs() > wire.MaxClockSkew {
		w.log.Warn("the clocks of this machine and the coordinator differ; set the wrong one",
			"ahead", d.Round(time.Second))
	}
	if w.cfg.Welcomed != nil {
		w.cfg.Welcomed(f.Welcome)
	}
	return f.Welcome, w.receive(&f)
}

// obey refuses a coordinator that was replaced: one whose epoch is lower than another's before.
func (w *Worker) obey(epoch uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.renewed = w.cfg.Boot()
	w.heard = w.renewed
	if epoch == w.epoch {
		return nil
	}
	if epoch < w.epoch {
		return wire.Errorf(wire.CauseUnauthorized, "stop the older coordinator; it was replaced",
			"a coordinator of epoch %d gives orders, but epoch %d has begun", epoch, w.epoch)
	}
	w.epoch = epoch
	return writeEpoch(w.cfg.EpochFile, epoch)
}

// write sends the inventory, then whatever is put into the outbox, with a beat when it is due,
// until ended is closed or the link fails.
func (w *Worker) write(ended <-chan struct{}, link Link, out *outbox, beat time.Duration) error {
	if err := w.writeInventory(link); err != nil {
		return err
	}
	tick := time.NewTicker(min(progressEvery, beat/2))
	defer tick.Stop()
	beaten := time.Now()
	var told []wire.Path
	var crossed []wire.NetPath
	for {
		select {
		case <-ended:
			return nil
		case <-out.wake:
		case now := <-tick.C:
			w.sendProgress(out)
			if now.Sub(beaten) >= beat/2 {
				beaten = now
				crossed = w.tellCrossed(out, crossed)
				w.mu.Lock()
				out.beat(w.beat())
				if w.cfg.Paths != nil {
					told = out.tellPaths(w.cfg.Paths(), told)
				}
				w.mu.Unlock()
			}
		}
		if err := w.writeFrames(link, out); err != nil {
			return err
		}
		if out.full() {
			continue
		}
		select {
		case <-ended:
			return nil
		case <-time.After(gather):
		}
	}
}

func (w *Worker) writeFrames(link Link, out *outbox) error {
	frames, overflow := out.take()
	defer out.wrote()
	if overflow {
		return wire.Errorf(wire.CauseBusy, "",
			"the coordinator does not read: %d frames wait for it", len(frames))
	}
	for _, f := range frames {
		if err := w.writeFrame(link, &f.FromNode); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) writeFrame(link Link, f *wire.FromNode) error {
	late := time.AfterFunc(writeLimit, func() { link.Close() })
	defer late.Stop()
	if err := link.Write(f); err != nil {
		return err
	}
	w.mu.Lock()
	w.renewed = w.cfg.Boot()
	w.mu.Unlock()
	return nil
}

// writeInventory reports what the store holds. What is lost meanwhile waits in the outbox and
// follows. All of it is given to the syncer, which reports it Stored: at little cost if it was
// durable before.
func (w *Worker) writeInventory(link Link) error {
	w.syncs.renew()
	var f wire.FromNode
	n := 0
	flush := func() error {
		defer func() { f, n = wire.FromNode{}, 0 }()
		return w.writeFrame(link, &f)
	}
	for space, o := range w.cfg.Store.Held() {
		f.Have = addObject(f.Have, space, o)
		if n++; n == wire.MaxBatch {
			w.syncs.addSets(f.Have)
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return nil
	}
	w.syncs.addSets(f.Have)
	return flush()
}
