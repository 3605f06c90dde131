package worker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"gaggle/wire"
)

// A forest makes trees of lists of paths: "a/b" is a file, "a/c -> d" a symbolic link.
type forest map[wire.TreeID]*wire.Tree

func (f forest) tree(id wire.TreeID) (*wire.Tree, error) {
	if t := f[id]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("no tree %s", id)
}

func (f forest) plant(t *testing.T, paths ...string) wire.Object {
	t.Helper()
	below := map[string][]string{}
	var entries []wire.Entry
	for _, p := range paths {
		if dir, rest, ok := strings.Cut(p, "/"); ok && !strings.Contains(dir, " -> ") {
			below[dir] = append(below[dir], rest)
		} else if name, target, ok := strings.Cut(p, " -> "); ok {
			entries = append(entries, wire.Entry{Name: name, Object: wire.Object{Kind: wire.Symlink}, Target: target})
		} else {
			entries = append(entries, wire.Entry{Name: p, Object: file(p)})
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(below)) {
		entries = append(entries, wire.Entry{Name: dir, Object: f.plant(t, below[dir]...)})
	}
	tree, err := wire.NewTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := tree.Encode()
	f[id] = tree
	return wire.DirObject(id, tree.Size())
}

// file is the object of a file that holds its own name.
func file(name string) wire.Object {
	return wire.FileObject(wire.BlobID(wire.Sum([]byte(name))), uint64(len(name)), false)
}

func TestChoose(t *testing.T) {
	f := forest{}
	sub := f.plant(t, "x", "y")
	dir := f.plant(t, "top", "d/x", "d/y", "e/up -> ../d/x", "e/dir -> ../d", "e/dots -> ./../e/../top", "out -> ../outside",
		"abs -> /etc/passwd", "loop -> loop", "e/deep/out -> ../../../x", "f/g/h")
	for _, c := range []struct {
		path string
		want wire.Object
		msg  string // of the failure
	}{
		{path: "top", want: file("top")},
		{path: "d", want: sub},
		{path: "d/x", want: file("x")},
		{path: "e/up", want: file("x")},
		{path: "e/dir/y", want: file("y")},
		{path: "e/dir", want: sub},
		{path: "e/dots", want: file("top")},
		{path: "f/g/h", want: file("h")},
		{path: "d/z", msg: `there is no "d/z" in the directory: d holds "x", "y"`},
		{path: "nothing", msg: `the directory holds "abs", "d", "e", "f", "loop", "out", "top"`},
		{path: "top/x", msg: "top is a file"},
		{path: "out", msg: "leaves the directory"},
		{path: "e/deep/out", msg: "leaves the directory"},
		{path: "abs", msg: "abs is a symbolic link to /etc/passwd, outside the directory"},
		{path: "loop", msg: "too many symbolic links"},
	} {
		t.Run(strings.ReplaceAll(c.path, "/", " "), func(t *testing.T) {
			got, err := choose(f.tree, dir, c.path)
			if c.msg == "" {
				if err != nil || got != c.want {
					t.Errorf("choose(%q) = %v, %v, want %v", c.path, got, err, c.want)
				}
				return
			}
			if wire.CauseOf(err) != wire.CauseOutputMissing || !strings.Contains(err.Error(), c.msg) {
				t.Errorf("choose(%q) = %v, %v, want a failure that says %q", c.path, got, err, c.msg)
			}
		})
	}
}

func TestChooseLongListing(t *testing.T) {
	f := forest{}
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("n%02d", i))
	}
	_, err := choose(f.tree, f.plant(t, names...), "absent")
	if err == nil || !strings.Contains(err.Error(), `"n11" and 88 more`) {
		t.Errorf("choose in a large directory = %v", err)
	}
}

func TestChooseLostTree(t *testing.T) {
	f := forest{}
	dir := f.plant(t, "d/x")
	sub, _ := choose(f.tree, dir, "d")
	delete(f, wire.TreeID(sub.Digest))
	if _, err := choose(f.tree, dir, "d/x"); err == nil || wire.CauseOf(err).Task() {
		t.Errorf("choose without a tree on the way = %v, want an error that is not the task's", err)
	}
}
