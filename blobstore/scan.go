package blobstore

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"gaggle/wire"
)

// A folder is a scanned directory.
type folder struct {
	path  string // absolute
	rel   string // slash path from the top; "" is the top
	depth int
	old   *dirRecord
	nodes []node // in order of name
}

// A node is a name in a folder.
type node struct {
	path    string // absolute, of a file
	name    string
	id      identity
	object  wire.Object
	target  string
	sub     *folder
	known   bool // the index has it and the store too
	settled bool // the identity can be believed next time
}

// scan reads a directory and everything below it, side by side where the group has room.
func (a *adding) scan(ctx context.Context, g *errgroup.Group, f *folder, above *rules) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.depth > wire.MaxTreeDepth || len(f.rel) > wire.MaxPath {
		return wire.Errorf(wire.CauseTooLarge, leaveOut, "%s is nested deeper than %d directories or %d bytes", f.path, wire.MaxTreeDepth, wire.MaxPath)
	}
	rules, err := readRules(f.path, f.rel, above)
	if err != nil {
		return err
	}
	list, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	f.old = decodeDirRecord(a.s.meta.get(a.s.meta.index, dirKey(f.path)))
	for _, e := range list {
		if e.Name() == ".git" || e.Name() == ignoreName || rules.skips(joinRel(f.rel, e.Name()), e.IsDir()) {
			continue
		}
		n, err := a.look(f, e)
		if err != nil {
			return err
		}
		f.nodes = append(f.nodes, n)
	}
	if len(f.nodes) > wire.MaxTreeEntries {
		return wire.Errorf(wire.CauseTooLarge, "spread it over several directories", "%s has %d names, more than the bound of %d", f.path, len(f.nodes), wire.MaxTreeEntries)
	}
	if n := a.files.Add(int64(len(f.nodes))); n > maxLayout {
		return wire.Errorf(wire.CauseTooLarge, leaveOut, "there are more than %d files", maxLayout)
	}
	a.sort(f)
	a.report(false)
	for i := range f.nodes {
		sub := f.nodes[i].sub
		if sub == nil {
			continue
		}
		a.files.Add(-1)
		deeper := func() error { return a.scan(ctx, g, sub, rules) }
		if !g.TryGo(deeper) {
			if err := deeper(); err != nil {
				return err
			}
		}
	}
	return nil
}

func joinRel(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

const leaveOut = "remove it, or list it in " + ignoreName

// look stats one name.
func (a *adding) look(f *folder, e os.DirEntry) (n node, err error) {
	path := filepath.Join(f.path, e.Name())
	if err := wire.CheckName(e.Name()); err != nil {
		return n, wire.Errorf(wire.CauseInvalid, "rename it, or list its directory in "+ignoreName,
			"%s holds the name %q, which is not UTF-8 text", f.path, e.Name())
	}
	n = node{name: e.Name(), path: path}
	if e.IsDir() {
		n.object.Kind = wire.Dir
		n.sub = &folder{path: path, rel: joinRel(f.rel, e.Name()), depth: f.depth + 1}
		return n, nil
	}
	fi, err := e.Info()
	if err != nil {
		return n, err
	}
	n.id = identityOf(fi)
	if fi.Mode()&os.ModeSymlink != 0 {
		n.object.Kind = wire.Symlink
		n.target, err = readLink(path, f.depth)
		return n, err
	}
	a.bytes.Add(fi.Size())
	return n, n.classify(path, fi)
}

// classify sets the kind of a regular file and refuses everything else.
func (n *node) classify(path string, fi os.FileInfo) error {
	kind := ""
	switch mode := fi.Mode(); {
	case mode.IsRegular():
		n.object.Kind = wire.File
		if mode&0o111 != 0 {
			n.object.Kind = wire.Exec
		}
		if fi.Size() > wire.MaxBlob {
			return wire.Errorf(wire.CauseTooLarge, leaveOut, "%s has %d bytes, more than the bound of %d", path, fi.Size(), uint64(wire.MaxBlob))
		}
		return nil
	case mode&os.ModeNamedPipe != 0:
		kind = "a named pipe"
	case mode&os.ModeSocket != 0:
		kind = "a socket"
	case mode&os.ModeDevice != 0:
		kind = "a device"
	default:
		kind = "neither file, directory nor symlink"
	}
	return wire.Errorf(wire.CauseInvalid, leaveOut, "%s is %s, which a job cannot have as input", path, kind)
}

// readLink reads a symlink in a directory depth levels below the top and checks that it stays
// below the top.
func readLink(path string, depth int) (string, error) {
	target, err := os.Readlink(path)
	if err != nil {
		return "", err
	}
	target = filepath.ToSlash(target)
	if why := strays(target, depth); why != "" {
		return "", wire.Errorf(wire.CauseInvalid,
			"make it relative and within the directory, replace it by what it points to, or list it in "+ignoreName,
			"symlink %s points to %q, which %s", path, target, why)
	}
	return target, nil
}

// strays says how a symlink's target may leave the tree it is in, depth levels below the top; ""
// if it cannot. ".." is allowed only at the beginning: after a name, which may itself be a
// symlink, it cannot be told where it leads.
func strays(target string, depth int) string {
	if filepath.IsAbs(target) || strings.HasPrefix(target, "/") {
		return "is absolute"
	}
	if target == "" {
		return "is empty"
	}
	down := false
	for elem := range strings.SplitSeq(target, "/") {
		switch elem {
		case "", ".":
		case "..":
			if down {
				return "goes up after going down"
			}
			if depth--; depth < 0 {
				return "leaves the directory"
			}
		default:
			down = true
		}
	}
	return ""
}

// sort finds out which files of a folder are known and notes the others.
func (a *adding) sort(f *folder) {
	var files []*node
	for i := range f.nodes {
		if n := &f.nodes[i]; n.object.Kind == wire.File || n.object.Kind == wire.Exec {
			files = append(files, n)
		}
	}
	a.match(files, f.old)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range files {
		if !n.known {
			a.unread = append(a.unread, n)
		}
	}
}

// match takes digests from a record for files that have not changed since and are here.
func (a *adding) match(files []*node, old *dirRecord) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for _, n := range files {
		e, ok := old.entries[n.name]
		if !ok || e.id != n.id || e.object.Kind != n.object.Kind {
			continue
		}
		if in := a.s.table.in(a.space, e.object.Digest); in != nil && in.size == n.id.size {
			a.s.table.touch(in)
			n.object, n.known, n.settled = e.object, true, true
		}
	}
}
