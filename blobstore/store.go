package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"gaggle/wire"
)

// ErrNotFound is wrapped when an object is not in the store under the given space: it never was,
// it was trimmed, or it was found corrupt and dropped. Its cause is wire.CauseNotFound.
var ErrNotFound error = &wire.Error{Cause: wire.CauseNotFound, Message: "not in this store"}

// Options configure a Store.
type Options struct {
	// MaxBytes bounds what the store takes on disk, in whole blocks; 0 is no bound but the disk's.
	MaxBytes int64
	// Logger takes what an operator should see; nil discards it.
	Logger *slog.Logger
	// OnLost, if not nil, is called with the objects given to Hold that are no longer whole,
	// because a part was trimmed or found corrupt. It is called without locks held, from any
	// goroutine; it must not block for long.
	OnLost func(wire.Space, []wire.Digest)
}

// A Store keeps blobs, trees and claims in one directory. It is safe for concurrent use.
type Store struct {
	*shelf
	dir   string
	lock  *os.File
	j     *journal
	sync  *syncer
	meta  *meta
	parts *parts

	claiming sync.Mutex // held while a set of claims is read and written back

	trimNow chan struct{} // asks for a trim; capacity 1
	quit    chan struct{} // closed by Close
	wg      sync.WaitGroup
	closing sync.Once
	closed  error
}

// checkpointEvery is how often what was put one period ago is made durable unasked. By then Linux
// has written most of it back by itself (dirty_expire_centisecs is 30 s).
const checkpointEvery = 30 * time.Second

// Open opens the store in dir, making the directory if need be. If another process has it open,
// the error is a *wire.Error of CauseBusy that names the directory and the process; it comes at
// once. After an unclean stop it first hashes again what was not known to be durable.
func Open(dir string, opt Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("making the store's directory: %w", err)
	}
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{{dir, 0o711}, {filepath.Join(dir, "tmp"), 0o700}, {filepath.Join(dir, "resident"), 0o711}} {
		if err := makeDir(d.path, d.mode); err != nil {
			return nil, fmt.Errorf("making the store's directory: %w", err)
		}
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	quiet := opt
	quiet.OnLost = nil // until there is a Store that it could ask
	s := &Store{shelf: newShelf(quiet), dir: dir, lock: lock,
		j:       &journal{path: filepath.Join(dir, "journal")},
		trimNow: make(chan struct{}, 1), quit: make(chan struct{})}
	s.shelf.load, s.shelf.isTree, s.shelf.unlink = s.loadTree, s.looksLikeTree, s.unlinkForms
	if s.parts, err = openParts(filepath.Join(dir, "part"), s.shelf); err != nil {
		lock.Close()
		return nil, err
	}
	s.shelf.spare = s.parts.spare
	s.shelf.note, s.shelf.flush, s.shelf.raze, s.shelf.kick = s.j.note, s.j.flush, s.razeResident, s.askTrim
	if err := s.recover(); err != nil {
		s.j.close()
		lock.Close()
		return nil, err
	}
	s.meta = openMeta(filepath.Join(dir, "meta.db"), s.log)
	s.sync = newSyncer(s)
	for _, t := range s.suspects() {
		s.sync.fresh(t.digest)
	}
	s.onLost = opt.OnLost
	s.wg.Go(s.tend)
	return s, nil
}

// makeDir makes a directory with exactly this mode, whatever the umask; one that is there is put
// right.
func makeDir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s is not a directory", path)
	}
	if err == nil && fi.Mode().Perm() != mode {
		err = os.Chmod(path, mode)
	}
	return err
}

// Close releases the store: handles still open go on, but nothing else may be called. What was
// put is kept; only what Sync said is durable survives a loss of power.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.quit)
		s.mu.Lock()
		for _, r := range s.residents {
			r.cancel()
		}
		s.mu.Unlock()
		s.wg.Wait()
		s.sync.close()
		err := s.meta.close()
		if err = errors.Join(err, s.j.rewrite(s.snapshot), s.j.close()); err == nil {
			err = s.markStopped()
		}
		s.closed = errors.Join(err, s.lock.Close())
	})
	return s.closed
}

// tend does what is due from time to time.
func (s *Store) tend() {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.wg.Go(func() {
		<-s.quit
		cancel()
	})
	for {
		select {
		case <-s.quit:
			return
		case <-s.trimNow:
			if _, err := s.trimDown(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("trimming the store failed", "err", err)
			}
		case <-tick.C:
			s.checkpoint(ctx)
			s.parts.expire(time.Now().Round(0))
		}
	}
}

// checkpoint makes durable what was put before the last one, and keeps the journal short.
func (s *Store) checkpoint(ctx context.Context) {
	if err := s.sync.flushAged(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("flushing the store failed", "err", err)
	}
	if s.j.grown() {
		if err := s.j.rewrite(s.snapshot); err != nil {
			s.log.Error("shortening the store's journal failed", "err", err)
		}
	}
}

func (s *Store) askTrim() {
	select {
	case s.trimNow <- struct{}{}:
	default:
	}
}

// Stat returns the length of an object and whether it is here. It counts as a use.
func (s *Store) Stat(space wire.Space, d wire.Digest) (size int64, ok bool) { return s.stat(space, d) }

// Missing returns what of o's closure is not here: itself, and for a Dir everything below. A tree
// that is missing hides what is below it. Each object is named once. It counts as a use of all
// that is here. The error is of the disk, or of bytes named as a directory that are none.
func (s *Store) Missing(space wire.Space, o wire.Object) ([]wire.Object, error) {
	return s.missing(space, o, true)
}

// Pin keeps an object, and what is below it if it is a tree, from being trimmed until Unpin with
// the same owner. The object may come later. Pins outlive the process; the next Sync makes them
// durable.
func (s *Store) Pin(space wire.Space, d wire.Digest, owner string) { s.pin(space, d, owner) }

// Unpin takes back one owner's pin, if there is one.
func (s *Store) Unpin(space wire.Space, d wire.Digest, owner string) { s.unpin(space, d, owner) }

// Hold remembers that o is here whole, as a top-level object to be reported to the coordinator.
// It is trimmed like anything else; when a part of it goes, it is held no more and OnLost is
// told. Of an object that is not here whole it only logs.
func (s *Store) Hold(space wire.Space, o wire.Object) { s.hold(space, o) }

// Held yields the objects given to Hold that are still whole, ordered by space and digest.
func (s *Store) Held() iter.Seq2[wire.Space, wire.Object] { return s.holds() }

// Trim drops the longest unused objects until the store is well below MaxBytes, and returns the
// bytes freed. Without a bound it does nothing.
func (s *Store) Trim(ctx context.Context) (freed int64, err error) { return s.trimDown(ctx) }

// TrimTo drops the longest unused objects until the store takes at most goal bytes, whatever its
// bound, and returns the bytes freed. What is pinned, needed or leased stays.
func (s *Store) TrimTo(ctx context.Context, goal int64) (freed int64, err error) {
	return s.trim(ctx, max(0, goal))
}

// Share returns half of what the disk has for a store, what it takes already included; known is false if
// that cannot be told.
func (s *Store) Share() (half int64, known bool) { return share(s.dir, s.Used()) }

func share(dir string, used int64) (half int64, known bool) {
	free, known := FreeBytes(dir)
	return (free + used) / 2, known
}

// Bound sets MaxBytes. Call it before anything is put.
func (s *Store) Bound(max int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = max
}

// Used returns the bytes the store takes on disk, as MaxBytes counts them.
func (s *Store) Used() int64 { return s.usedNow() }

// Tree returns a decoded directory. The error wraps ErrNotFound if it is not here, and is of
// wire.CauseInvalid if the bytes are not a directory's.
func (s *Store) Tree(space wire.Space, id wire.TreeID) (*wire.Tree, error) {
	if _, ok := s.stat(space, wire.Digest(id)); !ok {
		return nil, notFound(space, wire.Digest(id))
	}
	return s.loadTree(wire.Digest(id))
}

func notFound(space wire.Space, d wire.Digest) error {
	return fmt.Errorf("object %s of space %s: %w", d, space, ErrNotFound)
}

// loadTree reads and verifies a tree of any space.
func (s *Store) loadTree(d wire.Digest) (*wire.Tree, error) {
	space, ok := s.anySpace(d)
	if !ok {
		return nil, fmt.Errorf("tree %s: %w", d, ErrNotFound)
	}
	b, err := s.Open(space, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return decodeTree(b)
}

// decodeTree reads a tree from an open blob, bounded.
func decodeTree(b *Blob) (*wire.Tree, error) {
	if b.Size() > wire.MaxObject {
		return nil, wire.Errorf(wire.CauseInvalid, "", "object %s of %d bytes is no directory", b.want, b.Size())
	}
	data := make([]byte, b.Size())
	if _, err := io.ReadFull(b, data); err != nil {
		return nil, err
	}
	t, err := wire.DecodeTree(data)
	if err != nil {
		return nil, &wire.Error{Cause: wire.CauseInvalid, Message: err.Error()}
	}
	return t, nil
}

// anySpace returns a space that sees the object.
func (h *shelf) anySpace(d wire.Digest) (wire.Space, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.table.find(d)
	if e == nil {
		return "", false
	}
	return h.table.sets.names[h.table.sets.lists[e.spaces][0]], true
}

// treeStart is how every encoded tree begins: an array of two, version 1.
const treeStart = "\x82\x01"

// looksLikeTree reports whether the object could be a tree.
func (s *Store) looksLikeTree(d wire.Digest) bool {
	space, ok := s.anySpace(d)
	if !ok {
		return false
	}
	f, err := os.Open(s.existing(space, d))
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(treeStart))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == treeStart
}

// path returns the name of one form of an object.
func (s *Store) path(space wire.Space, d wire.Digest, f form) string {
	name := d.String()
	shard := name[:2]
	if f == executable {
		name += "x"
	}
	return filepath.Join(s.dir, spaceDir(space), shard, name)
}

// existing returns the name of whichever form is there.
func (s *Store) existing(space wire.Space, d wire.Digest) string {
	s.mu.Lock()
	f := plain
	if e := s.table.find(d); e != nil && e.forms&plain == 0 {
		f = executable
	}
	s.mu.Unlock()
	return s.path(space, d, f)
}

// unlinkForms removes files of an object.
func (s *Store) unlinkForms(d wire.Digest, spaces []wire.Space, forms form) {
	for _, space := range spaces {
		for _, f := range []form{plain, executable} {
			if forms&f == 0 {
				continue
			}
			if err := os.Remove(s.path(space, d, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
				s.log.Error("cannot remove a file of the store", "err", err)
			}
		}
	}
}

// spaceDir returns the directory name of a space. File systems that fold case, and Windows' names
// with a meaning or a final dot, must not make two spaces one.
func spaceDir(space wire.Space) string {
	var b strings.Builder
	b.WriteString("s-")
	for _, c := range []byte(space) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// parseSpaceDir is the inverse of spaceDir.
func parseSpaceDir(name string) (wire.Space, bool) {
	rest, ok := strings.CutPrefix(name, "s-")
	if !ok {
		return "", false
	}
	var b []byte
	for i := 0; i < len(rest); i++ {
		if rest[i] != '%' {
			b = append(b, rest[i])
			continue
		}
		if i+3 > len(rest) {
			return "", false
		}
		c, err := strconv.ParseUint(rest[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(c))
		i += 2
	}
	space := wire.Space(b)
	return space, space.Valid() && spaceDir(space) == name
}
