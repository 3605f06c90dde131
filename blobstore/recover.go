package blobstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

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

// A found is one file of an object, as a scan sees it.
type found struct {
	digest wire.Digest
	space  wire.Space
	form   form
	size   int64
}

// rescan makes the table what the files say, keeping recency and what is known to be durable.
func (s *Store) rescan() error {
	s.log.Info("the store was not closed; looking at its files", "dir", s.dir)
	files, err := s.scan()
	if err != nil {
		return err
	}
	for i := range s.table.all {
		e := &s.table.all[i]
		synced := e.synced
		s.table.setForms(e, 0)
		e.synced, e.spaces = synced, 0
	}
	for _, f := range files {
		if err := s.admitFound(f); err != nil {
			return err
		}
	}
	s.prune()
	s.evenForms(files)
	return s.verify(s.suspects())
}

// prune removes entries without files: of records about objects that are gone.
func (s *Store) prune() {
	for i := range s.table.all {
		e := &s.table.all[i]
		if e.synced &= e.forms; e.forms == 0 && s.table.find(e.digest) == e {
			s.table.remove(e)
		}
	}
}

func (s *Store) admitFound(f found) error {
	id, err := s.table.sets.id(f.space)
	if err != nil {
		return err
	}
	e := s.table.add(f.digest, f.size)
	if e.size != f.size {
		s.table.used -= e.forms.count() * charge(e.size)
		e.size, e.synced = f.size, 0
		s.table.used += e.forms.count() * charge(e.size)
	}
	e.spaces = s.table.sets.with(e.spaces, id)
	synced := e.synced
	s.table.setForms(e, e.forms|f.form)
	e.synced = synced
	return nil
}

// evenForms sees to it that every form of an object has a name in every space that sees it: a
// crash may have left some. The other form, which is there, is made anew from the one kept.
func (s *Store) evenForms(files []found) {
	type name struct {
		d wire.Digest
		f form
	}
	count := map[name]int{}
	for _, f := range files {
		count[name{f.digest, f.form}]++
	}
	for _, f := range files {
		e := s.table.find(f.digest)
		if e == nil || e.forms&f.form == 0 {
			continue
		}
		n := len(s.table.sets.lists[e.spaces])
		if count[name{f.digest, f.form}] == n {
			continue
		}
		s.unlinkForms(f.digest, s.table.sets.spaces(e.spaces), f.form)
		if s.table.setForms(e, e.forms&^f.form); e.forms == 0 {
			s.table.remove(e)
		}
	}
}

// scan lists the files of all spaces.
func (s *Store) scan() ([]found, error) {
	spaces, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("scanning the store: %w", err)
	}
	var out []found
	for _, sd := range spaces {
		space, ok := parseSpaceDir(sd.Name())
		if !ok {
			continue
		}
		shards, err := os.ReadDir(filepath.Join(s.dir, sd.Name()))
		if err != nil {
			return nil, fmt.Errorf("scanning the store: %w", err)
		}
		lists := make([][]found, len(shards))
		var g errgroup.Group
		g.SetLimit(2 * runtime.GOMAXPROCS(0))
		for i, shard := range shards {
			g.Go(func() (err error) {
				lists[i], err = scanShard(filepath.Join(s.dir, sd.Name(), shard.Name()), space)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, fmt.Errorf("scanning the store: %w", err)
		}
		out = append(out, slices.Concat(lists...)...)
	}
	return out, nil
}

func scanShard(dir string, space wire.Space) (out []found, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		d, form, ok := parseObjectName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			return nil, err
		}
		out = append(out, found{d, space, form, fi.Size()})
	}
	return out, nil
}

// parseObjectName reads the name of an object's file.
func parseObjectName(name string) (d wire.Digest, f form, ok bool) {
	f = plain
	if rest, cut := strings.CutSuffix(name, "x"); cut {
		name, f = rest, executable
	}
	if len(name) != 2*len(d) || strings.ToLower(name) != name {
		return d, 0, false
	}
	_, err := hex.Decode(d[:], []byte(name))
	return d, f, err == nil
}

// suspects returns the objects with a form that is not known to be durable.
func (s *Store) suspects() (out []target) {
	for i := range s.table.all {
		if e := &s.table.all[i]; e.forms != e.synced {
			out = append(out, target{e.digest, s.table.sets.spaces(e.spaces), e.forms &^ e.synced})
		}
	}
	return out
}

// verify hashes files and drops those with wrong bytes.
func (s *Store) verify(targets []target) error {
	var g errgroup.Group
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, t := range targets {
		g.Go(func() error {
			for _, f := range []form{plain, executable} {
				if t.forms&f == 0 {
					continue
				}
				if err := s.verifyForm(t, f); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("verifying after an unclean stop: %w", err)
	}
	if len(targets) > 0 {
		s.log.Info("verified what was not known to be durable", "objects", len(targets))
	}
	return nil
}

// verifyForm hashes the file under each of its names: after a crash they need not be one inode.
func (s *Store) verifyForm(t target, f form) error {
	var first os.FileInfo
	for _, space := range t.spaces {
		path := s.path(space, t.digest, f)
		fi, err := os.Lstat(path)
		if err == nil && first != nil && os.SameFile(first, fi) {
			continue
		}
		ok := false
		if err == nil {
			ok, err = hashesTo(path, t.digest)
		} else if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err == nil && ok {
			first = fi
			err = setForm(path, f)
		}
		if err != nil {
			return err
		}
		if !ok {
			s.log.Warn("dropped a torn object", "digest", t.digest)
			s.mu.Lock()
			if e := s.table.find(t.digest); e != nil {
				if s.table.setForms(e, e.forms&^f); e.forms == 0 {
					s.table.remove(e)
				}
			}
			s.mu.Unlock()
			s.unlinkForms(t.digest, t.spaces, f)
			return nil
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
