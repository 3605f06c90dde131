package infer

import (
	"context"
	"slices"
	"strings"
	"sync"

	"gaggle/wire"
)

// A Toolchain is a root tree with a compiler and all that it needs. Its methods may be called side
// by side.
type Toolchain struct {
	Root  wire.Object
	trees Trees

	mu      sync.Mutex // guards the fields below
	has     map[string]bool
	kept    keptTrees
	grafted map[string]wire.Object // by what was added
}

// NewToolchain returns the toolchain of a root tree that is in trees.
func NewToolchain(root wire.Object, trees Trees) *Toolchain {
	return &Toolchain{Root: root, trees: trees, has: map[string]bool{}, kept: keptTrees{trees, map[wire.TreeID]*wire.Tree{}}, grafted: map[string]wire.Object{}}
}

// keptTrees are directories that stay decoded once they were looked at: the headers of a call have
// few directories in common, and /usr/include is on the way to each.
type keptTrees struct {
	Trees
	trees map[wire.TreeID]*wire.Tree
}

// maxKept bounds the directories that stay decoded; most take a few kB, the largest some 100 kB.
const maxKept = 500

// Tree returns a directory, which must not be changed.
func (k keptTrees) Tree(id wire.TreeID) (*wire.Tree, error) {
	if t := k.trees[id]; t != nil {
		return t, nil
	}
	t, err := k.Trees.Tree(id)
	if err == nil {
		if len(k.trees) >= maxKept {
			clear(k.trees)
		}
		k.trees[id] = t
	}
	return t, err
}

// maxGrafted bounds the roots that are remembered: one for each set of libraries' headers that a
// source of a build uses.
const maxGrafted = 1_000

// maxHas bounds the paths that are remembered, several times the headers of a machine.
const maxHas = 200_000

// Has reports whether the root has something at an absolute path.
func (t *Toolchain) Has(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	has, known := t.has[path]
	if !known {
		if len(t.has) >= maxHas {
			clear(t.has)
		}
		_, has = lookup(t.kept, t.Root, path)
		t.has[path] = has
	}
	return has
}

// room returns the directory that has to be added to the root for a job to be seen in dir: the first
// on the way that the root does not have, so that it serves all directories below; "" if there is
// none.
func (t *Toolchain) room(dir string) string {
	for i := 1; i < len(dir); i++ {
		if dir[i] == '/' && !t.Has(dir[:i]) {
			return dir[:i]
		}
	}
	if t.Has(dir) {
		return ""
	}
	return dir
}

// With returns the root with files and directories added, as graft does.
func (t *Toolchain) With(ctx context.Context, add map[string]wire.Object) (wire.Object, error) {
	var names []string
	for p, o := range add {
		names = append(names, p+"\x00"+o.CID())
	}
	slices.Sort(names)
	key := strings.Join(names, "\x00")
	t.mu.Lock()
	defer t.mu.Unlock()
	if o, ok := t.grafted[key]; ok {
		if _, err := t.trees.Tree(wire.TreeID(o.Digest)); err == nil { // it was not trimmed
			return o, nil
		}
	}
	o, err := graft(ctx, t.trees, t.Root, add)
	if err == nil {
		if len(t.grafted) >= maxGrafted {
			clear(t.grafted)
		}
		t.grafted[key] = o
	}
	return o, err
}
