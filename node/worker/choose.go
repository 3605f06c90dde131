package worker

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gaggle/wire"
)

// maxLinks bounds the symbolic links followed in one path, as Linux does.
const maxLinks = 40

// choose returns the object at a path in a directory. It follows symbolic links as long as they
// stay below the directory. A path that is not there, or leaves the directory, is the task's
// failure: a wire.Error of CauseOutputMissing that names what is there instead.
func choose(tree func(wire.TreeID) (*wire.Tree, error), dir wire.Object,
	want string) (wire.Object, error) {
	c := chooser{tree: tree, want: want, stack: []wire.Object{dir}}
	rest := strings.Split(want, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		target, err := c.step(name)
		if err != nil {
			return wire.Object{}, err
		}
		if target != "" {
			rest = append(strings.Split(target, "/"), rest...)
		}
	}
	return c.stack[len(c.stack)-1], nil
}

// A chooser walks down a directory.
type chooser struct {
	tree  func(wire.TreeID) (*wire.Tree, error)
	want  string
	stack []wire.Object // from the directory to where it is
	names []string      // one less: of all but the first
	links int
}

// step goes to an entry of where it is. If that is a symbolic link it stays and returns the
// target.
func (c *chooser) step(name string) (target string, err error) {
	at := c.stack[len(c.stack)-1]
	switch {
	case name == "" || name == ".":
		return "", nil
	case name == "..":
		if len(c.stack) == 1 {
			return "", c.missing("a symbolic link on the way leaves the directory")
		}
		c.stack, c.names = c.stack[:len(c.stack)-1], c.names[:len(c.names)-1]
		return "", nil
	case at.Kind != wire.Dir:
		return "", c.missing("%s is a file", strings.Join(c.names, "/"))
	}
	t, err := c.tree(wire.TreeID(at.Digest))
	if err != nil {
		return "", fmt.Errorf("reading directory %q: %w", strings.Join(c.names, "/"), err)
	}
	e, ok := t.Lookup(name)
	if !ok {
		return "", c.missing("%s holds %s", c.place(), listing(t))
	}
	if e.Object.Kind != wire.Symlink {
		c.stack, c.names = append(c.stack, e.Object), append(c.names, name)
		return "", nil
	}
	if c.links++; c.links > maxLinks {
		return "", c.missing("too many symbolic links on the way, the last is %s",
			path.Join(strings.Join(c.names, "/"), name))
	}
	if path.IsAbs(e.Target) {
		return "", c.missing("%s is a symbolic link to %s, outside the directory",
			path.Join(strings.Join(c.names, "/"), name), e.Target)
	}
	return e.Target, nil
}

// place names where the chooser is.
func (c *chooser) place() string {
	if len(c.names) == 0 {
		return "the directory"
	}
	return strings.Join(c.names, "/")
}

func (c *chooser) missing(format string, args ...any) error {
	return wire.Errorf(wire.CauseOutputMissing, "correct the part after // in the reference",
		"there is no %q in the directory: %s", c.want, fmt.Sprintf(format, args...))
}

// listing names some entries of a directory.
func listing(t *wire.Tree) string {
	const some = 12
	if len(t.Entries) == 0 {
		return "nothing"
	}
	var names []string
	for _, e := range t.Entries[:min(len(t.Entries), some)] {
		names = append(names, fmt.Sprintf("%q", e.Name))
	}
	s := strings.Join(slices.Clip(names), ", ")
	if n := len(t.Entries) - some; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
