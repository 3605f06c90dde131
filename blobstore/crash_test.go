package blobstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/wire"
)

// crashDir, in the environment, makes this test binary a writer to be killed.
const crashDir = "BLOBSTORE_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashSizes are the lengths of what the writer puts.
var crashSizes = []int{100, 4096, smallMax + 1, 2 * chunkSize}

// writeUntilKilled puts blobs and trees, lays trees out, pins, syncs and trims, and prints
// "put N" and "synced N" of the blobs that it has been told are there, or durable.
func writeUntilKilled(dir string) error {
	s, err := Open(dir, Options{MaxBytes: 64 << 20})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for i := 0; ; i++ {
		data := noise(uint64(i), crashSizes[i%len(crashSizes)])
		id, n, err := s.Put(ctx, anna, bytes.NewReader(data))
		if err != nil {
			return err
		}
		o := wire.FileObject(id, uint64(n), i%2 == 0)
		t, err := wire.NewTree([]wire.Entry{entryOf("f", o)})
		if err != nil {
			return err
		}
		tree, err := s.PutTree(ctx, anna, t)
		if err != nil {
			return err
		}
		fmt.Printf("put %d\n", i)
		top := wire.DirObject(tree, uint64(n))
		s.Hold(anna, top)
		if i%7 == 0 {
			s.Pin(anna, top.Digest, "test")
			if err := s.Sync(ctx, anna, []wire.Object{top}); err != nil {
				return err
			}
			fmt.Printf("synced %d\n", i)
		}
		if i%5 == 0 {
			if _, release, err := s.Resident(ctx, anna, tree); err == nil {
				release()
			}
		}
	}
}

func TestKilled(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	defer cleanUp(t, dir)
	for round := range rounds {
		puts, synced := runKilled(t, dir, 1+rnd.IntN(60))
		s, err := Open(dir, Options{MaxBytes: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
			t.Errorf("round %d: %d temporary files are left", round, len(left))
		}
		checkAfterKill(t, s, puts, synced)
		if round%2 == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			crash(t, s)
		}
	}
}

// runKilled runs the writer until it has printed so many lines, kills it and returns how many
// blobs it had put, and which it had synced.
func runKilled(t *testing.T, dir string, lines int) (puts int, synced []int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sc := bufio.NewScanner(out)
	for n := 0; sc.Scan(); n++ {
		if n == lines {
			cmd.Process.Kill()
		}
		var i int
		if _, err := fmt.Sscanf(sc.Text(), "put %d", &i); err == nil {
			puts = i + 1
		} else if _, err := fmt.Sscanf(sc.Text(), "synced %d", &i); err == nil {
			synced = append(synced, i)
		}
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the writer ended by itself: %v %s", err, stderr.String())
	}
	return puts, synced
}

// checkAfterKill checks that each blob is whole or absent, and what was promised is there.
func checkAfterKill(t *testing.T, s *Store, puts int, synced []int) {
	t.Helper()
	blob := func(i int) []byte { return noise(uint64(i), crashSizes[i%len(crashSizes)]) }
	for i := range puts + 1 {
		want := blob(i)
		got, err := read(t, s, anna, wire.Sum(want))
		if err == nil && !bytes.Equal(got, want) || err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("blob %d: %d bytes, %v; want whole or absent", i, len(got), err)
		}
	}
	for _, i := range synced {
		want := blob(i)
		if got, err := read(t, s, anna, wire.Sum(want)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob %d, promised durable and pinned: %d bytes, %v", i, len(got), err)
		}
	}
	for space, o := range s.Held() {
		if m, err := s.Missing(space, o); err != nil || len(m) > 0 {
			t.Errorf("held %s lacks %v, %v", o.CID(), m, err)
		}
	}
}

// TestTorn makes by hand what a loss of power leaves.
func TestTorn(t *testing.T) {
	build := func(t *testing.T) (s *Store, synced, torn, top wire.Object) {
		s = openStore(t, t.TempDir(), Options{})
		synced = mustPut(t, s, anna, noise(1, 5000))
		if err := s.Sync(t.Context(), anna, []wire.Object{synced}); err != nil {
			t.Fatal(err)
		}
		torn = mustPut(t, s, anna, noise(2, 5000))
		top = mustTree(t, s, anna, entryOf("f", torn))
		s.Hold(anna, top)
		s.Hold(anna, synced)
		s.Pin(anna, synced.Digest, "job")
		os.WriteFile(filepath.Join(s.dir, "tmp", "in-123"), []byte("half"), 0o600)
		crash(t, s)
		return s, synced, torn, top
	}
	check := func(t *testing.T, dir string, has, hasNot []wire.Object) *Store {
		t.Helper()
		s := openStore(t, dir, Options{})
		for _, o := range has {
			if _, err := read(t, s, anna, o.Digest); err != nil {
				t.Errorf("%s is lost: %v", o.CID(), err)
			}
		}
		for _, o := range hasNot {
			if _, ok := s.Stat(anna, o.Digest); ok {
				t.Errorf("%s is there", o.CID())
			}
			if _, err := os.Stat(s.path(anna, o.Digest, plain)); err == nil {
				t.Errorf("the file of %s is left", o.CID())
			}
		}
		if left := filesOf(t, filepath.Join(dir, "tmp")); len(left) > 0 {
			t.Errorf("temporary files are left: %v", left)
		}
		return s
	}
	damage := map[string]func(path string) error{
		"cut":     func(path string) error { return errors.Join(os.Chmod(path, 0o644), os.Truncate(path, 100)) },
		"emptied": func(path string) error { return errors.Join(os.Chmod(path, 0o644), os.Truncate(path, 0)) },
		"zeros": func(path string) error {
			os.Chmod(path, 0o644)
			return os.WriteFile(path, make([]byte, 5000), 0o644)
		},
		"flipped": func(path string) error { flip(t, path, 77); return nil },
	}
	for name, act := range damage {
		t.Run(name, func(t *testing.T) {
			s, synced, torn, top := build(t)
			if err := act(s.path(anna, torn.Digest, plain)); err != nil {
				t.Fatal(err)
			}
			s = check(t, s.dir, []wire.Object{synced, top}, []wire.Object{torn})
			if got := heldDigests(s); len(got) != 1 || got[0] != synced.Digest {
				t.Errorf("Held() = %v, want only the whole one", got)
			}
		})
	}
	t.Run("another boot after a clean stop", func(t *testing.T) {
		s, synced, torn, _ := build(t)
		s = openStore(t, s.dir, Options{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(s.dir, "journal"))
		if err != nil || bootID() == "" {
			t.Skipf("no boot id here, %v", err)
		}
		_, tail, _ := bytes.Cut(b, []byte(bootID()))
		end := record{kind: recEnd, owner: "another boot", use: 99}.append(nil)
		head := b[:len(b)-len(tail)-len(bootID())-3] // kind, two lengths
		os.WriteFile(filepath.Join(s.dir, "journal"), append(head, end...), 0o600)
		flip(t, s.path(anna, torn.Digest, plain), 9)
		check(t, s.dir, []wire.Object{synced}, []wire.Object{torn})
	})
	for _, cut := range []int{0, 5, len(journalMagic), len(journalMagic) + 30, -3, -60} {
		t.Run(fmt.Sprint("journal cut at ", cut), func(t *testing.T) {
			s, synced, torn, top := build(t)
			path := filepath.Join(s.dir, "journal")
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(cut)
			if n < 0 {
				n += fi.Size()
			}
			if err := os.Truncate(path, n); err != nil {
				t.Fatal(err)
			}
			s = check(t, s.dir, []wire.Object{synced, torn, top}, nil)
			mustPut(t, s, anna, noise(7, 300))
			reopen(t, s, Options{})
		})
	}
	t.Run("journal gone", func(t *testing.T) {
		s, synced, torn, top := build(t)
		os.Remove(filepath.Join(s.dir, "journal"))
		os.Remove(filepath.Join(s.dir, "running"))
		check(t, s.dir, []wire.Object{synced, torn, top}, nil)
	})
	t.Run("a form without a name in one space", func(t *testing.T) {
		s, synced, _, _ := build(t)
		s = openStore(t, s.dir, Options{})
		mustPut(t, s, ben, noise(1, 5000))
		_, release, err := s.File(ben, synced.Digest, true)
		if err != nil {
			t.Fatal(err)
		}
		release()
		crash(t, s)
		os.Remove(s.path(anna, synced.Digest, executable))
		s = check(t, s.dir, []wire.Object{synced}, nil)
		for _, space := range []wire.Space{anna, ben} {
			if _, release, err = s.File(space, synced.Digest, true); err != nil {
				t.Errorf("File in %s: %v", space, err)
				continue
			}
			release()
		}
	})
}

func TestDamagedMeta(t *testing.T) {
	claim := wire.SignClaim(key1(1), anna, wire.ThunkID{1}, wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 1, false)}))
	for name, act := range map[string]func(path string) error{
		"cut short":     func(path string) error { return os.Truncate(path, 5000) },
		"cut to a page": func(path string) error { return os.Truncate(path, 8192) },
		"emptied":       func(path string) error { return os.Truncate(path, 0) },
		"noise":         func(path string) error { return os.WriteFile(path, noise(3, 100_000), 0o600) },
		"noise inside": func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(noise(4, 60_000), 8192)
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			o := mustPut(t, s, anna, noise(1, 100))
			for i := range 500 {
				c := wire.SignClaim(key1(1), anna, wire.ThunkID{1, byte(i), byte(i >> 8)}, &claim.Value)
				if err := s.AddClaim(c); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := act(filepath.Join(s.dir, "meta.db")); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, s.dir, Options{})
			for i := range 500 {
				if _, err := s.Claims(anna, wire.ThunkID{1, byte(i), byte(i >> 8)}); err != nil {
					t.Errorf("Claims = %v, want a miss", err)
				}
			}
			if _, err := read(t, s, anna, o.Digest); err != nil {
				t.Errorf("a blob is lost with the memo: %v", err)
			}
			s = reopen(t, s, Options{})
			if err := s.AddClaim(claim); err != nil {
				t.Error(err)
			}
			s = reopen(t, s, Options{})
			if got, err := s.Claims(anna, wire.ThunkID{1}); err != nil || len(got) != 1 {
				t.Errorf("Claims after starting anew = %v, %v", got, err)
			}
		})
	}
}

func TestGenerations(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	c := newCache("memo", 100)
	key := func(i int) string { return fmt.Sprint("key ", i) }
	for i := range 250 {
		s.meta.put(c, key(i), []byte{byte(i)})
		if i%50 == 49 {
			s.meta.commit(c)
			if v := s.meta.get(c, key(0)); !bytes.Equal(v, []byte{0}) {
				t.Fatalf("an entry read now and then is gone after %d others: %v", i, v)
			}
		}
	}
	if v := s.meta.get(c, key(1)); v != nil {
		t.Errorf("an entry never read outlives two generations: %v", v)
	}
	if v := s.meta.get(c, key(249)); v == nil {
		t.Error("the latest entry is gone")
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	defer cleanUp(t, dir)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	_, err = Open(dir, Options{})
	if wire.CauseOf(err) != wire.CauseBusy || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("Open = %v, want busy, naming process %d", err, cmd.Process.Pid)
	}
}
