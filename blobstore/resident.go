package blobstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"gaggle/wire"
)

// A resident is a tree laid out as a directory.
type resident struct {
	key
	dir    string
	serial uint64        // makes dir unlike that of an earlier layout of the tree still in use
	ready  chan struct{} // closed when it is built or has failed
	cancel func()        // ends building

	// Guarded by the shelf's mu.
	refs  int
	use   uint64
	extra int64 // bytes it takes beside the linked files
	err   error // set before ready is closed
	stale bool  // not whole any more: not handed out again, removed with the last reference
}

// maxLayout bounds the names in one laid out tree: a small tree that names another again and
// again would otherwise fill any disk.
const maxLayout = 2_000_000

// Resident returns a read-only host directory with the tree's content: hard links to the store's
// files in the right mode, directories 0555, symlinks as they are, all times 0. It stays until
// release is called, and longer if there is room. It is built once: concurrent callers share it,
// and it outlives a clean stop. The error wraps ErrNotFound if a part of the tree is not here.
func (s *Store) Resident(ctx context.Context, space wire.Space, id wire.TreeID) (dir string, release func(), err error) {
	k := key{space, wire.Digest(id)}
	s.mu.Lock()
	r := s.residents[k]
	if r == nil {
		r = s.newResident(k)
	}
	r.refs++
	s.active[k]++
	s.root(k)
	s.table.clock++
	r.use = s.table.clock
	if e := s.table.in(space, k.digest); e != nil {
		s.table.touch(e)
	}
	s.mu.Unlock()
	release = sync.OnceFunc(func() { s.leave(r) })
	select {
	case <-r.ready:
	case <-ctx.Done():
		release()
		return "", nil, fmt.Errorf("laying out tree %s: %w", id, ctx.Err())
	}
	if r.err != nil {
		release()
		return "", nil, r.err
	}
	return r.dir, release, nil
}

// newResident starts building. Called with mu held.
func (s *Store) newResident(k key) *resident {
	ctx, cancel := context.WithCancel(context.Background())
	s.serial++
	r := &resident{key: k, serial: s.serial, dir: s.residentDir(k, s.serial), ready: make(chan struct{}), cancel: cancel}
	s.residents[k] = r
	s.wg.Go(func() {
		extra, err := s.build(ctx, r)
		cancel()
		s.mu.Lock()
		if r.err = err; err == nil {
			r.extra = extra
			s.extra += extra
		} else if s.residents[k] == r {
			delete(s.residents, k)
		}
		abandoned := r.stale && err == nil
		close(r.ready)
		s.mu.Unlock()
		if abandoned {
			s.razeResident(r)
		}
		s.settle()
	})
	return r
}

// residentDir returns the directory for one layout of a tree.
func (s *Store) residentDir(k key, serial uint64) string {
	return filepath.Join(s.dir, "resident", spaceDir(k.space), k.digest.String()+"-"+strconv.FormatUint(serial, 10))
}

// leave takes back one reference.
func (s *Store) leave(r *resident) {
	s.mu.Lock()
	r.refs--
	s.unneed(r.key)
	idle := r.refs == 0
	if idle {
		select {
		case <-r.ready:
			idle = r.stale && r.err == nil
		default: // nobody waits for it any more
			r.cancel()
			if s.residents[r.key] == r {
				delete(s.residents, r.key)
			}
			r.stale = true
			idle = false
		}
	}
	s.mu.Unlock()
	if idle {
		s.razeResident(r)
	}
}

// settleResidents stops handing out trees that are not whole any more and removes those that
// nobody uses.
func (h *shelf) settleResidents() {
	h.mu.Lock()
	var list []*resident
	for _, r := range h.residents {
		list = append(list, r)
	}
	h.mu.Unlock()
	for _, r := range list {
		if h.isWhole(r.space, wire.Object{Kind: wire.Dir, Digest: r.digest}, false) {
			continue
		}
		h.mu.Lock()
		built := false
		select {
		case <-r.ready:
			built = r.err == nil && !r.stale
		default: // building finds out by itself
		}
		if built {
			r.stale = true
			delete(h.residents, r.key)
		}
		idle := built && r.refs == 0
		h.mu.Unlock()
		if idle {
			h.raze(r)
		}
	}
}

// razeResident removes a stale tree that nobody uses.
func (s *Store) razeResident(r *resident) {
	s.mu.Lock()
	s.extra -= r.extra
	r.extra = 0
	s.mu.Unlock()
	if err := s.discard(r.dir); err != nil {
		s.log.Error("cannot remove a laid out tree", "dir", r.dir, "err", err)
	}
}

// discard removes a directory of read-only directories. It is moved to tmp first, so that a stop
// in the middle leaves no half.
func (s *Store) discard(dir string) error {
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "gone-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(dir, filepath.Join(tmp, "tree")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return removeTree(tmp)
}

// removeTree removes a directory even if it holds read-only ones.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// build lays out a tree in a temporary directory and gives it its name. It returns the bytes
// that its directories take.
func (s *Store) build(ctx context.Context, r *resident) (extra int64, err error) {
	missing, err := s.missing(r.space, wire.Object{Kind: wire.Dir, Digest: r.digest}, true)
	if err != nil {
		return 0, err
	}
	if len(missing) > 0 {
		return 0, fmt.Errorf("laying out tree %s: %d parts are missing, one is %s: %w",
			wire.TreeID(r.digest), len(missing), missing[0].CID(), ErrNotFound)
	}
	if n, err := s.layoutSize(r.digest); err != nil {
		return 0, err
	} else if n > maxLayout {
		return 0, wire.Errorf(wire.CauseTooLarge, "", "tree %s has more than %d names", wire.TreeID(r.digest), maxLayout)
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "tree-")
	if err != nil {
		return 0, storing(err)
	}
	defer removeTree(tmp) // what is left of it
	top := filepath.Join(tmp, "tree")
	b := &builder{s: s, space: r.space}
	if err = os.Mkdir(top, 0o755); err == nil {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(2 * runtime.GOMAXPROCS(0))
		g.Go(func() error { return b.fill(gctx, g, top, r.digest, 0) })
		err = g.Wait()
	}
	s.settle() // in case a part was found wrong
	if err == nil {
		err = s.reveal(top, r)
	}
	if err != nil {
		return 0, fmt.Errorf("laying out tree %s: %w", wire.TreeID(r.digest), err)
	}
	return b.dirs.Load()*charge(4096) + b.names.Load()*64, nil
}

// layoutSize returns how many names the tree has, laid out; more than maxLayout if it is nested
// too deep. Each of its different directories is opened once.
func (h *shelf) layoutSize(d wire.Digest) (int64, error) {
	sizes := map[wire.Digest]int64{}
	var count func(d wire.Digest, depth int) (int64, error)
	count = func(d wire.Digest, depth int) (int64, error) {
		if n, ok := sizes[d]; ok {
			return n, nil
		}
		if depth > wire.MaxTreeDepth {
			return maxLayout + 1, nil
		}
		t, err := h.load(d)
		if err != nil {
			return 0, err
		}
		n := int64(len(t.Entries))
		for i := range t.Entries {
			if o := &t.Entries[i].Object; o.Kind == wire.Dir && n <= maxLayout {
				below, err := count(o.Digest, depth+1)
				if err != nil {
					return 0, err
				}
				n += below
			}
		}
		sizes[d] = min(n, maxLayout+1)
		return sizes[d], nil
	}
	return count(d, 0)
}

// reveal moves the finished directory to its name. Moving changes its "..", which needs write
// permission on it, so it becomes read-only only then.
func (s *Store) reveal(top string, r *resident) error {
	if err := makeDir(filepath.Dir(r.dir), 0o711); err != nil {
		return err
	}
	if err := os.Rename(top, r.dir); err != nil {
		return err
	}
	return sealDir(r.dir)
}

func sealDir(dir string) error {
	if err := os.Chmod(dir, 0o555); err != nil {
		return err
	}
	return os.Chtimes(dir, modTime, modTime)
}

// A builder lays out one tree.
type builder struct {
	s     *Store
	space wire.Space
	dirs  atomic.Int64
	names atomic.Int64
}

// fill makes the names of one directory. Directories below it are filled by others where the
// group has room; nothing is made in dir after it is sealed.
func (b *builder) fill(ctx context.Context, g *errgroup.Group, dir string, d wire.Digest, depth int) error {
	if depth > wire.MaxTreeDepth {
		return wire.Errorf(wire.CauseTooLarge, "", "directories are nested deeper than %d", wire.MaxTreeDepth)
	}
	t, err := b.s.loadTree(d)
	if err != nil {
		return err
	}
	b.dirs.Add(1)
	b.names.Add(int64(len(t.Entries)))
	for i := range t.Entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.entry(dir, &t.Entries[i]); err != nil {
			return err
		}
	}
	if depth > 0 {
		if err := sealDir(dir); err != nil {
			return err
		}
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Object.Kind != wire.Dir {
			continue
		}
		sub := func() error { return b.fill(ctx, g, filepath.Join(dir, e.Name), e.Object.Digest, depth+1) }
		if !g.TryGo(sub) {
			if err := sub(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) entry(dir string, e *wire.Entry) error {
	path := filepath.Join(dir, e.Name)
	var err error
	switch e.Object.Kind {
	case wire.Dir:
		err = os.Mkdir(path, 0o755)
	case wire.Symlink:
		if err = os.Symlink(e.Target, path); err == nil {
			err = setLinkTime(path, modTime)
		}
	default:
		return b.link(path, e.Object.Digest, formOf(e.Object.Kind == wire.Exec))
	}
	if err != nil {
		return storing(err)
	}
	return nil
}

// link gives a file of the store one more name.
func (b *builder) link(path string, d wire.Digest, f form) error {
	st := b.s.stripe(d)
	st.Lock()
	defer st.Unlock()
	from, err := b.s.formLocked(b.space, d, f)
	if err != nil {
		return err
	}
	err = os.Link(from, path)
	if errors.Is(err, errLinks) {
		return b.s.copyForm(from, path, d, f)
	}
	if err != nil {
		return storing(err)
	}
	return nil
}
