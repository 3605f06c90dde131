package blobstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"gaggle/wire"
)

// recover brings the table to what the disk holds. After a clean stop the journal says it all;
// after any other the files do, and each form that the journal does not call durable is hashed.
func (s *Store) recover() error {
	boot, whole, err := s.replay()
	if err != nil {
		return err
	}
	running := filepath.Join(s.dir, "running")
	_, err = os.Stat(running)
	clean := errors.Is(err, os.ErrNotExist)
	sameBoot := boot != "" && boot == bootID()
	if err := s.sweep(); err != nil {
		return err
	}
	switch {
	case !clean || !whole:
		err = s.rescan()
	case !sameBoot:
		err = s.verify(s.suspects())
	default:
		err = nil
	}
	if err != nil {
		return err
	}
	s.prune()
	s.dropBroken()
	s.sweepResidents(clean && whole)
	if err := s.j.rewrite(s.snapshot); err != nil {
		return err
	}
	if err := os.WriteFile(running, nil, 0o600); err != nil {
		return fmt.Errorf("marking the store as open: %w", err)
	}
	return fsyncDir(s.dir)
}

// markStopped removes the mark of an open store.
func (s *Store) markStopped() error {
	if err := os.Remove(filepath.Join(s.dir, "running")); err != nil {
		return fmt.Errorf("marking the store as closed: %w", err)
	}
	return fsyncDir(s.dir)
}

// replay reads the journal into the table. Boot is the kernel run in which the last snapshot was
// written.
func (s *Store) replay() (boot string, whole bool, err error) {
	whole, err = readJournal(s.j.path, func(r record) {
		if r.kind == recEnd {
			boot = r.owner
			s.table.clock = max(s.table.clock, r.use)
		}
		s.apply(r)
	})
	if !whole && err == nil {
		if _, serr := os.Stat(s.j.path); serr == nil {
			s.log.Warn("the store's journal is damaged; looking at all files", "dir", s.dir)
		}
	}
	return boot, whole, err
}

func (s *Store) apply(r record) {
	k := key{r.space, r.digest}
	switch r.kind {
	case recBlob:
		s.applyBlob(r)
	case recResident:
		s.serial = max(s.serial, r.serial)
		ready := make(chan struct{})
		close(ready)
		s.residents[k] = &resident{key: k, serial: r.serial, dir: s.residentDir(k, r.serial),
			ready: ready, cancel: func() {}, use: r.use, extra: r.size}
		s.extra += r.size
	case recPin:
		if !slices.Contains(s.pins[k], r.owner) {
			s.pins[k] = append(s.pins[k], r.owner)
		}
	case recUnpin:
		s.pins[k] = slices.DeleteFunc(s.pins[k], func(o string) bool { return o == r.owner })
		if len(s.pins[k]) == 0 {
			delete(s.pins, k)
		}
	case recHold:
		s.held[hold{k, r.object}] = uint64(r.size)
	case recUnhold:
		delete(s.held, hold{k, r.object})
	case recSynced:
		// An object put after the snapshot is not in the table yet; a rescan gives it its files.
		e := s.table.add(r.digest, 0)
		e.synced |= r.forms
	case recDropped:
		if e := s.table.find(r.digest); e != nil {
			s.table.remove(e)
		}
	}
}

func (s *Store) applyBlob(r record) {
	e := s.table.add(r.digest, r.size)
	for _, space := range r.spaces {
		id, err := s.table.sets.id(space)
		if err != nil {
			continue
		}
		e.spaces = s.table.sets.with(e.spaces, id)
	}
	if e.spaces == 0 {
		s.table.remove(e)
		return
	}
	s.table.setForms(e, r.forms)
	e.synced = r.synced & r.forms
	e.use = r.use
	s.table.clock = max(s.table.clock, r.use)
}

// snapshot emits the state as records. What is under way is not in it.
func (s *Store) snapshot(put func(record) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.table.all {
		e := &s.table.all[i]
		if e.forms == 0 {
			continue
		}
		err := put(record{kind: recBlob, digest: e.digest, size: e.size, use: e.use, forms: e.forms,
			synced: e.synced, spaces: s.table.sets.spaces(e.spaces)})
		if err != nil {
			return err
		}
	}
	for k, r := range s.residents {
		select {
		case <-r.ready:
			err := put(record{kind: recResident, space: k.space, digest: k.digest, size: r.extra, use: r.use, serial: r.serial})
			if err != nil {
				return err
			}
		default:
		}
	}
	for k, owners := range s.pins {
		for _, o := range owners {
			if err := put(record{kind: recPin, space: k.space, digest: k.digest, owner: o}); err != nil {
				return err
			}
		}
	}
	for k, size := range s.held {
		if err := put(record{kind: recHold, space: k.space, object: k.kind, digest: k.digest, size: int64(size)}); err != nil {
			return err
		}
	}
	return put(record{kind: recEnd, owner: bootID(), use: s.table.clock})
}

// sweep removes what was being written.
func (s *Store) sweep() error {
	tmp := filepath.Join(s.dir, "tmp")
	list, err := os.ReadDir(tmp)
	if err != nil {
		return fmt.Errorf("sweeping temporary files: %w", err)
	}
	for _, e := range list {
		if err := removeTree(filepath.Join(tmp, e.Name())); err != nil {
			return fmt.Errorf("sweeping temporary files: %w", err)
		}
	}
	return nil
}

// dropBroken takes back holds of what is not whole. Nobody is told: what is held is reported
// anew after every start.
func (s *Store) dropBroken() {
	for _, u := range s.heldNow() {
		if !s.isWhole(u.space, u.object(), false) {
			delete(s.held, u.hold)
		}
	}
}

// sweepResidents removes laid out trees that the journal does not know, and after an unclean
// stop all of them.
func (s *Store) sweepResidents(keep bool) {
	if !keep {
		clear(s.residents)
		s.extra = 0
	}
	known := map[string]struct{}{}
	for k, r := range s.residents {
		if _, err := os.Lstat(r.dir); err != nil || !s.isWhole(k.space, wire.Object{Kind: wire.Dir, Digest: k.digest}, false) {
			delete(s.residents, k)
			s.extra -= r.extra
			continue
		}
		known[r.dir] = struct{}{}
	}
	dirs, _ := filepath.Glob(filepath.Join(s.dir, "resident", "*", "*"))
	for _, dir := range dirs {
		if _, ok := known[dir]; ok {
			continue
		}
		if err := s.discard(dir); err != nil {
			s.log.Error("cannot remove a laid out tree", "dir", dir, "err", err)
		}
	}
}
