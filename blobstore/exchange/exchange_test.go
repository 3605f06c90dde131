package exchange

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

const lab wire.Space = "lab"

// detKey returns the same key for the same seed.
func detKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

var coordKey = detKey(200)

// A fabric connects members by pipes.
type fabric struct {
	t  testing.TB
	wg sync.WaitGroup

	wrap func(s Stream, self, peer wire.PeerID) Stream // nil for streams as fast as memory
	old  bool                                          // nobody reads compressed answers

	mu       sync.Mutex
	handlers map[wire.PeerID]func(Stream)
	dials    map[wire.PeerID]int
	nodes    byte
}

func newFabric(t testing.TB) *fabric {
	return &fabric{t: t, handlers: map[wire.PeerID]func(Stream){}, dials: map[wire.PeerID]int{}}
}

// A pipe is one end of a stream.
type pipe struct {
	net.Conn
	peer wire.PeerID
	old  bool // it reads no compressed answers
}

func (p pipe) Peer() wire.PeerID { return p.peer }
func (p pipe) Reset()            { p.Close() }
func (p pipe) Inflates() bool    { return !p.old }

func (f *fabric) dialer(self wire.PeerID) Dialer {
	return DialFunc(func(ctx context.Context, p wire.PeerID, proto string) (Stream, error) {
		f.mu.Lock()
		h := f.handlers[p]
		f.dials[p]++
		f.mu.Unlock()
		if h == nil || proto != wire.ProtocolBlob {
			return nil, wire.Errorf(wire.CauseUnreachable, "", "%s cannot be reached", p)
		}
		a, b := net.Pipe()
		var here, there Stream = pipe{a, p, f.old}, pipe{b, self, f.old}
		if f.wrap != nil {
			here, there = f.wrap(here, self, p), f.wrap(there, p, self)
		}
		f.wg.Go(func() {
			h(there)
			there.Close()
		})
		return here, nil
	})
}

// A node is an exchange over a store in memory.
type node struct {
	*Exchange
	store *blobstore.Memory
	id    wire.PeerID
}

// node adds a member. It has a grant for lab.
func (f *fabric) node(change ...func(*Config)) *node {
	f.nodes++
	n := &node{store: blobstore.NewMemory(), id: wire.PeerOf(detKey(f.nodes))}
	cfg := Config{
		Store: n.store, Dialer: f.dialer(n.id), Self: n.id,
		Trusted: func(p wire.PeerID) bool { return p == wire.PeerOf(coordKey) },
	}
	for _, c := range change {
		c(&cfg)
	}
	n.Exchange = New(cfg)
	f.t.Cleanup(func() { n.Close() })
	n.SetGrant(wire.SignGrant(coordKey, lab, n.id, time.Now().Add(wire.GrantLife)))
	f.mu.Lock()
	f.handlers[n.id] = n.Serve
	f.mu.Unlock()
	return n
}

// hostile adds a member that answers as fn pleases, and returns its id.
func (f *fabric) hostile(fn func(Stream)) wire.PeerID {
	f.nodes++
	id := wire.PeerOf(detKey(f.nodes))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers[id] = fn
	return id
}

// close ends exchanges and waits for what serves; in a synctest bubble that must happen inside.
func (f *fabric) close(ns ...*node) {
	for _, n := range ns {
		n.Close()
	}
	f.wg.Wait()
}

func noise(seed uint64, n int) []byte {
	var s [32]byte
	s[0], s[1], s[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	b := make([]byte, n)
	rand.NewChaCha8(s).Read(b)
	return b
}

func (n *node) put(t testing.TB, space wire.Space, b []byte) wire.Object {
	t.Helper()
	id, _, err := n.store.Put(context.Background(), space, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return wire.FileObject(id, uint64(len(b)), false)
}

func (n *node) putTree(t testing.TB, entries ...wire.Entry) wire.Object {
	t.Helper()
	tree, err := wire.NewTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	id, err := n.store.PutTree(context.Background(), lab, tree)
	if err != nil {
		t.Fatal(err)
	}
	return wire.DirObject(id, tree.Size())
}

func (n *node) read(t testing.TB, o wire.Object) []byte {
	t.Helper()
	b, err := n.store.Open(lab, o.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	all, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (n *node) has(o wire.Object) bool {
	m, err := n.store.Missing(lab, o)
	return err == nil && len(m) == 0
}

func held(o wire.Object, ps ...wire.PeerID) []wire.Held { return []wire.Held{{Object: o, Peers: ps}} }

func (n *node) fetch(o wire.Object, ps ...wire.PeerID) (Report, error) {
	return n.Fetch(context.Background(), lab, held(o, ps...), nil)
}

// served returns the number of streams that are served.
func (n *node) served() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serving
}

// asking returns the number of sources.
func (n *node) asking() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sources)
}

func wantCause(t *testing.T, err error, want wire.Cause, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("error = nil, want cause %s", want)
	}
	if got := wire.CauseOf(err); got != want {
		t.Fatalf("error %q has cause %s, want %s", err, got, want)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestFetch(t *testing.T) {
	for _, size := range []int{0, 1, 4096, chunk, chunk + 1, bulkSize - 1, bulkSize, 5 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			f := newFabric(t)
			a, b := f.node(), f.node()
			want := noise(1, size)
			o := a.put(t, lab, want)
			r, err := b.fetch(o, a.id)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.read(t, o), want) {
				t.Error("other bytes")
			}
			if r.Bytes != int64(size) || len(r.Gone) != 0 {
				t.Errorf("report %+v", r)
			}
			answers := int64(1)
			if size >= swarmFrom {
				answers = int64(wire.Pieces(uint64(size)))
			}
			if in, out := b.Stats().Peers[a.id], a.Stats().Peers[b.id]; in.In != int64(size) || out.Out != int64(size) || in.Asked != answers || out.Served != answers {
				t.Errorf("counted %+v in, %+v out", in, out)
			}
			if r, err = b.fetch(o, a.id); err != nil || r.Bytes != 0 {
				t.Errorf("again = %+v, %v; want nothing moved", r, err)
			}
		})
	}
}

// A closure: nested directories, an executable that is also a plain file, empty ones, one twice.
func TestFetchTree(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	one, two := a.put(t, lab, noise(1, 5000)), a.put(t, lab, noise(2, 300_000))
	exec := one
	exec.Kind = wire.Exec
	empty := a.putTree(t)
	inner := a.putTree(t, wire.Entry{Name: "one", Object: one}, wire.Entry{Name: "two", Object: two})
	top := a.putTree(t,
		wire.Entry{Name: "a", Object: inner}, wire.Entry{Name: "b", Object: inner}, wire.Entry{Name: "empty", Object: empty},
		wire.Entry{Name: "run", Object: exec}, wire.Entry{Name: "zero", Object: a.put(t, lab, nil)},
		wire.Entry{Name: "link", Object: wire.Object{Kind: wire.Symlink}, Target: "a/one"})
	var last Progress
	r, err := b.Fetch(context.Background(), lab, held(top, a.id), func(p Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if !b.has(top) {
		t.Error("not whole")
	}
	if last.Done != last.Total || last.Done != 305_000 || last.From != a.id {
		t.Errorf("last progress %+v", last)
	}
	if in := b.Stats().Peers[a.id].In; in != r.Bytes || in < 305_000 || in > 307_000 {
		t.Errorf("%d bytes came in, %d reported", in, r.Bytes)
	}
}

// What is here is not asked for.
func TestFetchOnlyWhatIsMissing(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	big := noise(1, 1<<20)
	entries := []wire.Entry{{Name: "big", Object: a.put(t, lab, big)}, {Name: "small", Object: a.put(t, lab, noise(2, 100))}}
	top := a.putTree(t, entries...)
	b.put(t, lab, big)
	r, err := b.fetch(top, a.id)
	if err != nil || !b.has(top) || r.Bytes > 1000 {
		t.Errorf("Fetch = %+v, %v", r, err)
	}
}

func TestFetchManySmall(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	const n = 5000
	var entries []wire.Entry
	for i := range n {
		entries = append(entries, wire.Entry{Name: fmt.Sprintf("%05d", i), Object: a.put(t, lab, noise(uint64(i), 100+i%400))})
	}
	top := a.putTree(t, entries...)
	if _, err := b.fetch(top, a.id); err != nil {
		t.Fatal(err)
	}
	if !b.has(top) {
		t.Error("not whole")
	}
	if d := f.dials[a.id]; d > maxWorkers {
		t.Errorf("%d streams were opened, want at most %d", d, maxWorkers)
	}
	if n := a.Stats().Peers[b.id].Served; n != 5001 {
		t.Errorf("%d objects served, want 5001", n)
	}
}

// Large objects, small ones and trees mixed, by many callers at once; each moves once.
func TestFetchOnce(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	var total int64
	var entries []wire.Entry
	for i, size := range []int{1 << 20, 3 << 20, 700, 12_000, 300_000, 1} {
		entries = append(entries, wire.Entry{Name: fmt.Sprint(i), Object: a.put(t, lab, noise(uint64(i), size))})
		total += int64(size)
	}
	top := a.putTree(t, entries...)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var led int64
	for i := range 16 {
		wg.Go(func() {
			want := held(top, a.id)
			if i%2 == 1 {
				want = held(entries[i/2%len(entries)].Object, a.id)
			}
			r, err := b.Fetch(context.Background(), lab, want, nil)
			if err != nil || !b.has(want[0].Object) {
				t.Errorf("Fetch = %v", err)
			}
			mu.Lock()
			led += r.Bytes
			mu.Unlock()
		})
	}
	wg.Wait()
	in := b.Stats().Peers[a.id].In
	if in < total || in > total+1000 || led != in {
		t.Errorf("%d bytes moved, %d reported, want %d and a tree", in, led, total)
	}
}

func TestFetchFromTheNextHolder(t *testing.T) {
	f := newFabric(t)
	empty, full, b := f.node(), f.node(), f.node()
	o := full.put(t, lab, noise(1, 1000))
	nobody := wire.PeerOf(detKey(99))
	r, err := b.fetch(o, empty.id, nobody, full.id)
	if err != nil || !b.has(o) {
		t.Fatalf("Fetch = %v", err)
	}
	if want := (wire.Gone{Peer: empty.id, Space: lab, Digest: o.Digest}); len(r.Gone) != 1 || r.Gone[0] != want {
		t.Errorf("Gone = %+v, want %+v", r.Gone, want)
	}
}

// Gone names the object of the offer, not the file below it.
func TestGoneNamesTheTop(t *testing.T) {
	f := newFabric(t)
	half, full, b := f.node(), f.node(), f.node()
	file := full.put(t, lab, noise(1, 1000))
	top := full.putTree(t, wire.Entry{Name: "f", Object: file})
	half.putTree(t, wire.Entry{Name: "f", Object: file})
	r, err := b.fetch(top, half.id, full.id)
	if err != nil || !b.has(top) {
		t.Fatalf("Fetch = %v", err)
	}
	if want := (wire.Gone{Peer: half.id, Space: lab, Digest: top.Digest}); len(r.Gone) != 1 || r.Gone[0] != want {
		t.Errorf("Gone = %+v, want %+v", r.Gone, want)
	}
}

func TestFetchFails(t *testing.T) {
	f := newFabric(t)
	empty, b := f.node(), f.node()
	o := wire.FileObject(wire.BlobID(wire.Sum([]byte("x"))), 1, false)
	nobody := wire.PeerOf(detKey(99))
	_, err := b.fetch(o, empty.id, nobody)
	wantCause(t, err, wire.CauseFetch, o.CID(), empty.id.String(), "does not have it", nobody.String(), "cannot be reached")
	_, err = b.fetch(o)
	wantCause(t, err, wire.CauseFetch, o.CID(), "nobody")
	_, err = b.fetch(o, b.id)
	wantCause(t, err, wire.CauseFetch, "nobody")
	_, err = b.fetch(wire.Object{Kind: wire.Pending}, empty.id)
	wantCause(t, err, wire.CauseInvalid)
	_, err = b.Fetch(context.Background(), "no/space", held(o, empty.id), nil)
	wantCause(t, err, wire.CauseInvalid)
}

func TestFetchOfADirectoryThatIsNone(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	o := a.put(t, lab, []byte("not a tree"))
	o.Kind = wire.Dir
	_, err := b.fetch(o, a.id)
	wantCause(t, err, wire.CauseInvalid)
}

func TestDiskFull(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	b.store.MaxBytes = 1 << 20
	o := a.put(t, lab, noise(1, 2<<20))
	_, err := b.fetch(o, a.id)
	wantCause(t, err, wire.CauseDiskFull)
	small := a.put(t, lab, noise(2, 1000))
	if _, err := b.fetch(small, a.id); err != nil {
		t.Errorf("a small object after it: %v", err)
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		silent := f.hostile(func(s Stream) { io.Copy(io.Discard, s) })
		o := a.put(t, lab, noise(1, 1<<20))
		ctx, cancel := context.WithCancel(context.Background())
		errs := make(chan error, 2)
		go func() {
			_, err := b.Fetch(ctx, lab, held(o, silent), nil)
			errs <- err
		}()
		synctest.Wait()
		go func() { // joins the flight, and knows another holder
			_, err := b.Fetch(context.Background(), lab, held(o, a.id), nil)
			errs <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-errs; err != context.Canceled {
			t.Errorf("cancelled Fetch = %v, want %v", err, context.Canceled)
		}
		if err := <-errs; err != nil || !b.has(o) {
			t.Errorf("the other Fetch = %v", err)
		}
		f.close(a, b) // and nothing is left in the bubble
	})
}

func TestCancelOfTheOnlyCallerEndsTheTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		b := f.node()
		want := noise(1, 2_000_000)
		o := wire.FileObject(wire.BlobID(wire.Sum(want)), 2_000_000, false)
		written := 0
		slow := f.hostile(func(s Stream) {
			answerFound(s, 2_000_000)
			for len(want) > 0 {
				n, err := s.Write(want[:1000])
				if err != nil {
					return
				}
				written += n
				want = want[n:]
				time.Sleep(time.Millisecond)
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := b.Fetch(ctx, lab, held(o, slow), nil); err != context.DeadlineExceeded {
			t.Errorf("Fetch = %v", err)
		}
		f.close(b)
		if written > 1_200_000 {
			t.Errorf("%d bytes were sent after all", written)
		}
		if _, ok := b.store.Stat(lab, o.Digest); ok || b.store.Used() != 0 {
			t.Error("something is left in the store")
		}
	})
}

func TestCloseEndsFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		b := f.node()
		silent := f.hostile(func(s Stream) { io.Copy(io.Discard, s) })
		errs := make(chan error)
		go func() {
			_, err := b.fetch(wire.FileObject(wire.BlobID{1}, 10, false), silent)
			errs <- err
		}()
		synctest.Wait()
		f.close(b)
		wantCause(t, <-errs, wire.CauseFetch, "closing")
		_, err := b.fetch(wire.FileObject(wire.BlobID{1}, 10, false), silent)
		wantCause(t, err, wire.CauseFetch, "closing")
		if _, err := b.Probe(context.Background(), silent); err == nil {
			t.Error("Probe after Close: no error")
		}
	})
}

// Streams that nobody uses are closed, and the next Fetch opens new ones.
func TestIdleStreamsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		for i := range 3 {
			o := a.put(t, lab, noise(uint64(i), 100))
			if _, err := b.fetch(o, a.id); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // Fetch returns before its stream is free again
			if i == 1 {
				time.Sleep(time.Minute)
				if b.asking() != 0 || a.served() != 0 {
					t.Errorf("%d sources, %d streams served after a minute", b.asking(), a.served())
				}
			}
		}
		if d := f.dials[a.id]; d != 2 {
			t.Errorf("%d streams were opened, want 2: one used twice", d)
		}
		f.close(a, b)
	})
}

// The holder closes a stream while nobody uses it, as after a restart.
func TestStaleStreamIsReplaced(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	var mu sync.Mutex
	var open []Stream
	f.handlers[a.id] = func(s Stream) {
		mu.Lock()
		open = append(open, s)
		mu.Unlock()
		a.Serve(s)
	}
	for i := range 3 {
		o := a.put(t, lab, noise(uint64(i), 100))
		if _, err := b.fetch(o, a.id); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		for _, s := range open {
			s.Reset()
		}
		mu.Unlock()
	}
}

func TestLinks(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	if _, err := b.fetch(a.put(t, lab, noise(1, 1<<20)), a.id); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, ok := b.member(a.id).link(a.id); ok {
			break // a request is measured when it has ended, which its fetch need not wait for
		}
	}
	r, err := b.fetch(a.put(t, lab, noise(2, 1<<20)), a.id)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Links) != 1 || r.Links[0].From != a.id || r.Links[0].BytesPerSec <= 0 {
		t.Errorf("Links = %+v", r.Links)
	}
	l, err := b.Probe(context.Background(), a.id)
	if err != nil || l.From != a.id || l.BytesPerSec <= 0 || l.RTT <= 0 {
		t.Errorf("Probe = %+v, %v", l, err)
	}
	_, err = b.Probe(context.Background(), wire.PeerOf(detKey(99)))
	wantCause(t, err, wire.CauseUnreachable)
}

// The rate of a link is what a slow sender gives, not more.
func TestProbeMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		f.handlers[a.id] = func(s Stream) { a.Serve(slowStream{s}) }
		l, err := b.Probe(context.Background(), a.id)
		if err != nil {
			t.Fatal(err)
		}
		if l.BytesPerSec < 0.8e6 || l.BytesPerSec > 1.2e6 || l.RTT > 10*time.Millisecond {
			t.Errorf("Probe = %+v, want about 1 MB/s", l)
		}
		f.close(a, b)
	})
}

// A slowStream passes 1 MB/s.
type slowStream struct{ Stream }

func (s slowStream) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * time.Microsecond)
	return s.Stream.Write(p)
}
