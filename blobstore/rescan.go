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
			out = append(out, target{e.digest, s.table.sets.spaces(e.spaces), e.spaces, e.born, e.forms &^ e.synced})
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
