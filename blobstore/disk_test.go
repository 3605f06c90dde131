package blobstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gaggle/wire"
)

// filesOf lists what lies below some part of a store's directory.
func filesOf(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reopen closes a store and opens it again.
func reopen(t *testing.T, s *Store, opt Options) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openStore(t, s.dir, opt)
}

// crash leaves a store as a killed process would: nothing written, the lock gone.
func crash(t *testing.T, s *Store) {
	t.Helper()
	s.closing.Do(func() {
		close(s.quit)
		s.wg.Wait()
		s.sync.close()
		s.meta.close()
		s.j.close()
		s.lock.Close()
	})
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	l := &lost{}
	s := openStore(t, dir, Options{OnLost: l.add})
	f := mustPut(t, s, anna, noise(1, 5000))
	top := mustTree(t, s, anna, entryOf("f", f))
	mustPut(t, s, "Anna.", noise(1, 5000)) // a name that some file systems would fold
	s.Hold(anna, top)
	s.Pin(anna, top.Digest, "job")
	claim := wire.SignClaim(key1(1), anna, wire.ThunkID{1}, wire.NewValue([]wire.Object{f}))
	if err := s.AddClaim(claim); err != nil {
		t.Fatal(err)
	}
	res, release, err := s.Resident(t.Context(), anna, wire.TreeID(top.Digest))
	if err != nil {
		t.Fatal(err)
	}
	release()
	used := s.Used()

	check := func(t *testing.T, s *Store) {
		t.Helper()
		for _, space := range []wire.Space{anna, "Anna."} {
			if b, err := read(t, s, space, f.Digest); err != nil || !bytes.Equal(b, noise(1, 5000)) {
				t.Errorf("space %s: %d bytes, %v", space, len(b), err)
			}
		}
		if _, ok := s.Stat("anna.", f.Digest); ok {
			t.Error("a space of a similar name sees it")
		}
		if got := heldDigests(s); !slices.Equal(got, []wire.Digest{top.Digest}) {
			t.Errorf("Held() = %v", got)
		}
		if !slices.Equal(s.pins[key{anna, top.Digest}], []string{"job"}) {
			t.Errorf("pins = %v", s.pins)
		}
		if got, err := s.Claims(anna, wire.ThunkID{1}); err != nil || len(got) != 1 {
			t.Errorf("Claims = %v, %v", got, err)
		}
	}
	s = reopen(t, s, Options{OnLost: l.add})
	check(t, s)
	if s.Used() != used {
		t.Errorf("Used() = %d, was %d", s.Used(), used)
	}
	again, release, err := s.Resident(t.Context(), anna, wire.TreeID(top.Digest))
	if err != nil || again != res {
		t.Errorf("Resident = %s, %v; want the one of before, %s", again, err, res)
	}
	release()
	crash(t, s)
	s = openStore(t, dir, Options{OnLost: l.add})
	check(t, s)
	if l.count() != 0 {
		t.Errorf("OnLost was told %d objects", l.count())
	}
	if n := filesOf(t, filepath.Join(dir, "resident")); len(n) != 0 {
		t.Errorf("laid out trees survive a crash: %v", n)
	}
}

func TestSecondOpener(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir, Options{})
	_, err := Open(dir, Options{})
	if wire.CauseOf(err) != wire.CauseBusy || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Open = %v, want busy, naming %d and %s", err, os.Getpid(), dir)
	}
}

// flip changes one byte of a file without changing its size or times.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o644)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	f.ReadAt(b, at)
	b[0] ^= 1
	f.WriteAt(b, at)
	f.Close()
	os.Chmod(path, fi.Mode().Perm())
	if err := os.Chtimes(path, modTime, fi.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestCorruption(t *testing.T) {
	for _, n := range []int{10, smallMax + 100, 3 * chunkSize} {
		t.Run(fmt.Sprint(n, " bytes"), func(t *testing.T) {
			l := &lost{}
			s := openStore(t, t.TempDir(), Options{OnLost: l.add})
			data := noise(1, n)
			f := mustPut(t, s, anna, data)
			mustPut(t, s, ben, data)
			top := mustTree(t, s, anna, entryOf("f", f))
			other := mustPut(t, s, anna, noise(2, 50))
			for _, o := range []wire.Object{f, top, other} {
				s.Hold(anna, o)
			}
			flip(t, s.path(anna, f.Digest, plain), int64(n/2))
			if b, err := read(t, s, ben, f.Digest); !errors.Is(err, ErrNotFound) || len(b) >= n {
				t.Errorf("reading a flipped blob gives %d bytes, %v; want ErrNotFound", len(b), err)
			}
			if !l.has(f.Digest) || !l.has(top.Digest) || l.has(other.Digest) {
				t.Errorf("OnLost was told %v; want the blob and the tree that holds it", l.all)
			}
			if m, err := s.Missing(anna, top); err != nil || !slices.Equal(m, []wire.Object{f}) {
				t.Errorf("Missing = %v, %v; want the blob", m, err)
			}
			if got := heldDigests(s); !slices.Equal(got, []wire.Digest{other.Digest}) {
				t.Errorf("Held() = %v", got)
			}
			mustPut(t, s, anna, data) // comes back whole
			if b, err := read(t, s, anna, f.Digest); err != nil || !bytes.Equal(b, data) {
				t.Errorf("after another Put: %v", err)
			}
		})
	}
}

func TestTamperedFile(t *testing.T) {
	l := &lost{}
	s := openStore(t, t.TempDir(), Options{OnLost: l.add})
	data := noise(1, 9000)
	f := mustPut(t, s, anna, data)
	s.Hold(anna, f)
	path, release, err := s.File(anna, f.Digest, false)
	if err != nil {
		t.Fatal(err)
	}
	release()
	touch := func(content []byte) {
		os.Chmod(path, 0o644)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	touch(data) // same bytes, other time and mode
	if _, release, err = s.File(anna, f.Digest, false); err != nil {
		t.Fatalf("File after a harmless touch: %v", err)
	}
	release()
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o444 || !fi.ModTime().Equal(modTime) {
		t.Errorf("it is left as %v %v, %v", fi.Mode(), fi.ModTime(), err)
	}
	touch(noise(2, 9000))
	if _, _, err = s.File(anna, f.Digest, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("File of overwritten bytes = %v, want ErrNotFound", err)
	}
	if !l.has(f.Digest) {
		t.Error("OnLost was not told")
	}
	g := mustPut(t, s, anna, noise(3, 9000))
	os.Remove(s.path(anna, g.Digest, plain))
	if _, _, err := s.File(anna, g.Digest, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("File of a removed file = %v, want ErrNotFound", err)
	}
}

// TestOpenHashed copies blobs to files: what this process has hashed as the kernel copies, and what was
// spoilt since, or may have been before the store was opened, only if it is right.
func TestOpenHashed(t *testing.T) {
	const n = 3*chunkSize + 100
	spoil := func(t *testing.T, s *Store, d wire.Digest) {
		path := s.path(anna, d, plain)
		os.Chmod(path, 0o644)
		flip(t, path, n/2)
	}
	for name, test := range map[string]struct {
		change func(t *testing.T, s *Store, d wire.Digest) *Store
		known  bool
		whole  bool
	}{
		"as it came in": {func(t *testing.T, s *Store, d wire.Digest) *Store { return s }, true, true},
		"written to": {func(t *testing.T, s *Store, d wire.Digest) *Store {
			spoil(t, s, d)
			return s
		}, false, false},
		"cut": {func(t *testing.T, s *Store, d wire.Digest) *Store {
			path := s.path(anna, d, plain)
			if err := errors.Join(os.Truncate(path, n-1), setForm(path, plain)); err != nil {
				t.Fatal(err)
			}
			return s
		}, false, false},
		"of an earlier process": {func(t *testing.T, s *Store, d wire.Digest) *Store { return reopen(t, s, Options{}) }, false, true},
		"rotten since one": {func(t *testing.T, s *Store, d wire.Digest) *Store {
			spoil(t, s, d)
			if err := setForm(s.path(anna, d, plain), plain); err != nil {
				t.Fatal(err)
			}
			return reopen(t, s, Options{})
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			data := noise(1, n)
			d := mustPut(t, s, anna, data).Digest
			s = test.change(t, s, d)
			b, err := s.OpenHashed(anna, d)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if b.known != test.known {
				t.Errorf("taken as known: %v, want %v", b.known, test.known)
			}
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, from := range []int64{5, 0} { // from the middle nothing is verified
				if _, err := b.Seek(from, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				if _, err := f.Seek(from, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				if from > 0 && !test.whole {
					continue
				}
				copied, err := io.Copy(f, b)
				if test.whole && (err != nil || copied != n-from) || !test.whole && !errors.Is(err, ErrNotFound) {
					t.Fatalf("copying from %d: %d bytes, %v", from, copied, err)
				}
			}
			got, err := os.ReadFile(f.Name())
			if err != nil || bytes.Equal(got, data) != test.whole {
				t.Errorf("the copy has %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestFileModes(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	f := mustPut(t, s, anna, []byte("#!/bin/sh\n"))
	mustPut(t, s, ben, []byte("#!/bin/sh\n"))
	check := func(space wire.Space, exec bool) (os.FileInfo, func()) {
		t.Helper()
		path, release, err := s.File(space, f.Digest, exec)
		if err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		want := os.FileMode(0o444)
		if exec {
			want = 0o555
		}
		if err != nil || fi.Mode() != want || !fi.ModTime().Equal(modTime) {
			t.Fatalf("File(exec %v) is %v of %v, %v", exec, fi.Mode(), fi.ModTime(), err)
		}
		return fi, release
	}
	p, r1 := check(anna, false)
	x, r2 := check(anna, true)
	if os.SameFile(p, x) {
		t.Error("both modes are one inode")
	}
	bx, r3 := check(ben, true)
	if !os.SameFile(x, bx) {
		t.Error("equal files of two spaces are two")
	}
	if p2, r := check(anna, false); !os.SameFile(p, p2) {
		t.Error("the plain file was replaced")
	} else {
		r()
	}
	for _, r := range []func(){r1, r2, r3, r3} {
		r()
	}
	if _, _, err := s.File("carl", f.Digest, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("File of another space = %v", err)
	}

	lone := mustPut(t, s, anna, []byte("lone"))
	used := s.Used()
	for _, exec := range []bool{true, false, true} {
		path, release, err := s.File(anna, lone.Digest, exec)
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(path); err != nil || (fi.Mode() == 0o555) != exec {
			t.Errorf("lone file, exec %v: %v, %v", exec, fi, err)
		}
		release()
	}
	if s.Used() != used {
		t.Errorf("changing the mode of a file that nobody uses takes %d bytes", s.Used()-used)
	}
	if b, err := read(t, s, anna, lone.Digest); err != nil || string(b) != "lone" {
		t.Errorf("reading it = %q, %v", b, err)
	}
}

func TestLeaseHolds(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{MaxBytes: 20 * charge(4096)})
	f := mustPut(t, s, anna, noise(1, 4096))
	path, release, err := s.File(anna, f.Digest, false)
	if err != nil {
		t.Fatal(err)
	}
	big := mustPut(t, s, anna, noise(2, smallMax/4))
	_ = big
	fill := func() {
		for i := range 40 {
			mustPut(t, s, anna, noise(uint64(100+i), 4096))
		}
	}
	fill()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a leased file went: %v", err)
	}
	release()
	release()
	fill()
	if _, err := os.Stat(path); err == nil {
		t.Error("it stays after release")
	}
}

func TestResident(t *testing.T) {
	l := &lost{}
	s := openStore(t, t.TempDir(), Options{OnLost: l.add})
	f := mustPut(t, s, anna, []byte("data"))
	x := f
	x.Kind = wire.Exec
	sub := mustTree(t, s, anna, entryOf("tool", x), entryOf("data", f))
	empty := mustTree(t, s, anna)
	top := mustTree(t, s, anna, entryOf("bin", sub), entryOf("lib", sub), entryOf("empty", empty), entryOf("readme", f),
		wire.Entry{Name: "abs", Object: wire.Object{Kind: wire.Symlink}, Target: "/bin/tool"})
	var wg sync.WaitGroup
	var dirs [8]string
	for i := range dirs {
		wg.Go(func() {
			dir, release, err := s.Resident(t.Context(), anna, wire.TreeID(top.Digest))
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			dirs[i] = dir
		})
	}
	wg.Wait()
	dir := dirs[0]
	if slices.ContainsFunc(dirs[:], func(d string) bool { return d != dir }) {
		t.Errorf("concurrent callers got %v", dirs)
	}
	for name, want := range map[string]os.FileMode{
		"": os.ModeDir | 0o555, "bin": os.ModeDir | 0o555, "empty": os.ModeDir | 0o555,
		"bin/tool": 0o555, "bin/data": 0o444, "lib/tool": 0o555, "readme": 0o444, "abs": os.ModeSymlink | 0o777,
	} {
		fi, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || fi.Mode() != want || !fi.ModTime().Equal(modTime) {
			t.Errorf("%q is %v, %v; want %v and time 0", name, fi, err, want)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "abs")); err != nil || target != "/bin/tool" {
		t.Errorf("symlink = %q, %v", target, err)
	}
	for d := filepath.Dir(dir); len(d) >= len(s.dir); d = filepath.Dir(d) {
		if fi, err := os.Stat(d); err != nil || fi.Mode().Perm()&0o011 != 0o011 {
			t.Errorf("%s cannot be entered by others: %v", d, fi.Mode())
		}
	}
	hole := mustTree(t, s, anna, entryOf("x", wire.FileObject(wire.BlobID{5}, 1, false)))
	if _, _, err := s.Resident(t.Context(), anna, wire.TreeID(hole.Digest)); !errors.Is(err, ErrNotFound) {
		t.Errorf("Resident of a tree with a hole = %v", err)
	}
	if _, _, err := s.Resident(t.Context(), ben, wire.TreeID(top.Digest)); !errors.Is(err, ErrNotFound) {
		t.Errorf("Resident of another space's tree = %v", err)
	}

	// A corrupt part: the layout is not handed out again, and goes when nobody uses it.
	_, release, err := s.Resident(t.Context(), anna, wire.TreeID(top.Digest))
	if err != nil {
		t.Fatal(err)
	}
	flip(t, s.path(anna, f.Digest, plain), 1)
	if _, err := read(t, s, anna, f.Digest); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a layout in use went: %v", err)
	}
	mustPut(t, s, anna, []byte("data"))
	fresh, release2, err := s.Resident(t.Context(), anna, wire.TreeID(top.Digest))
	if err != nil || fresh == dir {
		t.Errorf("Resident after repair = %s, %v; want another one", fresh, err)
	} else {
		release2()
	}
	release()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a broken layout stays: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(fresh, "readme")); err != nil || string(b) != "data" {
		t.Errorf("the fresh one has %q, %v", b, err)
	}
}

func TestResidentTrim(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{MaxBytes: 40 * charge(4096)})
	tree := func(seed uint64) wire.TreeID {
		var es []wire.Entry
		for i := range 4 {
			es = append(es, entryOf(fmt.Sprint(i), mustPut(t, s, anna, noise(seed+uint64(i), 4096))))
		}
		return wire.TreeID(mustTree(t, s, anna, es...).Digest)
	}
	used, releaseUsed, err := s.Resident(t.Context(), anna, tree(10))
	if err != nil {
		t.Fatal(err)
	}
	idle, release, err := s.Resident(t.Context(), anna, tree(20))
	if err != nil {
		t.Fatal(err)
	}
	release()
	for i := range 100 {
		mustPut(t, s, anna, noise(uint64(1000+i), 4096))
	}
	if _, err := s.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(used, "0")); err != nil || !bytes.Equal(got, noise(10, 4096)) {
		t.Errorf("a tree in use was trimmed: %v", err)
	}
	if _, err := os.Stat(idle); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an idle tree of trimmed files stays: %v", err)
	}
	releaseUsed()
}

func TestResidentLarge(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	s := openStore(t, t.TempDir(), Options{})
	objs := make([]wire.Object, 10)
	for i := range objs {
		objs[i] = mustPut(t, s, anna, noise(uint64(i), 100))
	}
	var top []wire.Entry
	for d := range n / 1000 {
		var es []wire.Entry
		for i := range 1000 {
			es = append(es, entryOf(fmt.Sprint(i), objs[(i+d)%len(objs)]))
		}
		top = append(top, entryOf(fmt.Sprint(d), mustTree(t, s, anna, es...)))
	}
	dir, release, err := s.Resident(t.Context(), anna, wire.TreeID(mustTree(t, s, anna, top...).Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	last := filepath.Join(dir, fmt.Sprint(n/1000-1), "999")
	if fi, err := os.Stat(last); err != nil || fi.Size() != 100 || fi.Mode() != 0o444 {
		t.Errorf("the last file is %v, %v", fi, err)
	}
}

func TestResidentBomb(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	o := mustTree(t, s, anna)
	for range 12 { // 10^12 directories in 13 trees
		var es []wire.Entry
		for i := range 10 {
			es = append(es, entryOf(fmt.Sprint(i), o))
		}
		o = mustTree(t, s, anna, es...)
	}
	if got, err := s.Missing(anna, o); err != nil || len(got) != 0 {
		t.Errorf("Missing = %v, %v", got, err)
	}
	if n, err := s.layoutSize(o.Digest); n <= maxLayout || err != nil {
		t.Errorf("layoutSize = %d, %v; want over the bound", n, err)
	}
	if _, _, err := s.Resident(t.Context(), anna, wire.TreeID(o.Digest)); wire.CauseOf(err) != wire.CauseTooLarge {
		t.Errorf("Resident = %v, want too large", err)
	}
}

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, 4<<20)
	s := openStore(t, dir, Options{})
	kept := mustPut(t, s, anna, noise(1, 1<<20))
	_, _, err := s.Put(t.Context(), anna, bytes.NewReader(noise(2, 8<<20)))
	var e *wire.Error
	if !errors.As(err, &e) || e.Cause != wire.CauseDiskFull || e.Hint == "" {
		t.Errorf("Put on a full disk = %v, want disk full with a hint", err)
	}
	if _, err := s.Create(anna, wire.Digest{1}, 8<<20); wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("Create on a full disk = %v, want disk full", err)
	}
	if left := filesOf(t, filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if b, err := read(t, s, anna, kept.Digest); err != nil || len(b) != 1<<20 {
		t.Errorf("what was there: %d bytes, %v", len(b), err)
	}
	mustPut(t, s, anna, noise(3, 1<<20))
}

func TestTrimOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 4<<20)
	s := openStore(t, dir, Options{MaxBytes: 2 << 20})
	for i := range 400 {
		mustPut(t, s, anna, noise(uint64(i), 4096))
	}
	filler, err := os.Create(filepath.Join(dir, "foreign"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	if freed, err := s.trim(t.Context(), 1<<20); freed == 0 || err != nil {
		t.Errorf("trimming on a full disk freed %d, %v", freed, err)
	}
	mustPut(t, s, anna, noise(1000, 4096))
}

// A claim that is on disk is dropped there, too.
func TestDropClaimOnDisk(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	f := mustPut(t, s, anna, noise(1, 50))
	thunk := wire.ThunkID{1}
	if err := s.AddClaim(wire.SignClaim(key1(1), anna, thunk, wire.NewValue([]wire.Object{f}))); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, Options{})
	if got, err := s.Claims(anna, thunk); err != nil || len(got) != 1 {
		t.Fatalf("Claims = %v, %v, want one", got, err)
	}
	s.DropClaim(anna, thunk, wire.PeerOf(key1(1)))
	for _, when := range []string{"at once", "when it is opened again"} {
		if got, err := s.Claims(anna, thunk); err != nil || len(got) != 0 {
			t.Errorf("%s Claims = %v, %v, want none", when, got, err)
		}
		s = reopen(t, s, Options{})
	}
}
