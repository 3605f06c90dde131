package capture

import (
	"context"
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

// A memory is a Sink that keeps everything.
type memory struct {
	mu    sync.Mutex
	blobs map[wire.Digest][]byte
	trees map[wire.TreeID]*wire.Tree
}

func newMemory() *memory {
	return &memory{blobs: map[wire.Digest][]byte{}, trees: map[wire.TreeID]*wire.Tree{}}
}

func (m *memory) PutFile(ctx context.Context, f *os.File, size int64) (wire.BlobID, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil || int64(len(b)) != size {
		return wire.BlobID{}, fmt.Errorf("read %d bytes of %d: %v", len(b), size, err)
	}
	return m.PutBytes(ctx, b)
}

// PutBytes makes it a sandbox.Sink too.
func (m *memory) PutBytes(_ context.Context, b []byte) (wire.BlobID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[wire.Sum(b)] = b
	return wire.BlobID(wire.Sum(b)), nil
}

func (m *memory) PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, _ := t.Encode()
	m.trees[id] = t
	return id, nil
}

// list returns "path kind content" of everything below o, sorted; files of more than 40 bytes by
// their size.
func (m *memory) list(o wire.Object, at string) (lines []string) {
	for _, e := range m.trees[wire.TreeID(o.Digest)].Entries {
		p := at + "/" + e.Name
		switch e.Object.Kind {
		case wire.Dir:
			lines = append(append(lines, p+"/"), m.list(e.Object, p)...)
		case wire.Symlink:
			lines = append(lines, p+" -> "+e.Target)
		default:
			b := m.blobs[e.Object.Digest]
			text := fmt.Sprintf("%q", b)
			if len(b) > 40 {
				text = fmt.Sprintf("%d bytes", len(b))
			}
			lines = append(lines, p+" "+e.Object.Kind.String()+" "+text)
		}
	}
	return lines
}

// bare leaves out what every root has.
func bare(lines []string) []string {
	always := []string{"/bin/", "/dev/", "/etc/", "/job/", "/proc/", "/tmp/"}
	return slices.DeleteFunc(lines, func(l string) bool {
		if slices.Contains(always, l) {
			return true
		}
		for _, f := range skeleton {
			if strings.HasPrefix(l, f.path+" ") {
				return true
			}
		}
		return false
	})
}

// files makes a directory from lines "path" (a directory, if it ends in a slash), "path -> target"
// and "path=content", executable if the content begins with "#!".
func files(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	putFiles(t, dir, lines...)
	return dir
}

func putFiles(t *testing.T, dir string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		p, content, isFile := strings.Cut(l, "=")
		p, target, isLink := strings.Cut(p, " -> ")
		at := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, at)
		case !isFile:
			err = os.MkdirAll(at, 0o755)
		case strings.HasPrefix(content, "#!"):
			err = os.WriteFile(at, []byte(content), 0o755)
		default:
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  got\n\t%s\n  want\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
