package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/blobstore"
	"gaggle/blobstore/exchange"
	"gaggle/sandbox"
	"gaggle/wire"
)

const space wire.Space = "anna"

// A hub is a coordinator that does what a test says, on links in memory.
type hub struct {
	t     testing.TB
	epoch uint64
	links chan net.Conn
	down  atomic.Bool // Dial fails

	mu    sync.Mutex // guards dials
	dials []time.Time
}

func newHub(t testing.TB) *hub { return &hub{t: t, epoch: 1, links: make(chan net.Conn, 1)} }

func (h *hub) dial(context.Context) (Link, error) {
	h.mu.Lock()
	h.dials = append(h.dials, time.Now())
	h.mu.Unlock()
	if h.down.Load() {
		return nil, wire.Errorf(wire.CauseUnreachable, "", "the hub is down")
	}
	near, far := net.Pipe()
	h.links <- far
	return NewLink(near), nil
}

// A session is the hub's end of one link. Everything the worker says is gathered.
type session struct {
	*hub
	c     net.Conn
	hello *wire.Hello
	ended chan struct{} // closed when the worker has closed the link

	mu     sync.Mutex // guards frames
	more   sync.Cond  // signalled when there is another
	frames []wire.FromNode
	done   int // outcomes in frames
}

// answer accepts the next link and sends first in reply to the hello.
func (h *hub) answer(first *wire.ToNode) *session {
	h.t.Helper()
	s := &session{hub: h, c: <-h.links, ended: make(chan struct{})}
	s.more.L = &s.mu
	frames := wire.NewFrameReader(s.c)
	var f wire.FromNode
	if err := frames.Read(&f); err != nil || f.Hello == nil {
		h.t.Fatalf("first frame = %+v, %v, want a hello", f, err)
	}
	s.hello = f.Hello
	go func() {
		defer close(s.ended)
		for {
			var f wire.FromNode
			if frames.Read(&f) != nil {
				return
			}
			s.mu.Lock()
			s.frames = append(s.frames, f)
			s.done += len(f.Results) + len(f.Failures)
			s.more.Broadcast()
			s.mu.Unlock()
		}
	}()
	s.send(first)
	return s
}

// accept welcomes the next link.
func (h *hub) accept() *session {
	h.t.Helper()
	return h.answer(&wire.ToNode{Welcome: &wire.Welcome{Beat: 2 * time.Second, Now: time.Now().UnixMicro()}})
}

func (s *session) send(f *wire.ToNode) {
	s.t.Helper()
	f.Epoch = s.epoch
	if err := wire.WriteFrame(s.c, f); err != nil {
		s.t.Errorf("sending to the worker: %v", err)
	}
}

// cut ends the link.
func (s *session) cut() {
	s.c.Close()
	<-s.ended
}

// heard returns all frames so far as one, once the worker has nothing more to say for now.
func (s *session) heard() wire.FromNode {
	synctest.Wait()
	time.Sleep(2 * (gather + syncPause)) // virtual: what was gathering goes out
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined()
}

// wait waits until ok holds for all frames so far.
func (s *session) wait(ok func(*wire.FromNode) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		all := s.joined()
		if ok(&all) {
			return
		}
		s.more.Wait()
	}
}

// waitOutcomes waits for so many outcomes.
func (s *session) waitOutcomes(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.done < n {
		s.more.Wait()
	}
}

// joined returns all frames as one. Called under s.mu.
func (s *session) joined() (all wire.FromNode) {
	for _, f := range s.frames {
		all.Started = append(all.Started, f.Started...)
		all.Results = append(all.Results, f.Results...)
		all.Failures = append(all.Failures, f.Failures...)
		all.Recalled = append(all.Recalled, f.Recalled...)
		all.Have = append(all.Have, f.Have...)
		all.Stored = append(all.Stored, f.Stored...)
		all.Lost = append(all.Lost, f.Lost...)
		all.Gone = append(all.Gone, f.Gone...)
		all.Links = append(all.Links, f.Links...)
		all.Progress = append(all.Progress, f.Progress...)
		if f.Beat != nil {
			all.Beat = f.Beat
		}
		if n := len(f.Results) + len(f.Failures); n > 0 {
			b, err := wire.DecodeReceiptBatch(f.Receipts)
			if err != nil || len(b.Receipts) != n {
				s.t.Errorf("%d outcomes with receipts %+v, %v", n, b, err)
			}
		}
	}
	return all
}

func (s *session) offer(o ...wire.Offer) {
	s.t.Helper()
	s.send(&wire.ToNode{Offers: o})
}

// A lab is a worker with parts that do what a test says. Its thunks are made by thunk: the fake
// executor knows them by their command.
type lab struct {
	*hub
	store *blobstore.Memory
	exch  fakeExchange
	cfg   Config
	w     *Worker
	stop  func() error // ends Run and returns its error

	mu       sync.Mutex // guards the fields below
	ran      []string   // commands, in the order they began
	running  int
	most     int // that ran at once
	released int
	doing    func(ctx context.Context, name string, spec sandbox.Spec) (string, *wire.Failure, error)
}

// newLab makes a worker with the given slots. Change cfg before start.
func newLab(t testing.TB, slots int) *lab {
	l := &lab{hub: newHub(t), store: blobstore.NewMemory()}
	begun := time.Now()
	l.cfg = Config{
		Store: l.store, Exchange: &l.exch, Executor: l, Key: testKey(1), Dial: l.dial,
		Hello: wire.Hello{Name: "lab", Slots: slots, Versions: wire.Versions{Platforms: []string{"linux/amd64"}, ABIs: []uint64{wire.ABI}}},
		Boot:  func() time.Duration { return time.Since(begun) },
	}
	l.doing = func(_ context.Context, name string, _ sandbox.Spec) (string, *wire.Failure, error) {
		return name, nil, nil
	}
	l.exch.store = l.store
	l.store.OnLost = func(space wire.Space, ds []wire.Digest) { l.w.Lost(space, ds) }
	return l
}

// start runs the worker until the test ends.
func (l *lab) start() *lab {
	l.t.Helper()
	w, err := New(l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.w = w
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	l.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	l.t.Cleanup(func() {
		if err := l.stop(); err != nil {
			l.t.Errorf("Run = %v", err)
		}
	})
	return l
}

// put stores a text and returns its object.
func (l *lab) put(text string) wire.Object {
	l.t.Helper()
	id, n, err := l.store.Put(context.Background(), space, strings.NewReader(text))
	if err != nil {
		l.t.Fatal(err)
	}
	return wire.FileObject(id, uint64(n), false)
}

// root stores the empty tree.
func (l *lab) root() wire.TreeID {
	l.t.Helper()
	tree, err := wire.NewTree(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	id, err := l.store.PutTree(context.Background(), space, tree)
	if err != nil {
		l.t.Fatal(err)
	}
	return id
}

// thunk returns an offer of a thunk whose command is name and whose output is named "out".
func (l *lab) thunk(lease wire.LeaseID, name string, inputs ...wire.Object) wire.Offer {
	l.t.Helper()
	t := wire.Thunk{Command: []string{name}, Root: l.root(), Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI,
		Inputs: inputsOf(inputs)}
	return offerOf(l.t, lease, t)
}

func inputsOf(objs []wire.Object) (inputs []wire.Input) {
	for i, o := range objs {
		inputs = append(inputs, wire.Input{Path: fmt.Sprintf("in%d", i), Object: o})
	}
	return inputs
}

func offerOf(t testing.TB, lease wire.LeaseID, thunk wire.Thunk) wire.Offer {
	t.Helper()
	u, err := wire.NewThunk(thunk)
	if err != nil {
		t.Fatal(err)
	}
	_, b := u.Encode()
	return wire.Offer{Lease: lease, Space: space, Name: thunk.Command[0], Thunk: b}
}

// Stage is the executor's: all inputs must be there.
func (l *lab) Stage(_ context.Context, space wire.Space, t *wire.Thunk) (Staged, error) {
	for _, in := range t.Inputs {
		if missing, err := l.store.Missing(space, in.Object); err != nil || len(missing) > 0 {
			return nil, fmt.Errorf("laying out %s: %w", in.Path, errors.Join(err, blobstore.ErrNotFound))
		}
	}
	return &labStage{l, t.Command[0], len(t.Outputs)}, nil
}

type labStage struct {
	l       *lab
	name    string
	outputs int
}

func (s *labStage) Run(ctx context.Context, spec sandbox.Spec) (r sandbox.Report, err error) {
	l := s.l
	l.mu.Lock()
	l.ran = append(l.ran, s.name)
	l.running++
	l.most = max(l.most, l.running)
	doing := l.doing
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.running--
	}()
	begun := time.Now()
	text, failure, err := doing(ctx, s.name, spec)
	r.Run = time.Since(begun)
	if err != nil || failure != nil || s.outputs == 0 {
		r.Failure = failure
		return r, err
	}
	id, n, err := l.store.Put(ctx, space, strings.NewReader(text))
	r.Outputs = []wire.Object{wire.FileObject(id, uint64(n), false)}
	return r, err
}

func (s *labStage) Release() {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.l.released++
}

// do sets what running a thunk does.
func (l *lab) do(f func(ctx context.Context, name string, spec sandbox.Spec) (string, *wire.Failure, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doing = f
}

// sleeps has every thunk run for d, or until it is killed.
func (l *lab) sleeps(d time.Duration) {
	l.do(func(ctx context.Context, name string, _ sandbox.Spec) (string, *wire.Failure, error) {
		select {
		case <-time.After(d):
			return name, nil, nil
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	})
}

// commands returns what has begun to run.
func (l *lab) commands() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ran)
}

// A fakeExchange brings texts that a test has put elsewhere.
type fakeExchange struct {
	store *blobstore.Memory

	mu      sync.Mutex // guards the fields below
	far     map[wire.Digest]string
	fetches [][]wire.Held
	report  exchange.Report
	takes   time.Duration
	fail    error
	grants  []*wire.Grant
}

// elsewhere makes a text available to fetches and returns its object.
func (x *fakeExchange) elsewhere(text string) wire.Object {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.far == nil {
		x.far = map[wire.Digest]string{}
	}
	o := wire.FileObject(wire.BlobID(wire.Sum([]byte(text))), uint64(len(text)), false)
	x.far[o.Digest] = text
	return o
}

func (x *fakeExchange) Fetch(ctx context.Context, space wire.Space, want []wire.Held, progress func(exchange.Progress)) (exchange.Report, error) {
	x.mu.Lock()
	x.fetches = append(x.fetches, want)
	report, takes, fail := x.report, x.takes, x.fail
	x.mu.Unlock()
	if fail != nil {
		return report, fail
	}
	for _, h := range want {
		if progress != nil && len(h.Peers) > 0 {
			progress(exchange.Progress{Done: 1, Total: int64(h.Object.Size), From: h.Peers[0]})
		}
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return report, ctx.Err()
		}
		x.mu.Lock()
		text, ok := x.far[h.Object.Digest]
		x.mu.Unlock()
		if !ok {
			return report, wire.Errorf(wire.CauseFetch, "", "nobody has %s", h.Object.CID())
		}
		if _, _, err := x.store.Put(ctx, space, strings.NewReader(text)); err != nil {
			return report, err
		}
		report.Bytes += int64(len(text))
	}
	return report, nil
}

func (x *fakeExchange) Probe(_ context.Context, from wire.PeerID) (wire.Link, error) {
	return wire.Link{From: from, BytesPerSec: 1e6, RTT: time.Millisecond}, nil
}

func (x *fakeExchange) SetGrant(g *wire.Grant) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.grants = append(x.grants, g)
}

// text reads what a result's first output holds.
func (l *lab) text(r wire.Result) string {
	l.t.Helper()
	v, err := wire.DecodeValue(r.Value)
	if err != nil {
		l.t.Fatal(err)
	}
	b, err := l.store.Open(r.Space, v.Outputs[0].Digest)
	if err != nil {
		l.t.Fatal(err)
	}
	defer b.Close()
	data, err := io.ReadAll(b)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(data)
}

// objects joins sets into the objects of the test's space.
func objects(sets []wire.SpaceSet) (objs []wire.Object) {
	for _, s := range sets {
		if s.Space == space {
			objs = append(objs, s.Objects...)
		}
	}
	return objs
}

func leases(results []wire.Result) (ids []wire.LeaseID) {
	for _, r := range results {
		ids = append(ids, r.Lease)
	}
	return ids
}

var (
	_ Store    = (*blobstore.Store)(nil)
	_ Files    = (*blobstore.Store)(nil)
	_ Engine   = (*sandbox.Engine)(nil)
	_ Exchange = (*exchange.Exchange)(nil)
)
