package infer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gaggle/wire"
)

// Trees keeps directories by their digests.
type Trees interface {
	Tree(id wire.TreeID) (*wire.Tree, error)
	PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error)
}

// errNoRoom is about a path that a tree has no place for.
var errNoRoom = errors.New("lies below a file or a symbolic link of the root")

// graft returns a tree with objects added at paths, relative and clean. What is there gives way,
// but a directory that is there stays if an empty one is added. Only the directories on the way are
// made anew.
func graft(ctx context.Context, trees Trees, root wire.Object, add map[string]wire.Object) (wire.Object, error) {
	if len(add) == 0 {
		return root, nil
	}
	t, err := trees.Tree(wire.TreeID(root.Digest))
	if err != nil {
		return wire.Object{}, err
	}
	g := grafting{ctx, trees}
	return g.into(t, "", slices.Sorted(maps.Keys(add)), add)
}

type grafting struct {
	ctx   context.Context
	trees Trees
}

// into adds to the tree that stands at a path (which ends with a slash, or is empty) those of the
// sorted paths that all begin with it.
func (g *grafting) into(t *wire.Tree, at string, paths []string, add map[string]wire.Object) (wire.Object, error) {
	entries := slices.Clone(t.Entries)
	for len(paths) > 0 {
		name, _, deeper := strings.Cut(paths[0][len(at):], "/")
		n := 1
		for n < len(paths) && strings.HasPrefix(paths[n][len(at):]+"/", name+"/") {
			n++
		}
		i, have := slices.BinarySearchFunc(entries, name, func(e wire.Entry, n string) int { return strings.Compare(e.Name, n) })
		o, err := add[paths[0]], error(nil)
		switch {
		case !deeper && n > 1 && o.Kind == wire.Dir && o.Size == 0:
			n = 1 // it need only be there, and is if something is in it
			paths = paths[n:]
			continue
		case !deeper && n > 1:
			return wire.Object{}, fmt.Errorf("%s lies below %s, which is added as well", paths[1], paths[0])
		case deeper:
			below := new(wire.Tree)
			if have && entries[i].Object.Kind != wire.Dir {
				return wire.Object{}, fmt.Errorf("%s %w", paths[0], errNoRoom)
			} else if have {
				below, err = g.trees.Tree(wire.TreeID(entries[i].Object.Digest))
			}
			if err == nil {
				o, err = g.into(below, at+name+"/", paths[:n], add)
			}
		case have && o.Kind == wire.Dir && entries[i].Object.Kind == wire.Dir && o.Size == 0:
			o = entries[i].Object
		}
		if err != nil {
			return wire.Object{}, err
		}
		if !have {
			entries = slices.Insert(entries, i, wire.Entry{})
		}
		entries[i] = wire.Entry{Name: name, Object: o}
		paths = paths[n:]
	}
	return g.put(entries)
}

func (g *grafting) put(entries []wire.Entry) (wire.Object, error) {
	t, err := wire.NewTree(entries)
	if err != nil {
		return wire.Object{}, err
	}
	id, err := g.trees.PutTree(g.ctx, t)
	return wire.DirObject(id, t.Size()), err
}

// emptyDir returns the directory that has nothing in it.
func emptyDir(ctx context.Context, trees Trees) (wire.Object, error) {
	return (&grafting{ctx, trees}).put(nil)
}

// maxLinks bounds the symbolic links on the way to a file, as the kernel does (path_resolution(7)).
const maxLinks = 40

// lookup returns what stands at an absolute path in a root, the links of which it follows.
func lookup(trees Trees, root wire.Object, path string) (wire.Object, bool) {
	stack := []wire.Object{root} // the directories that ".." leads back to
	rest := strings.Split(strings.Trim(path, "/"), "/")
	at := root
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			at = stack[len(stack)-1]
			continue
		}
		if at.Kind != wire.Dir {
			return wire.Object{}, false
		}
		t, err := trees.Tree(wire.TreeID(at.Digest))
		if err != nil {
			return wire.Object{}, false
		}
		e, ok := t.Lookup(name)
		if !ok {
			return wire.Object{}, false
		}
		if e.Object.Kind != wire.Symlink {
			at = e.Object
			stack = append(stack, at)
			continue
		}
		if links++; links > maxLinks {
			return wire.Object{}, false
		}
		if strings.HasPrefix(e.Target, "/") {
			stack, at = stack[:1], root
		}
		rest = append(strings.Split(e.Target, "/"), rest...)
	}
	return at, true
}
