package blobstore

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"gaggle/wire"
)

// stock is what Store and Memory have in common.
type stock interface {
	Put(context.Context, wire.Space, io.Reader) (wire.BlobID, int64, error)
	PutFile(context.Context, wire.Space, *os.File, int64) (wire.BlobID, error)
	PutTree(context.Context, wire.Space, *wire.Tree) (wire.TreeID, error)
	Create(wire.Space, wire.Digest, uint64) (*Writer, error)
	Open(wire.Space, wire.Digest) (*Blob, error)
	Stat(wire.Space, wire.Digest) (int64, bool)
	Tree(wire.Space, wire.TreeID) (*wire.Tree, error)
	Missing(wire.Space, wire.Object) ([]wire.Object, error)
	Pin(wire.Space, wire.Digest, string)
	Unpin(wire.Space, wire.Digest, string)
	Sync(context.Context, wire.Space, []wire.Object) error
	Hold(wire.Space, wire.Object)
	Held() iter.Seq2[wire.Space, wire.Object]
	AddClaim(*wire.Claim) error
	DropClaim(wire.Space, wire.ThunkID, wire.PeerID)
	Claims(wire.Space, wire.ThunkID) ([]wire.Claim, error)
	Trim(context.Context) (int64, error)
	Used() int64
	Close() error
}

// A lost records what OnLost is told.
type lost struct {
	mu  sync.Mutex
	all []wire.Digest
}

func (l *lost) add(_ wire.Space, ds []wire.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, ds...)
}

func (l *lost) has(d wire.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.all, d)
}

func (l *lost) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

func TestMemory(t *testing.T) {
	testStore(t, func(t *testing.T, max int64, l *lost) stock {
		m := NewMemory()
		m.MaxBytes, m.OnLost = max, l.add
		return m
	})
}

func TestStore(t *testing.T) {
	testStore(t, func(t *testing.T, max int64, l *lost) stock {
		return openStore(t, t.TempDir(), Options{MaxBytes: max, OnLost: l.add})
	})
}

func openStore(t testing.TB, dir string, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
		cleanUp(t, dir)
	})
	return s
}

// cleanUp removes laid out trees, whose directories are read-only.
func cleanUp(t testing.TB, dir string) {
	if err := removeTree(filepath.Join(dir, "resident")); err != nil {
		t.Error(err)
	}
}

// testStore is the suite that every implementation passes.
func testStore(t *testing.T, open func(t *testing.T, max int64, l *lost) stock) {
	plainly := func(f func(*testing.T, stock)) func(*testing.T) {
		return func(t *testing.T) { f(t, open(t, 0, &lost{})) }
	}
	t.Run("blobs of all sizes come back", plainly(testSizes))
	t.Run("a space sees only its own", plainly(testSpaces))
	t.Run("a writer publishes only what it announced", plainly(testWriter))
	t.Run("a file is stored whole or not", plainly(testPutFile))
	t.Run("a reader's error leaves nothing", plainly(testPutFails))
	t.Run("trees", plainly(testTrees))
	t.Run("missing names each object once", plainly(testMissing))
	t.Run("seeking", plainly(testSeek))
	t.Run("sync wants everything here", plainly(testSync))
	t.Run("claims", plainly(testClaims))
	t.Run("holding", plainly(testHold))
	t.Run("many at once", plainly(testMany))
	t.Run("the longest unused goes first", func(t *testing.T) { testLRU(t, open) })
	t.Run("pins keep a closure", func(t *testing.T) { testPins(t, open) })
	t.Run("a full store says so", func(t *testing.T) { testFull(t, open) })
	t.Run("a held tree goes as one", func(t *testing.T) { testHeldTrim(t, open) })
	t.Run("trimming while putting", func(t *testing.T) { testTrimRace(t, open) })
}

const anna, ben = wire.Space("anna"), wire.Space("ben")

// noise returns n bytes that differ by seed and do not compress.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	rand.NewChaCha8(key).Read(b)
	return b
}

func mustPut(t testing.TB, s interface {
	Put(context.Context, wire.Space, io.Reader) (wire.BlobID, int64, error)
}, space wire.Space, b []byte) wire.Object {
	t.Helper()
	id, n, err := s.Put(t.Context(), space, bytes.NewReader(b))
	if err != nil || n != int64(len(b)) || wire.Digest(id) != wire.Sum(b) {
		t.Fatalf("Put(%d bytes) = %s, %d, %v", len(b), id, n, err)
	}
	return wire.FileObject(id, uint64(n), false)
}

func mustTree(t testing.TB, s interface {
	PutTree(context.Context, wire.Space, *wire.Tree) (wire.TreeID, error)
}, space wire.Space, entries ...wire.Entry) wire.Object {
	t.Helper()
	tree, err := wire.NewTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.PutTree(t.Context(), space, tree)
	if err != nil {
		t.Fatal(err)
	}
	return wire.DirObject(id, tree.Size())
}

func entryOf(name string, o wire.Object) wire.Entry { return wire.Entry{Name: name, Object: o} }

func read(t testing.TB, s interface {
	Open(wire.Space, wire.Digest) (*Blob, error)
}, space wire.Space, d wire.Digest) ([]byte, error) {
	t.Helper()
	b, err := s.Open(space, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

func testSizes(t *testing.T, s stock) {
	for _, n := range []int{0, 1, 4096, smallMax - 1, smallMax, smallMax + 1, chunkSize, 3*chunkSize + 7} {
		want := noise(uint64(n), n)
		o := mustPut(t, s, anna, want)
		got, err := read(t, s, anna, o.Digest)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("reading %d bytes gave %d, %v", n, len(got), err)
		}
		if size, ok := s.Stat(anna, o.Digest); !ok || size != int64(n) {
			t.Errorf("Stat of %d bytes = %d, %v", n, size, ok)
		}
		mustPut(t, s, anna, want) // again
	}
	if _, err := read(t, s, anna, wire.Sum([]byte("never put"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("Open(never put) = %v, want ErrNotFound", err)
	}
	if _, _, err := s.Put(t.Context(), "no/space", bytes.NewReader(nil)); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("Put in a bad space = %v, want invalid", err)
	}
}

func testSpaces(t *testing.T, s stock) {
	data := noise(1, 5000)
	o := mustPut(t, s, anna, data)
	used := s.Used()
	if _, err := s.Open(ben, o.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("another space opens it: %v", err)
	}
	if _, ok := s.Stat(ben, o.Digest); ok {
		t.Error("another space sees it")
	}
	if m, err := s.Missing(ben, o); err != nil || len(m) != 1 {
		t.Errorf("Missing in another space = %v, %v", m, err)
	}
	mustPut(t, s, ben, data)
	if got, err := read(t, s, ben, o.Digest); err != nil || !bytes.Equal(got, data) {
		t.Errorf("its own copy: %d bytes, %v", len(got), err)
	}
	if s.Used() != used {
		t.Errorf("equal bytes of two spaces take %d, of one %d", s.Used(), used)
	}
}

func testWriter(t *testing.T, s stock) {
	for _, n := range []int{0, 10, smallMax + 10, 2 * chunkSize} {
		data := noise(2, n)
		d := wire.Sum(data)
		w, err := s.Create(anna, d, uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		for part := range slices.Chunk(data, 70_000) {
			if _, err := w.Write(part); err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Stat(anna, d); ok {
				t.Fatal("seen before it was committed")
			}
		}
		if _, err := w.Write([]byte("x")); wire.CauseOf(err) != wire.CauseTooLarge {
			t.Errorf("one byte too many: %v", err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		w.Abort() // changes nothing now
		if got, err := read(t, s, anna, d); err != nil || !bytes.Equal(got, data) {
			t.Errorf("after Commit: %d bytes, %v", len(got), err)
		}

		wrong := wire.Sum([]byte("other"))
		w, err = s.Create(anna, wrong, uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		if err := w.Commit(); wire.CauseOf(err) != wire.CauseInvalid {
			t.Errorf("Commit of wrong bytes = %v, want invalid", err)
		}
		if _, ok := s.Stat(anna, wrong); ok {
			t.Error("wrong bytes are there")
		}
	}
	if _, err := s.Create(anna, wire.Digest{}, wire.MaxBlob+1); wire.CauseOf(err) != wire.CauseTooLarge {
		t.Errorf("Create of too much = %v", err)
	}
}

func testPutFile(t *testing.T, s stock) {
	for _, n := range []int{0, 100, smallMax + 1, 2 * chunkSize} {
		data := noise(3, n)
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.Seek(0, io.SeekEnd)
		id, err := s.PutFile(t.Context(), anna, f, int64(n))
		if err != nil || wire.Digest(id) != wire.Sum(data) {
			t.Errorf("PutFile(%d) = %s, %v", n, id, err)
		}
		if got, err := read(t, s, anna, wire.Digest(id)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("reading it: %d bytes, %v", len(got), err)
		}
		for _, other := range []int{n - 1, n + 1} {
			if other < 0 {
				continue
			}
			if _, err := s.PutFile(t.Context(), anna, f, int64(other)); err == nil {
				t.Errorf("PutFile of %d bytes as %d succeeds", n, other)
			}
		}
	}
}

type failing struct{ left int }

func (f *failing) Read(p []byte) (int, error) {
	if f.left <= 0 {
		return 0, errors.New("source broke")
	}
	n := min(len(p), f.left)
	f.left -= n
	return n, nil
}

func testPutFails(t *testing.T, s stock) {
	for _, n := range []int{0, 10, 2 * chunkSize} {
		if _, _, err := s.Put(t.Context(), anna, &failing{n}); err == nil {
			t.Error("Put of a broken source succeeds")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Put(ctx, anna, bytes.NewReader(noise(1, 10))); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with a cancelled context = %v", err)
	}
	if s.Used() != 0 {
		t.Errorf("Used() = %d after failed puts", s.Used())
	}
}

func testTrees(t *testing.T, s stock) {
	f := mustPut(t, s, anna, []byte("hello"))
	sub := mustTree(t, s, anna, entryOf("f", f))
	top := mustTree(t, s, anna, entryOf("d", sub), entryOf("e", f),
		wire.Entry{Name: "l", Object: wire.Object{Kind: wire.Symlink}, Target: "d/f"})
	got, err := s.Tree(anna, wire.TreeID(top.Digest))
	if err != nil || len(got.Entries) != 3 || got.Entries[0].Object != sub {
		t.Errorf("Tree = %+v, %v", got, err)
	}
	if _, err := s.Tree(ben, wire.TreeID(top.Digest)); !errors.Is(err, ErrNotFound) {
		t.Errorf("another space's tree: %v", err)
	}
	if _, err := s.Tree(anna, wire.TreeID(f.Digest)); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("a file as a tree: %v, want invalid", err)
	}
	if _, err := s.Missing(anna, wire.Object{Kind: wire.Dir, Digest: f.Digest}); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("a file named as a directory: %v, want invalid", err)
	}
}

func testMissing(t *testing.T, s stock) {
	f := mustPut(t, s, anna, []byte("here"))
	gone := wire.FileObject(wire.BlobID(wire.Sum([]byte("gone"))), 4, false)
	lostTree := wire.DirObject(wire.TreeID(wire.Sum([]byte("no tree"))), 9)
	sub := mustTree(t, s, anna, entryOf("a", f), entryOf("b", gone), entryOf("c", gone))
	top := mustTree(t, s, anna, entryOf("s1", sub), entryOf("s2", sub), entryOf("t", lostTree), entryOf("g", gone))
	got, err := s.Missing(anna, top)
	if err != nil || len(got) != 2 || !slices.Contains(got, gone) || !slices.Contains(got, lostTree) {
		t.Errorf("Missing = %v, %v; want the file and the tree once each", got, err)
	}
	if got, err := s.Missing(anna, gone); err != nil || len(got) != 1 {
		t.Errorf("Missing(gone) = %v, %v", got, err)
	}
	mustPut(t, s, anna, []byte("gone"))
	if got, err := s.Missing(anna, sub); err != nil || len(got) != 0 {
		t.Errorf("Missing of a whole tree = %v, %v", got, err)
	}
	if got, err := s.Missing(anna, sub); err != nil || len(got) != 0 { // remembered
		t.Errorf("Missing of a whole tree, again = %v, %v", got, err)
	}
}

func testSeek(t *testing.T, s stock) {
	for _, n := range []int{1000, smallMax * 2} {
		data := noise(4, n)
		o := mustPut(t, s, anna, data)
		b, err := s.Open(anna, o.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if b.Size() != int64(n) {
			t.Errorf("Size() = %d, want %d", b.Size(), n)
		}
		got := make([]byte, 100)
		if _, err := b.ReadAt(got, 500); err != nil || !bytes.Equal(got, data[500:600]) {
			t.Errorf("ReadAt: %v", err)
		}
		if k, err := b.ReadAt(got, int64(n)-10); k != 10 || err != io.EOF {
			t.Errorf("ReadAt near the end = %d, %v", k, err)
		}
		if _, err := b.Seek(-7, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(b); err != nil || !bytes.Equal(rest, data[n-7:]) {
			t.Errorf("the end: %v", err)
		}
		if _, err := b.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if all, err := io.ReadAll(b); err != nil || !bytes.Equal(all, data) {
			t.Errorf("all after seeking back: %v", err)
		}
		if _, err := b.Seek(-1, io.SeekStart); err == nil {
			t.Error("seeking before the beginning succeeds")
		}
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
	}
}

func testSync(t *testing.T, s stock) {
	f := mustPut(t, s, anna, []byte("x"))
	top := mustTree(t, s, anna, entryOf("x", f))
	if err := s.Sync(t.Context(), anna, []wire.Object{top, f}); err != nil {
		t.Error(err)
	}
	if err := s.Sync(t.Context(), anna, nil); err != nil {
		t.Error(err)
	}
	broken := mustTree(t, s, anna, entryOf("y", wire.FileObject(wire.BlobID{1}, 1, false)))
	if err := s.Sync(t.Context(), anna, []wire.Object{broken}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Sync of a tree with a hole = %v, want ErrNotFound", err)
	}
}

func key1(n byte) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte{n})
	return ed25519.NewKeyFromSeed(seed[:])
}

func testClaims(t *testing.T, s stock) {
	thunk := wire.ThunkID{7}
	v := func(n byte) *wire.Value {
		return wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{n}, 1, false)})
	}
	if got, err := s.Claims(anna, thunk); err != nil || len(got) != 0 {
		t.Fatalf("Claims of an unknown thunk = %v, %v", got, err)
	}
	for n := range byte(wire.MaxClaims + 3) {
		if err := s.AddClaim(wire.SignClaim(key1(n), anna, thunk, v(1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddClaim(wire.SignClaim(key1(0), anna, thunk, v(2))); err != nil {
		t.Fatal(err)
	}
	got, err := s.Claims(anna, thunk)
	if err != nil || len(got) != wire.MaxClaims {
		t.Fatalf("Claims = %d, %v; want %d", len(got), err, wire.MaxClaims)
	}
	if got[0].Signer != wire.PeerOf(key1(0)) || got[0].Value.Outputs[0].Digest != (wire.Digest{2}) {
		t.Errorf("the first signer's claim is %+v, want its latest", got[0])
	}
	if got, _ := s.Claims(ben, thunk); len(got) != 0 {
		t.Error("another space sees the claims")
	}
	forged := wire.SignClaim(key1(1), anna, thunk, v(1))
	forged.Value = *v(9)
	if err := s.AddClaim(forged); err == nil {
		t.Error("a forged claim is kept")
	}
	s.DropClaim(anna, thunk, wire.PeerOf(key1(0)))
	s.DropClaim(anna, thunk, wire.PeerID{42})
	if got, err := s.Claims(anna, thunk); err != nil || len(got) != wire.MaxClaims-1 || got[0].Signer != wire.PeerOf(key1(1)) {
		t.Errorf("after one is dropped: %d claims, %v, the first by %s", len(got), err, got[0].Signer)
	}
}

func heldDigests(s stock) (out []wire.Digest) {
	for _, o := range s.Held() {
		out = append(out, o.Digest)
	}
	return out
}

func testHold(t *testing.T, s stock) {
	f := mustPut(t, s, anna, []byte("x"))
	top := mustTree(t, s, anna, entryOf("x", f))
	broken := mustTree(t, s, anna, entryOf("y", wire.FileObject(wire.BlobID{1}, 1, false)))
	s.Hold(anna, f)
	s.Hold(anna, top)
	s.Hold(anna, top)
	s.Hold(anna, broken)
	s.Hold(ben, f)
	got := heldDigests(s)
	if len(got) != 2 || !slices.Contains(got, f.Digest) || !slices.Contains(got, top.Digest) {
		t.Errorf("Held() = %v, want the file and the whole tree of one space", got)
	}
}

func testMany(t *testing.T, s stock) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			space := []wire.Space{anna, ben}[g%2]
			for i := range 60 {
				data := noise(uint64(i), 100+i*997)
				id, _, err := s.Put(t.Context(), space, bytes.NewReader(data))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := read(t, s, space, wire.Digest(id)); err != nil || !bytes.Equal(got, data) {
					t.Errorf("blob %d: %d bytes, %v", i, len(got), err)
				}
				o := wire.FileObject(id, uint64(len(data)), false)
				if i%10 == 0 {
					if err := s.Sync(t.Context(), space, []wire.Object{o}); err != nil {
						t.Error(err)
					}
				}
				s.Hold(space, o)
			}
		})
	}
	wg.Wait()
	if n := len(heldDigests(s)); n != 120 {
		t.Errorf("%d objects are held, want 120", n)
	}
}

type opener func(t *testing.T, max int64, l *lost) stock

func testLRU(t *testing.T, open opener) {
	const room = 40
	s := open(t, room*charge(4096), &lost{})
	var objs []wire.Object
	for i := range room * 9 / 10 { // not yet so many that a trim is due
		objs = append(objs, mustPut(t, s, anna, noise(uint64(i), 4096)))
	}
	s.Stat(anna, objs[0].Digest) // used again
	if _, err := read(t, s, anna, objs[2].Digest); err != nil {
		t.Fatal(err)
	}
	last := mustPut(t, s, anna, noise(100, 4096))
	for i := range 7 {
		last = mustPut(t, s, anna, noise(uint64(101+i), 4096))
	}
	for i, want := range []bool{true, false, true, false} {
		if m, _ := s.Missing(anna, objs[i]); (len(m) == 0) != want {
			t.Errorf("object %d is here: %v, want %v", i, len(m) == 0, want)
		}
	}
	if _, ok := s.Stat(anna, last.Digest); !ok {
		t.Error("the most recent one is gone")
	}
	if s.Used() > room*charge(4096) {
		t.Errorf("Used() = %d, over the bound", s.Used())
	}
}

func testPins(t *testing.T, open opener) {
	s := open(t, 20*charge(4096), &lost{})
	f := mustPut(t, s, anna, noise(1, 4096))
	sub := mustTree(t, s, anna, entryOf("f", f))
	top := mustTree(t, s, anna, entryOf("d", sub))
	s.Pin(anna, top.Digest, "job 1")
	s.Pin(anna, top.Digest, "job 2")
	fill := func() {
		for i := range 60 {
			mustPut(t, s, anna, noise(uint64(1000+i), 4096))
		}
	}
	fill()
	if m, err := s.Missing(anna, top); err != nil || len(m) != 0 {
		t.Errorf("of the pinned tree %v is missing, %v", m, err)
	}
	s.Unpin(anna, top.Digest, "job 1")
	fill()
	if m, err := s.Missing(anna, top); err != nil || len(m) != 0 {
		t.Errorf("with one pin left %v is missing, %v", m, err)
	}
	s.Unpin(anna, top.Digest, "job 2")
	s.Unpin(anna, top.Digest, "job 2")
	fill()
	if m, _ := s.Missing(anna, top); len(m) == 0 {
		t.Error("nothing of the tree went after the last pin")
	}
}

func testFull(t *testing.T, open opener) {
	s := open(t, 10*charge(4096), &lost{})
	for i := range 10 {
		s.Pin(anna, wire.Sum(noise(uint64(i), 4096)), "job") // before, or the last one might be trimmed for room
		mustPut(t, s, anna, noise(uint64(i), 4096))
	}
	used := s.Used()
	for range 3 {
		_, _, err := s.Put(t.Context(), anna, bytes.NewReader(noise(99, 4096)))
		var e *wire.Error
		if !errors.As(err, &e) || e.Cause != wire.CauseDiskFull || e.Hint == "" {
			t.Fatalf("Put into a full store = %v, want disk full with a hint", err)
		}
	}
	if _, _, err := s.Put(t.Context(), anna, bytes.NewReader(noise(99, 1<<20))); wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("Put of more than the bound = %v, want disk full", err)
	}
	if _, err := s.Create(anna, wire.Digest{}, 1<<20); wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("Create of more than the bound = %v, want disk full", err)
	}
	if s.Used() != used {
		t.Errorf("Used() = %d, want %d", s.Used(), used)
	}
	s.Unpin(anna, wire.Sum(noise(3, 4096)), "job")
	mustPut(t, s, anna, noise(99, 4096))
}

func testHeldTrim(t *testing.T, open opener) {
	l := &lost{}
	s := open(t, 40*charge(4096), l)
	tree := func(seed uint64) wire.Object {
		var es []wire.Entry
		for i := range 5 {
			es = append(es, entryOf(fmt.Sprint(i), mustPut(t, s, anna, noise(seed*100+uint64(i), 4096))))
		}
		o := mustTree(t, s, anna, es...)
		s.Hold(anna, o)
		return o
	}
	a, b := tree(1), tree(2)
	s.Stat(anna, a.Digest) // using the tree is using all of it
	for i := 0; l.count() == 0 && i < 100; i++ {
		mustPut(t, s, anna, noise(uint64(5000+i), 4096))
	}
	if !l.has(b.Digest) || l.has(a.Digest) {
		t.Errorf("lost a: %v, b: %v; want only b, used longer ago", l.has(a.Digest), l.has(b.Digest))
	}
	if got := heldDigests(s); !slices.Equal(got, []wire.Digest{a.Digest}) {
		t.Errorf("Held() = %v, want a", got)
	}
	if m, err := s.Missing(anna, a); err != nil || len(m) != 0 {
		t.Errorf("of the held tree %v is missing, %v", m, err)
	}
}

func testTrimRace(t *testing.T, open opener) {
	s := open(t, 60*charge(4096), &lost{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				data := noise(uint64(g*1000+i), 4096)
				o := mustPut(t, s, anna, data)
				top := mustTree(t, s, anna, entryOf("f", o))
				s.Pin(anna, top.Digest, "job")
				if m, err := s.Missing(anna, top); err != nil {
					t.Error(err)
				} else if len(m) == 0 {
					if got, err := read(t, s, anna, o.Digest); err != nil || !bytes.Equal(got, data) {
						t.Errorf("a pinned, whole object: %v", err)
					}
				}
				s.Unpin(anna, top.Digest, "job")
			}
		})
	}
	wg.Wait()
	if s.Used() > 60*charge(4096) {
		t.Errorf("Used() = %d, over the bound", s.Used())
	}
}
