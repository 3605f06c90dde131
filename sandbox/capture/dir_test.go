package capture

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gaggle/wire"
)

func TestDir(t *testing.T) {
	dir := files(t, "a=1", "x=#!2", "d/e/f=3", "empty/", "l -> d/e", "out -> /etc/shadow", "gone -> ../..")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "x"), 0o4711); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	o, err := Dir(t.Context(), dir, DirOptions{}, m)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, "Dir", m.list(o, ""), []string{`/a file "1"`, "/d/", "/d/e/", `/d/e/f file "3"`, "/empty/", "/gone -> ../..", "/l -> d/e", "/out -> /etc/shadow", `/x executable "#!2"`})
	if o.Kind != wire.Dir || o.Size != 5 {
		t.Errorf("Dir = %v of %d bytes, want a directory of 5", o.Kind, o.Size)
	}
}

func TestDirRefuses(t *testing.T) {
	dir := files(t, "file=1", "d/bad\xffname=1")
	for _, c := range []struct{ name, dir, want string }{
		{"absent", filepath.Join(dir, "none"), "none"},
		{"a file", filepath.Join(dir, "file"), "not a directory"},
		{"a name that is not text", filepath.Join(dir, "d"), "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Dir(t.Context(), c.dir, DirOptions{}, newMemory())
			if wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one of cause invalid saying %q", err, c.want)
			}
		})
	}
}

// indexed is a Sink that knows files by path.
type indexed struct {
	*memory
	asked []string
}

func (s *indexed) AddPath(ctx context.Context, p string) (wire.Object, error) {
	b, err := os.ReadFile(p)
	if err != nil {
		return wire.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, p)
	s.blobs[wire.Sum(b)] = b
	return wire.FileObject(wire.BlobID(wire.Sum(b)), uint64(len(b)), false), nil
}

// A sink with an index is asked by path, and the executable bit stays the capture's.
func TestDirAsksIndex(t *testing.T) {
	dir := files(t, "a=1", "x=#!2")
	s := &indexed{memory: newMemory()}
	got, err := Dir(t.Context(), dir, DirOptions{Root: true}, s)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Dir(t.Context(), dir, DirOptions{Root: true}, newMemory())
	if err != nil || got != want {
		t.Errorf("with an index %v, without %v, %v", got, want, err)
	}
	if len(s.asked) != 2 {
		t.Errorf("asked for %q, want both files", s.asked)
	}
}
