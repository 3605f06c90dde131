package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/blobstore/exchange"
	"gaggle/node/worker"
	"gaggle/sandbox"
	"gaggle/wire"
)

const space = wire.Space("anna")

// A host is a machine: a disk that outlives its process, and a worker while it runs.
type host struct {
	w     *world
	name  string
	key   ed25519.PrivateKey
	slots int

	laptop bool
	clock  worker.Clock

	mu      sync.Mutex // guards the fields below
	store   *blobstore.Memory
	work    *worker.Worker
	stop    context.CancelFunc
	ended   chan struct{}
	refused error         // why the coordinator wants none of its process
	ahead   time.Duration // of its wall clock
	slept   time.Duration // boot time when it was suspended
	awake   chan struct{} // closed when it wakes; nil while it is awake
	grant   *wire.Grant   // of the space
	ran     int           // thunks
}

func newHost(w *world, name string, slots int) *host {
	seed := sha256.Sum256([]byte(name))
	h := &host{w: w, name: name, key: ed25519.NewKeyFromSeed(seed[:]), slots: slots, store: blobstore.NewMemory()}
	h.clock = worker.Clock{Boot: h.boot, Wall: h.wall}
	h.store.OnLost = func(space wire.Space, ds []wire.Digest) {
		h.mu.Lock()
		work := h.work
		h.mu.Unlock()
		if work != nil {
			work.Lost(space, ds)
		}
	}
	return h
}

func (h *host) id() wire.PeerID { return wire.PeerOf(h.key) }

func (h *host) cert() *wire.Certificate {
	return &wire.Certificate{Peer: h.id(), Roles: wire.RoleNode | wire.RoleClient, Tenants: []wire.Space{space}}
}

// start starts the worker; the disk is as the last one left it.
func (h *host) start() {
	ctx, cancel := context.WithCancel(context.Background())
	w, err := worker.New(worker.Config{
		Store: h.store, Exchange: &fakeExchange{h}, Executor: fakeExecutor{h}, Key: h.key,
		Hello:  h.hello(),
		Dial:   func(ctx context.Context) (worker.Link, error) { return h.dial(ctx) },
		Paused: func() bool { return false },
		Boot:   h.boot, Clock: &h.clock,
	})
	if err != nil {
		panic(err)
	}
	ended := make(chan struct{})
	h.mu.Lock()
	h.work, h.stop, h.ended, h.refused = w, cancel, ended, nil
	h.mu.Unlock()
	go func() {
		defer close(ended)
		err := w.Run(ctx)
		if err == nil {
			return
		}
		h.mu.Lock()
		h.refused = err
		h.mu.Unlock()
		if !h.w.isCopied(h.key) {
			h.w.fail(fmt.Errorf("worker %s: %w", h.name, err))
		}
	}()
}

func (h *host) hello() wire.Hello {
	v := wire.Hello{Versions: wire.Versions{Protocol: wire.ProtocolVersion, Thunks: []uint64{1}, Platforms: []string{"linux/amd64"}, ABIs: []uint64{wire.ABI}},
		Name: h.name, Slots: h.slots, MemBytes: 8 << 30, StoreMax: 1 << 40}
	if h.laptop {
		v.Labels = map[string]string{"laptop": "true"}
	}
	return v
}

// epochStart is where synctest's clocks begin.
var epochStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (h *host) running() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stop != nil && h.refused == nil
}

// answers reports whether others can fetch from the host.
func (h *host) answers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stop != nil && h.refused == nil && h.awake == nil
}

// kill ends the process; what it would still say while going down is not heard.
func (h *host) kill() {
	h.wake()
	h.mu.Lock()
	stop, ended := h.stop, h.ended
	h.stop = nil
	h.mu.Unlock()
	if stop == nil {
		return
	}
	h.w.net.setCut(h.name, true)
	stop()
	<-ended
	h.w.net.setCut(h.name, false)
}

func (h *host) dial(ctx context.Context) (worker.Link, error) {
	h.untilAwake(ctx)
	if err := h.skewed(); err != nil {
		return nil, err
	}
	near, far, err := h.w.net.dial(h.name, "hub")
	if err != nil {
		return nil, err
	}
	s, ctx := h.w.server()
	if s == nil {
		near.Close()
		return nil, io.ErrClosedPipe
	}
	go func() {
		// Why a session ends is the worker's to notice.
		_ = s.ServeNode(ctx, far, h.cert())
	}()
	return &witness{Link: worker.NewLink(near), h: h, sent: map[wire.LeaseID]valueKey{}}, nil
}

// fakeExchange copies between stores at the speed of a link of 10 MB/s.
type fakeExchange struct{ h *host }

func (x *fakeExchange) SetGrant(g *wire.Grant) { x.h.granted(g) }

func (x *fakeExchange) Probe(ctx context.Context, from wire.PeerID) (wire.Link, error) {
	time.Sleep(10 * time.Millisecond)
	return wire.Link{From: from, BytesPerSec: 10e6, RTT: 2 * x.h.w.net.delay}, ctx.Err()
}

func (x *fakeExchange) Fetch(ctx context.Context, space wire.Space, want []wire.Held, _ func(exchange.Progress)) (r exchange.Report, err error) {
	for _, held := range want {
		if missing, err := x.h.store.Missing(space, held.Object); err == nil && len(missing) == 0 {
			continue
		}
		if !x.fetchOne(ctx, space, held, &r) {
			return r, wire.Errorf(wire.CauseFetch, "", "nobody of %d had %s", len(held.Peers), held.Object.CID())
		}
	}
	return r, ctx.Err()
}

func (x *fakeExchange) fetchOne(ctx context.Context, space wire.Space, held wire.Held, r *exchange.Report) bool {
	for _, p := range held.Peers {
		x.h.untilAwake(ctx)
		from := x.h.w.hostOf(p)
		if from == nil || !from.answers() || !x.h.w.net.reach(from.name, x.h.name) || x.h.refusedBy(from) != nil {
			continue
		}
		select {
		case <-time.After(2*x.h.w.net.delay + time.Duration(held.Object.Size)*100*time.Nanosecond):
		case <-ctx.Done():
			return false
		}
		if x.h.untilAwake(ctx); !from.answers() || !x.h.w.net.reach(from.name, x.h.name) {
			continue
		}
		if err := copyObject(ctx, from.store, x.h.store, space, held.Object); err != nil {
			r.Gone = append(r.Gone, wire.Gone{Peer: p, Space: space, Digest: held.Object.Digest})
			continue
		}
		r.Bytes += int64(held.Object.Size)
		return true
	}
	return false
}

func copyObject(ctx context.Context, from, to *blobstore.Memory, space wire.Space, o wire.Object) error {
	if o.Kind == wire.Dir {
		t, err := from.Tree(space, wire.TreeID(o.Digest))
		if err != nil {
			return err
		}
		_, err = to.PutTree(ctx, space, t)
		return err // the simulation's only tree is empty
	}
	b, err := from.Open(space, o.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	_, _, err = to.Put(ctx, space, b)
	return err
}

// fakeExecutor computes in virtual time.
type fakeExecutor struct{ h *host }

type staged struct {
	h     *host
	space wire.Space
	t     *wire.Thunk
	data  map[wire.Digest][]byte
}

func (e fakeExecutor) Stage(_ context.Context, space wire.Space, t *wire.Thunk) (worker.Staged, error) {
	s := &staged{e.h, space, t, map[wire.Digest][]byte{}}
	for _, in := range t.Inputs {
		data, err := readObject(e.h.store, space, in.Object.Digest)
		if err != nil {
			return nil, err
		}
		s.data[in.Object.Digest] = data
	}
	return s, nil
}

func readObject(store *blobstore.Memory, space wire.Space, d wire.Digest) ([]byte, error) {
	b, err := store.Open(space, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

func (s *staged) Run(ctx context.Context, _ sandbox.Spec) (r sandbox.Report, err error) {
	r.Run = runTime(s.t)
	select {
	case <-time.After(r.Run):
	case <-ctx.Done():
		return r, context.Cause(ctx)
	}
	if s.h.untilAwake(ctx); ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	data, isGraph := compute(s.t, func(o wire.Object) []byte { return s.data[o.Digest] })
	id, n, err := s.h.store.Put(ctx, s.space, bytes.NewReader(data))
	if err != nil {
		return r, err
	}
	s.h.w.count(s.t)
	s.h.mu.Lock()
	s.h.ran++
	s.h.mu.Unlock()
	o := wire.FileObject(id, uint64(n), false)
	if isGraph {
		o.Kind = wire.Graph
	}
	r.Outputs = []wire.Object{o}
	return r, nil
}

func (s *staged) Release() {}
