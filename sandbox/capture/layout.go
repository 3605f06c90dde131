package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"gaggle/wire"
)

const (
	// maxNodes bounds the files, directories and links of one root: twice what a large
	// desktop has, so that an `include` of everything by mistake ends.
	maxNodes = 1_000_000
	// maxNames bounds the bytes of names and link targets in one root; a desktop's are 40 MiB.
	maxNames = 256 << 20
	// maxLinks is how many symbolic links one path may lead through, as in Linux (MAXSYMLINKS).
	maxLinks = 40
)

// A node is a file, directory or symbolic link of a layout.
type node struct {
	kind     wire.Kind        // File, Exec, Dir or Symlink
	children map[string]*node // of a Dir
	target   string           // of a Symlink
	source   string           // of a file: where its bytes are on this machine, or ""
	text     string           // of a file without source that is not stored yet
	object   wire.Object      // of a file, once it is stored
	layer    int              // of an image that put it there
}

// A layout is a root tree in the making. Its paths are absolute and slash-separated, those of
// the machine that will see it; nothing here follows a link of this machine's file system.
type layout struct {
	root  *node
	nodes int // ever put, as against maxNodes
	names int // bytes of their names and targets, as against maxNames
	layer int // given to nodes that are made
}

func newLayout() *layout { return &layout{root: &node{kind: wire.Dir, children: map[string]*node{}}} }

// split returns the elements of an absolute path, with ".." kept.
func split(p string) []string {
	return slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool { return s == "" || s == "." })
}

// find walks to p as the kernel would inside the root: links are followed, also the last one if
// follow is set, and ".." stops at the root. It returns the canonical path, and the node, which
// is nil if there is none; of a missing directory on the way the rest is taken literally.
func (l *layout) find(p string, follow bool) (string, *node, error) {
	var (
		at    []string
		chain = []*node{l.root} // the nodes of at, from the root; nil where there is none
		todo  = split(p)
		links int
	)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			if len(at) > 0 {
				at, chain = at[:len(at)-1], chain[:len(chain)-1]
			}
			continue
		}
		var n *node
		if dir := chain[len(chain)-1]; dir != nil {
			n = dir.children[name]
		}
		if n == nil || n.kind != wire.Symlink || len(todo) == 0 && !follow {
			at, chain = append(at, name), append(chain, n)
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("%s: too many symbolic links", p)
		}
		if path.IsAbs(n.target) {
			at, chain = at[:0], chain[:1]
		}
		todo = append(split(n.target), todo...)
	}
	return "/" + strings.Join(at, "/"), chain[len(chain)-1], nil
}

// put places n at the canonical path p, making the directories above it, in the place of
// whatever is there.
func (l *layout) put(p string, n *node) error {
	names := split(p)
	if len(names) == 0 {
		return errors.New("the root itself can only be a directory")
	}
	if len(names) > wire.MaxTreeDepth {
		return fmt.Errorf("%w: deeper than %d", wire.ErrBadPath, wire.MaxTreeDepth)
	}
	dir := l.root
	for _, name := range names[:len(names)-1] {
		next := dir.children[name]
		if next == nil || next.kind != wire.Dir {
			next = &node{kind: wire.Dir, children: map[string]*node{}}
			if err := l.attach(dir, name, next); err != nil {
				return err
			}
		}
		dir = next
	}
	return l.attach(dir, names[len(names)-1], n)
}

func (l *layout) attach(dir *node, name string, n *node) error {
	if err := wire.CheckName(name); err != nil {
		return err
	}
	l.nodes++
	l.names += len(name) + len(n.target)
	if l.nodes > maxNodes || l.names > maxNames {
		return wire.Errorf(wire.CauseTooLarge, "take in less", "a root of more than %d files or %d bytes of names", maxNodes, maxNames)
	}
	n.layer = l.layer
	dir.children[name] = n
	return nil
}

// mkdir makes the canonical path p a directory, if it is none.
func (l *layout) mkdir(p string) error {
	_, n, err := l.find(p, false)
	if err != nil || n != nil && n.kind == wire.Dir {
		return err
	}
	return l.put(p, &node{kind: wire.Dir, children: map[string]*node{}})
}

// prune removes what layers below keep put at and under n, and reports whether n itself is to go.
func (n *node) prune(keep int) bool {
	for name, c := range n.children {
		if c.prune(keep) {
			delete(n.children, name)
		}
	}
	return n.layer < keep && len(n.children) == 0
}

// skeleton is what every root has; what a root brings itself is left alone.
var skeleton = []struct{ path, text string }{
	{"/etc/passwd", "root:x:0:0:root:/:/bin/sh\nthunk:x:1000:1000:thunk:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
	{"/etc/group", "root:x:0:\nthunk:x:1000:\nnogroup:x:65534:\n"},
	{"/etc/hosts", "127.0.0.1 localhost thunk\n::1 localhost thunk\n"},
	{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n"},
}

// complete adds the skeleton: mount points, a /bin, and the few files of /etc that libc reads.
func (l *layout) complete() error {
	for _, d := range []string{"/dev", "/proc", "/tmp", "/job"} {
		if err := l.mkdir(d); err != nil { // a link here would mount over something else
			return err
		}
	}
	if l.root.children["bin"] == nil {
		if err := l.mkdir("/bin"); err != nil {
			return err
		}
	}
	for _, f := range skeleton {
		p, n, err := l.find(f.path, true)
		if err != nil {
			return err
		}
		if n == nil {
			if err := l.put(p, &node{kind: wire.File, text: f.text}); err != nil {
				return err
			}
		}
	}
	return nil
}

// store gives all files and then the directories to the sink, and returns the root.
func (l *layout) store(ctx context.Context, sink Sink) (wire.Object, error) {
	var files []*node
	l.root.files(&files)
	if err := storeFiles(ctx, files, sink); err != nil {
		return wire.Object{}, err
	}
	return l.root.store(ctx, sink, "/")
}

func (n *node) files(to *[]*node) {
	for _, c := range n.children {
		c.files(to)
	}
	if (n.kind == wire.File || n.kind == wire.Exec) && n.object.Kind == 0 {
		*to = append(*to, n)
	}
}

func (n *node) store(ctx context.Context, sink Sink, at string) (wire.Object, error) {
	switch n.kind {
	case wire.Symlink:
		return wire.Object{Kind: wire.Symlink}, nil
	case wire.File, wire.Exec:
		o := n.object
		o.Kind = n.kind
		return o, nil
	}
	entries := make([]wire.Entry, 0, len(n.children))
	for name, c := range n.children {
		o, err := c.store(ctx, sink, path.Join(at, name))
		if err != nil {
			return wire.Object{}, err
		}
		entries = append(entries, wire.Entry{Name: name, Object: o, Target: c.target})
	}
	t, err := wire.NewTree(entries)
	if err != nil {
		return wire.Object{}, wire.Errorf(wire.CauseInvalid, "", "directory %s: %v", at, err)
	}
	id, err := sink.PutTree(ctx, t)
	return wire.DirObject(id, t.Size()), err
}

// size returns the bytes of the files at and below n, which are stored.
func (n *node) size() (sum uint64) {
	sum = n.object.Size
	for _, c := range n.children {
		sum += c.size()
	}
	return sum
}

// heaviest returns the lowest directory that has most of the bytes.
func (l *layout) heaviest() (p string, bytes uint64) {
	n := l.root
	total := n.size()
	for p, bytes = "/", total; ; {
		heavier := ""
		for name, c := range n.children {
			if size := c.size(); c.kind == wire.Dir && size > total/2 {
				heavier, bytes = name, size
			}
		}
		if heavier == "" {
			return p, bytes
		}
		p, n = path.Join(p, heavier), n.children[heavier]
	}
}

// putText stores a file that stands on no disk.
func putText(ctx context.Context, text string, sink Sink) (wire.Object, error) {
	f, err := scratch()
	if err != nil {
		return wire.Object{}, err
	}
	defer f.Close()
	if err := f.fill(strings.NewReader(text), int64(len(text))); err != nil {
		return wire.Object{}, err
	}
	return f.put(ctx, int64(len(text)), sink)
}

// A scratchFile is a temporary file without a name, used again and again.
type scratchFile struct{ *os.File }

func scratch() (scratchFile, error) {
	f, err := os.CreateTemp("", "gaggle-capture-")
	if err != nil {
		return scratchFile{}, fmt.Errorf("making room for a file: %w", err)
	}
	return scratchFile{f}, nil
}

// Close removes the file.
func (f scratchFile) Close() error {
	return errors.Join(f.File.Close(), os.Remove(f.Name()))
}

// fill makes the file hold the size bytes of r.
func (f scratchFile) fill(r io.Reader, size int64) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	return err
}

// put stores the size bytes that the file holds.
func (f scratchFile) put(ctx context.Context, size int64, sink Sink) (wire.Object, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return wire.Object{}, err
	}
	id, err := sink.PutFile(ctx, f.File, size)
	return wire.FileObject(id, uint64(size), false), err
}
