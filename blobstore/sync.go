package blobstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"gaggle/wire"
)

// syncWorkers is how many files are flushed at once. One flush of a small file is 0.2-0.4 ms of
// waiting (measured), and a journalling file system commits those that wait together in one go.
const syncWorkers = 8

// A syncer flushes files of the store. Requests that arrive while it is busy are served together
// by the next round: an object asked for by several is flushed once, a directory once a round.
type syncer struct {
	s    *Store
	kick chan struct{} // capacity 1
	quit chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	waiting []*flush
	young   []wire.Digest       // put since the last checkpoint
	aged    []wire.Digest       // put before
	shards  map[string]struct{} // made since the last round: their own names are not durable
}

// A flush is one request.
type flush struct {
	digests []wire.Digest
	done    chan error // capacity 1
}

func newSyncer(s *Store) *syncer {
	y := &syncer{s: s, kick: make(chan struct{}, 1), quit: make(chan struct{}), shards: map[string]struct{}{}}
	y.wg.Go(y.loop)
	return y
}

// close ends the loop; nobody may be waiting.
func (y *syncer) close() {
	close(y.quit)
	y.wg.Wait()
}

// fresh notes that an object was put.
func (y *syncer) fresh(d wire.Digest) {
	y.mu.Lock()
	y.young = append(y.young, d)
	y.mu.Unlock()
}

// newDirs notes that a shard directory was made.
func (y *syncer) newDirs(shard string) {
	y.mu.Lock()
	y.shards[shard] = struct{}{}
	y.mu.Unlock()
}

// Sync returns when the objects and what is below them are durable: they, and all pins and holds
// made before, survive a loss of power. The error wraps ErrNotFound if something is not here.
func (s *Store) Sync(ctx context.Context, space wire.Space, objs []wire.Object) error {
	for _, o := range objs {
		defer s.need(key{space, o.Digest})()
	}
	s.mu.Lock()
	doubts := s.doubts()
	s.mu.Unlock()
	ds, opened, err := s.present(space, objs)
	if err != nil {
		return err
	}
	// One may have changed form, or become another space's too, while it was flushed.
	for again := true; again; {
		if err := s.sync.flush(ctx, ds); err != nil {
			return fmt.Errorf("making objects durable: %w", err)
		}
		if ds, err = s.unsynced(space, ds); err != nil {
			return err
		}
		again = len(ds) > 0
	}
	s.rememberDurable(space, opened, doubts)
	return nil
}

// present returns the digests of objects and of all below them that is not known to be durable, and
// of the trees among them, or an error that wraps ErrNotFound.
func (h *shelf) present(space wire.Space, objs []wire.Object) (ds, opened []wire.Digest, err error) {
	opened, verr := h.visit(space, objs, true, h.durable, func(o wire.Object, here bool) bool {
		if !here {
			err = fmt.Errorf("making objects durable: %s: %w", o.CID(), ErrNotFound)
			return false
		}
		ds = append(ds, o.Digest)
		return true
	})
	return ds, opened, errors.Join(verr, err)
}

// unsynced returns those of the objects that are not durable, or an error that wraps ErrNotFound
// if one went away: found corrupt, say.
func (s *Store) unsynced(space wire.Space, ds []wire.Digest) (out []wire.Digest, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		e := s.table.in(space, d)
		if e == nil {
			return nil, fmt.Errorf("making objects durable: object %s went away: %w", d, ErrNotFound)
		}
		if e.synced == 0 {
			out = append(out, d)
		}
	}
	return out, nil
}

// flushAged flushes what was put before the last call.
func (y *syncer) flushAged(ctx context.Context) error {
	y.mu.Lock()
	due := y.aged
	y.aged, y.young = y.young, nil
	y.mu.Unlock()
	return y.flush(ctx, due)
}

// flush returns when the objects that are here are durable.
func (y *syncer) flush(ctx context.Context, ds []wire.Digest) error {
	f := &flush{digests: ds, done: make(chan error, 1)}
	y.mu.Lock()
	y.waiting = append(y.waiting, f)
	y.mu.Unlock()
	select {
	case y.kick <- struct{}{}:
	default:
	}
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-y.quit:
		return os.ErrClosed
	}
}

func (y *syncer) loop() {
	for {
		select {
		case <-y.quit:
			return
		case <-y.kick:
		}
		y.mu.Lock()
		round := y.waiting
		y.waiting = nil
		y.mu.Unlock()
		if len(round) == 0 {
			continue
		}
		err := y.round(round)
		for _, f := range round {
			f.done <- err
		}
	}
}

// A target is an object to flush: one name of each of its unflushed forms, and the directories
// of all its names.
type target struct {
	digest wire.Digest
	spaces []wire.Space
	set    setID // the same as spaces
	born   uint64
	forms  form
}

// round flushes files, then the directories that name them, then the journal.
func (y *syncer) round(fs []*flush) error {
	targets := y.targets(fs)
	y.mu.Lock()
	made := y.shards
	y.shards = map[string]struct{}{}
	y.mu.Unlock()
	dirs := map[string]struct{}{}
	if len(made) > 0 {
		dirs[y.s.dir] = struct{}{}
	}
	for shard := range made {
		dirs[filepath.Dir(shard)] = struct{}{}
	}
	err := y.files(targets, dirs)
	if err == nil {
		err = y.dirs(dirs)
	}
	if err != nil {
		y.mu.Lock()
		for shard := range made {
			y.shards[shard] = struct{}{}
		}
		y.mu.Unlock()
		return err
	}
	return y.confirm(targets)
}

// targets returns what the requests leave to do.
func (y *syncer) targets(fs []*flush) []target {
	var out []target
	seen := map[wire.Digest]struct{}{}
	s := y.s
	for _, f := range fs {
		s.mu.Lock()
		for _, d := range f.digests {
			if _, ok := seen[d]; ok {
				continue
			}
			seen[d] = struct{}{}
			if e := s.table.find(d); e != nil && e.forms != e.synced {
				out = append(out, target{d, s.table.sets.spaces(e.spaces), e.spaces, e.born, e.forms &^ e.synced})
			}
		}
		s.mu.Unlock()
	}
	return out
}

// files flushes the targets' files and collects their directories.
func (y *syncer) files(targets []target, dirs map[string]struct{}) error {
	var g errgroup.Group
	g.SetLimit(syncWorkers)
	for _, t := range targets {
		for _, space := range t.spaces {
			dirs[filepath.Dir(y.s.path(space, t.digest, plain))] = struct{}{}
		}
		for _, f := range []form{plain, executable} {
			if t.forms&f != 0 {
				g.Go(func() error { return fsyncFile(y.s.path(t.spaces[0], t.digest, f)) })
			}
		}
	}
	return g.Wait()
}

func (y *syncer) dirs(dirs map[string]struct{}) error {
	var g errgroup.Group
	g.SetLimit(syncWorkers)
	for dir := range dirs {
		g.Go(func() error { return fsyncDir(dir) })
	}
	return g.Wait()
}

// confirm notes what is durable now.
func (y *syncer) confirm(targets []target) error {
	s := y.s
	rs := make([]record, 0, len(targets))
	s.mu.Lock()
	for _, t := range targets {
		e := s.table.find(t.digest)
		if e == nil || e.born != t.born || e.spaces != t.set || e.forms&t.forms != t.forms {
			continue // it was put anew, joined by a space or changed form meanwhile
		}
		e.synced |= t.forms
		rs = append(rs, record{kind: recSynced, digest: t.digest, forms: t.forms})
	}
	s.mu.Unlock()
	if len(rs) > 0 {
		if err := s.j.note(rs...); err != nil {
			return err
		}
	}
	return s.j.flush()
}

// fsyncFile flushes one file. One that is gone was trimmed or has changed form: its flush is
// then not confirmed.
func fsyncFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
