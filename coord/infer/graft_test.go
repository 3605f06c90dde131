package infer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"gaggle/wire"
)

// memoryTrees keeps trees in memory.
type memoryTrees map[wire.TreeID]*wire.Tree

func (m memoryTrees) Tree(id wire.TreeID) (*wire.Tree, error) {
	if t := m[id]; t != nil {
		return t, nil
	}
	return nil, fs.ErrNotExist
}

func (m memoryTrees) PutTree(_ context.Context, t *wire.Tree) (wire.TreeID, error) {
	id, _ := t.Encode()
	m[id] = t
	return id, nil
}

// text lists all that a tree has: "a/b=TEXT", "l->TARGET", "dir/".
func (m memoryTrees) text(o wire.Object) string {
	var list func(o wire.Object, at string) []string
	list = func(o wire.Object, at string) (all []string) {
		t := m[wire.TreeID(o.Digest)]
		if len(t.Entries) == 0 {
			return []string{at}
		}
		for _, e := range t.Entries {
			switch e.Object.Kind {
			case wire.Dir:
				all = append(all, list(e.Object, at+e.Name+"/")...)
			case wire.Symlink:
				all = append(all, at+e.Name+"->"+e.Target)
			default:
				all = append(all, fmt.Sprintf("%s%s=%d", at, e.Name, e.Object.Size))
			}
		}
		return all
	}
	return strings.Join(list(o, ""), " ")
}

func sized(n uint64) wire.Object {
	return wire.FileObject(wire.BlobID(wire.Sum([]byte{byte(n)})), n, false)
}

func TestGraft(t *testing.T) {
	m := memoryTrees{}
	ctx := t.Context()
	empty, err := emptyDir(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	root, err := graft(ctx, m, empty, map[string]wire.Object{"usr/include/a.h": sized(1), "usr/include/x/b.h": sized(2), "home": empty})
	if err != nil {
		t.Fatal(err)
	}
	top, err := m.Tree(wire.TreeID(root.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if root, err = (&grafting{ctx, m}).put(append(slices.Clone(top.Entries), wire.Entry{Name: "zlib", Object: wire.Object{Kind: wire.Symlink}, Target: "usr/../usr/include/x"})); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		add  map[string]wire.Object
		want string
	}{
		{nil, "home/ usr/include/a.h=1 usr/include/x/b.h=2 zlib->usr/../usr/include/x"},
		{map[string]wire.Object{"home/u/proj": empty, "usr": empty}, "home/u/proj/ usr/include/a.h=1 usr/include/x/b.h=2 zlib->usr/../usr/include/x"},
		{map[string]wire.Object{"usr/include/a.h": sized(3), "usr/include/x.h": sized(4), "usr/include/x/c.h": sized(5)},
			"home/ usr/include/a.h=3 usr/include/x/b.h=2 usr/include/x/c.h=5 usr/include/x.h=4 zlib->usr/../usr/include/x"},
		{map[string]wire.Object{"zlib/d.h": sized(3)}, "zlib/d.h " + errNoRoom.Error()},
		{map[string]wire.Object{"usr/include/a.h/d.h": sized(3)}, "usr/include/a.h/d.h " + errNoRoom.Error()},
		{map[string]wire.Object{"b": sized(3), "b/c": sized(3)}, "b/c lies below b, which is added as well"},
	} {
		got, err := graft(ctx, m, root, c.add)
		text := fmt.Sprint(err)
		if err == nil {
			text = m.text(got)
		}
		if text != c.want {
			t.Errorf("graft(%v) = %s, want %s", slices.Sorted(maps.Keys(c.add)), text, c.want)
		}
	}
	delete(m, wire.TreeID(root.Digest))
	if _, err := graft(ctx, m, root, map[string]wire.Object{"a": empty}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("graft onto a tree that is not there: %v", err)
	}
}

func TestLookup(t *testing.T) {
	m := memoryTrees{}
	ctx := t.Context()
	g := grafting{ctx, m}
	link := func(name, target string) wire.Entry {
		return wire.Entry{Name: name, Object: wire.Object{Kind: wire.Symlink}, Target: target}
	}
	put := func(entries ...wire.Entry) wire.Object {
		t.Helper()
		o, err := g.put(entries)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	include := put(wire.Entry{Name: "a.h", Object: sized(1)}, link("abs.h", "/usr/include/a.h"), link("loop", "loop"), link("rel.h", "../include/./a.h"))
	root := put(link("lib", "usr"), link("out", "../../usr"), wire.Entry{Name: "usr", Object: put(wire.Entry{Name: "include", Object: include})})
	for path, want := range map[string]bool{
		"/usr/include/a.h": true, "/usr/include/abs.h": true, "/usr/include/rel.h": true, "/lib/include/a.h": true, "/out/include/a.h": true,
		"/usr/include/../include/a.h": true, "/usr/include/loop": false, "/usr/include/b.h": false, "/usr/include/a.h/x": false, "/none": false,
	} {
		if o, ok := lookup(m, root, path); ok != want || ok && o != sized(1) {
			t.Errorf("lookup(%s) = %v, %v", path, o, ok)
		}
	}
}
