package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Tree is an immutable directory. Its encoding is canonical DAG-CBOR:
//
//	[1, [[name, [kind, link, size], target], ...]]
//
// with entries in ascending byte order of name, no name twice, kind one of File, Exec, Dir and
// Symlink, and target empty but for a Symlink. Times, owners and other permissions are not kept.
// Names and targets are UTF-8 text: DAG-CBOR has no other, and JSON graph files could not
// name them.
type Tree struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Entries []Entry
}

// An Entry is one name in a Tree.
type Entry struct {
	_      struct{} `cbor:",toarray"`
	Name   string
	Object Object
	Target string // of a Symlink; never absolute in an output, see sandbox
}

const treeVersion = 1

// NewTree sorts the entries by name, checks them and returns their tree.
func NewTree(entries []Entry) (*Tree, error) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	t := &Tree{Version: treeVersion, Entries: entries}
	return t, t.check()
}

// Encode returns the canonical encoding and the id it hashes to.
func (t *Tree) Encode() (TreeID, []byte) {
	b := encodeHashed(t)
	return TreeID(Sum(b)), b
}

// DecodeTree reads a canonical encoding and checks it. The caller has checked the hash.
func DecodeTree(b []byte) (*Tree, error) {
	t := new(Tree)
	err := decodeHashed(b, t, MaxObject, treeVersion)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return nil, fmt.Errorf("decoding a tree: %w", err)
	}
	return t, nil
}

// Size returns the bytes of all files below, which is the Size of the tree's Object.
func (t *Tree) Size() (n uint64) {
	for i := range t.Entries {
		n += t.Entries[i].Object.Size
	}
	return n
}

// Lookup returns the entry of the given name.
func (t *Tree) Lookup(name string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(t.Entries, name, func(e Entry, n string) int { return strings.Compare(e.Name, n) })
	if !ok {
		return Entry{}, false
	}
	return t.Entries[i], true
}

func (t *Tree) check() error {
	if t.Version != treeVersion {
		return &Error{Cause: CauseVersion, Message: fmt.Sprintf("tree format %d is not known here", t.Version), Hint: "update gaggle on this machine"}
	}
	if len(t.Entries) > MaxTreeEntries {
		return fmt.Errorf("directory of %d entries exceeds the bound of %d", len(t.Entries), MaxTreeEntries)
	}
	var size uint64
	for i, e := range t.Entries {
		if err := CheckName(e.Name); err != nil {
			return err
		}
		if i > 0 && t.Entries[i-1].Name >= e.Name {
			return fmt.Errorf("entry %q is out of order or there twice", e.Name)
		}
		if (e.Object.Kind == Symlink) != (e.Target != "") || strings.IndexByte(e.Target, 0) >= 0 ||
			len(e.Target) > MaxPath || !utf8.ValidString(e.Target) {
			return fmt.Errorf("entry %q: bad symlink target %q", e.Name, e.Target)
		}
		if !e.Object.Final() && e.Object.Kind != Symlink {
			return fmt.Errorf("entry %q is %s", e.Name, e.Object.Kind)
		}
		size += e.Object.Size
	}
	if size > MaxBlob {
		return fmt.Errorf("directory of %d bytes exceeds the bound of %d", size, uint64(MaxBlob))
	}
	return nil
}

// ErrBadPath is wrapped by CheckName and CheckPath.
var ErrBadPath = errors.New("not a usable path")

// CheckName reports whether name can be one element of a path: not empty, "." or "..", no slash
// or NUL, at most MaxPathElement bytes of UTF-8.
func CheckName(name string) error {
	switch {
	case name == "", name == ".", name == "..", strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: %q", ErrBadPath, name)
	case len(name) > MaxPathElement:
		return fmt.Errorf("%w: %q... is longer than %d bytes", ErrBadPath, name[:40], MaxPathElement)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %q is not UTF-8; rename it", ErrBadPath, name)
	}
	return nil
}

// CheckPath reports whether p is a clean relative slash-separated path that stays below where
// it starts: every element passes CheckName.
func CheckPath(p string) error {
	if len(p) > MaxPath {
		return fmt.Errorf("%w: %q... is longer than %d bytes", ErrBadPath, p[:40], MaxPath)
	}
	n := 0
	for name := range strings.SplitSeq(p, "/") {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("%w: %q", ErrBadPath, p)
		}
		n++
	}
	if n > MaxTreeDepth {
		return fmt.Errorf("%w: %q... is deeper than %d", ErrBadPath, p[:40], MaxTreeDepth)
	}
	return nil
}
