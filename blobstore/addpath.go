package blobstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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
	return o, a.settle(o, drops)
}

// settle checks that nothing of o was trimmed while the rest was added.
func (a *adding) settle(o wire.Object, drops uint64) error {
	if o.Kind == wire.Dir {
		a.s.rememberWhole(a.space, []wire.Digest{o.Digest}, drops)
	}
	if missing, err := a.s.Missing(a.space, o); err != nil {
		return err
	} else if len(missing) > 0 {
		return wire.Errorf(wire.CauseDiskFull, "give the store more room (--store-max), or add less",
			"an input of %d bytes does not fit into the store beside what is in use", o.Size)
	}
	return nil
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
