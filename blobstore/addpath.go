package blobstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gaggle/wire"
)

// AddOptions steer AddPath.
type AddOptions struct {
	// Progress, if not nil, is called now and then, from one goroutine at a time, with what has
	// been seen so far, and once at the end.
	Progress func(AddProgress)
}

// AddProgress counts what AddPath has seen.
type AddProgress struct {
	Files       int64 // files and symlinks seen
	Bytes       int64 // the files' lengths in sum
	Hashed      int64 // files read, because they are new, have changed or changed a moment ago
	HashedBytes int64
}

// AddPath copies a local file or directory into the store and returns what it is. A file that
// was added before and has the same path, size, times and inode is not read again, unless it
// changed within two seconds of being read. A path that is a symlink is followed; symlinks in a
// directory are kept, but must be relative and stay within it. .git and what .gaggleignore lists
// (see ignoreName) is left out. What a tree cannot hold is refused with an error of
// wire.CauseInvalid that names it and says what to do; a missing path is of wire.CauseNotFound.
func (s *Store) AddPath(ctx context.Context, space wire.Space, path string, opt AddOptions) (wire.Object, error) {
	s.mu.Lock()
	_, err := s.table.sets.id(space)
	drops := s.drops
	s.mu.Unlock()
	if err != nil {
		return wire.Object{}, err
	}
	top, fi, err := resolve(path)
	if err != nil {
		return wire.Object{}, err
	}
	a := &adding{s: s, space: space, opt: opt}
	var o wire.Object
	if fi.IsDir() {
		o, err = a.tree(ctx, top)
	} else {
		o, err = a.single(ctx, top, fi)
	}
	if err != nil {
		return wire.Object{}, fmt.Errorf("adding %s: %w", path, err)
	}
	a.report(true)
	if o.Kind == wire.Dir {
		s.rememberWhole(key{space, o.Digest}, drops)
	}
	return o, nil
}

// resolve returns the absolute path behind symlinks, and what is there.
func resolve(path string) (string, os.FileInfo, error) {
	top, err := filepath.Abs(path)
	if err == nil {
		top, err = filepath.EvalSymlinks(top)
	}
	if errors.Is(err, os.ErrNotExist) {
		return "", nil, wire.Errorf(wire.CauseNotFound, "check the path; it is relative to the graph file", "there is no file or directory %s", path)
	}
	var fi os.FileInfo
	if err == nil {
		fi, err = os.Lstat(top)
	}
	if err != nil {
		return "", nil, fmt.Errorf("adding %s: %w", path, err)
	}
	return top, fi, nil
}

// An adding is one AddPath under way: a scan that stats everything, then hashing of what is not
// known, then trees from the bottom up.
type adding struct {
	s     *Store
	space wire.Space
	opt   AddOptions

	files, bytes, hashed, hashedBytes atomic.Int64

	mu     sync.Mutex // guards the fields below
	last   time.Time  // of the latest report
	unread []*node    // files to be hashed
}

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

// report calls Progress, at most ten times a second unless it is the last time.
func (a *adding) report(last bool) {
	if a.opt.Progress == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); last || now.Sub(a.last) >= 100*time.Millisecond {
		a.last = now
		a.opt.Progress(AddProgress{a.files.Load(), a.bytes.Load(), a.hashed.Load(), a.hashedBytes.Load()})
	}
}

// single adds one file.
func (a *adding) single(ctx context.Context, path string, fi os.FileInfo) (wire.Object, error) {
	n := node{path: path, id: identityOf(fi)}
	if err := n.classify(path, fi); err != nil {
		return wire.Object{}, err
	}
	a.files.Add(1)
	a.bytes.Add(fi.Size())
	k := fileKey(path)
	a.match([]*node{&n}, decodeDirRecord(a.s.meta.get(a.s.meta.index, k)))
	if n.known {
		return n.object, nil
	}
	if err := a.hash(ctx, &n); err != nil {
		return wire.Object{}, err
	}
	if n.settled {
		r := &dirRecord{entries: map[string]dirEntry{"": {id: n.id, object: n.object}}}
		a.s.meta.put(a.s.meta.index, k, r.encode())
	}
	return n.object, nil
}

// tree adds a directory.
func (a *adding) tree(ctx context.Context, path string) (wire.Object, error) {
	top := &folder{path: path}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * runtime.GOMAXPROCS(0)) // stats of a cold directory wait for the disk
	g.Go(func() error { return a.scan(gctx, g, top, nil) })
	if err := g.Wait(); err != nil {
		return wire.Object{}, err
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, n := range a.unread {
		g.Go(func() error { return a.hash(gctx, n) })
	}
	if err := g.Wait(); err != nil {
		return wire.Object{}, err
	}
	return a.build(ctx, top)
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

// hash reads a file into the store. One that changes meanwhile is read again, a few times.
func (a *adding) hash(ctx context.Context, n *node) error {
	for range 3 {
		ok, err := a.hashOnce(ctx, n)
		if err != nil {
			if wire.CauseOf(err) == wire.CauseUnknown {
				return fmt.Errorf("reading %s: %w", n.path, err)
			}
			return err
		}
		if ok {
			a.hashed.Add(1)
			a.hashedBytes.Add(n.id.size)
			a.report(false)
			return nil
		}
	}
	return changed(n.path)
}

// hashOnce reports false if the file changed while it was read.
func (a *adding) hashOnce(ctx context.Context, n *node) (bool, error) {
	now := time.Now()
	f, err := os.Open(n.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return false, err
	}
	if err := n.classify(n.path, before); err != nil { // it was another file a moment ago
		return false, err
	}
	id, err := a.s.PutFile(ctx, a.space, f, before.Size())
	after, serr := f.Stat()
	if serr != nil {
		return false, serr
	}
	n.id = identityOf(after)
	if n.id != identityOf(before) {
		return false, ctx.Err()
	}
	n.object.Digest, n.object.Size = wire.Digest(id), uint64(before.Size())
	n.settled = n.id.settled(now)
	return err == nil, err
}

// build makes the trees of a folder and all below, and their records.
func (a *adding) build(ctx context.Context, f *folder) (wire.Object, error) {
	if err := ctx.Err(); err != nil {
		return wire.Object{}, err
	}
	same := len(f.nodes) == len(f.old.entries) && f.old.tree != wire.Digest{}
	settled := true
	for i := range f.nodes {
		n := &f.nodes[i]
		if n.sub != nil {
			o, err := a.build(ctx, n.sub)
			if err != nil {
				return o, err
			}
			n.object, n.settled, n.sub = o, true, nil
		}
		was, ok := f.old.entries[n.name]
		same = same && ok && was.object == n.object && was.target == n.target && (n.known || n.object.Kind == wire.Dir || n.object.Kind == wire.Symlink)
		settled = settled && (n.settled || n.object.Kind == wire.Symlink)
	}
	if same {
		if _, ok := a.s.stat(a.space, f.old.tree); ok {
			return wire.DirObject(wire.TreeID(f.old.tree), f.old.size), nil
		}
	}
	return a.putFolder(ctx, f, settled)
}

// putFolder stores the tree of a folder and indexes it.
func (a *adding) putFolder(ctx context.Context, f *folder, settled bool) (wire.Object, error) {
	entries := make([]wire.Entry, len(f.nodes))
	r := &dirRecord{entries: make(map[string]dirEntry, len(f.nodes))}
	for i := range f.nodes {
		n := &f.nodes[i]
		entries[i] = wire.Entry{Name: n.name, Object: n.object, Target: n.target}
		if n.settled || n.object.Kind == wire.Symlink {
			e := dirEntry{object: n.object, target: n.target}
			if n.object.Kind == wire.File || n.object.Kind == wire.Exec {
				e.id = n.id
			}
			r.entries[n.name] = e
		}
	}
	t, err := wire.NewTree(entries)
	if err != nil {
		return wire.Object{}, fmt.Errorf("directory %s: %w", f.path, err)
	}
	id, err := a.s.PutTree(ctx, a.space, t)
	if err != nil {
		return wire.Object{}, fmt.Errorf("directory %s: %w", f.path, err)
	}
	if r.size = t.Size(); settled {
		r.tree = wire.Digest(id)
	}
	a.s.meta.put(a.s.meta.index, dirKey(f.path), r.encode())
	return wire.DirObject(id, r.size), nil
}
