package infer

import (
	"fmt"
	"testing"

	"gaggle/wire"
)

// countedTrees counts the directories that are opened.
type countedTrees struct {
	memoryTrees
	opened map[wire.TreeID]int
}

func (c countedTrees) Tree(id wire.TreeID) (*wire.Tree, error) {
	c.opened[id]++
	return c.memoryTrees.Tree(id)
}

// TestToolchainHas looks for many files: each directory is opened once.
func TestToolchainHas(t *testing.T) {
	c := countedTrees{memoryTrees{}, map[wire.TreeID]int{}}
	add := map[string]wire.Object{}
	for i := range 20 {
		add[fmt.Sprintf("usr/include/sys/h%d.h", i)] = sized(uint64(i + 1))
	}
	empty, err := emptyDir(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	root, err := graft(t.Context(), c, empty, add)
	if err != nil {
		t.Fatal(err)
	}
	clear(c.opened)
	chain := NewToolchain(root, c)
	for i := range 40 {
		if p := fmt.Sprintf("/usr/include/sys/h%d.h", i); chain.Has(p) != (i < 20) {
			t.Errorf("Has(%s) = %v", p, i >= 20)
		}
	}
	if len(c.opened) != 4 {
		t.Errorf("%d directories were opened, want the 4 on the way", len(c.opened))
	}
	for id, n := range c.opened {
		if n != 1 {
			t.Errorf("directory %s was opened %d times", id, n)
		}
	}
	// A root that is made of it is looked for in the store itself, which may have dropped it.
	with := map[string]wire.Object{"opt/x.h": sized(30)}
	made, err := chain.With(t.Context(), with)
	if err != nil {
		t.Fatal(err)
	}
	delete(c.memoryTrees, wire.TreeID(made.Digest))
	if again, err := chain.With(t.Context(), with); err != nil || again != made || c.memoryTrees[wire.TreeID(made.Digest)] == nil {
		t.Errorf("With = %v, %v; want it made again", again, err)
	}
}
