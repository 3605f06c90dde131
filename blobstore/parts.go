package blobstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gaggle/wire"
)

// Of each blob on its way in pieces there are two files in part/, named by space, digest and size:
//
//	NAME     the pieces at their places, and holes
//	NAME.n   "gagpart1", the manifest's states, then for each piece that came its number, 4 bytes
//
// Neither is flushed: what Resume finds it checks.
const partMagic = "gagpart1"

const (
	// maxLeft bounds the partial blobs that nobody receives at the moment, and leftFor how long they
	// are kept. They take room like objects, and are the first to go where that is short.
	maxLeft = 16
	leftFor = 24 * time.Hour
)

// noContext is for admission that is not given up half way.
var noContext = context.Background()

// parts are the partial blobs of a Store.
type parts struct {
	dir   string
	shelf *shelf

	mu   sync.Mutex      // guards the fields below
	busy map[string]bool // being received
	left []leftPart      // admitted; the longest unused first
}

type leftPart struct {
	name string
	size int64
	at   time.Time // when it was left
}

// openParts takes over what an earlier process has left.
func openParts(dir string, h *shelf) (*parts, error) {
	k := &parts{dir: dir, shelf: h, busy: map[string]bool{}}
	if err := makeDir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the store's directory: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for partial blobs: %w", err)
	}
	var all []leftPart
	for _, e := range list {
		name, notes := strings.CutSuffix(e.Name(), ".n")
		if !notes {
			continue
		}
		fi, err := e.Info()
		size, ok := partSize(name)
		if _, derr := os.Stat(filepath.Join(dir, name)); err == nil && derr == nil && ok && time.Since(fi.ModTime()) < leftFor {
			all = append(all, leftPart{name, size, fi.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b leftPart) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.name, b.name)) })
	kept := map[string]bool{}
	for _, f := range all[max(0, len(all)-maxLeft):] {
		if h.max > 0 && charge(f.size) > h.max/4 {
			continue
		}
		k.left = append(k.left, f)
		h.pending += charge(f.size)
		kept[f.name], kept[f.name+".n"] = true, true
	}
	for _, e := range list {
		if !kept[e.Name()] {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("removing a partial blob: %w", err)
			}
		}
	}
	return k, nil
}

func partName(space wire.Space, d wire.Digest, size uint64) string {
	return fmt.Sprintf("%s-%s-%d", spaceDir(space), d, size)
}

func partSize(name string) (int64, bool) {
	_, text, ok := strings.Cut(name[max(0, strings.LastIndexByte(name, '-')):], "-")
	n, err := strconv.ParseUint(text, 10, 64)
	return int64(n), ok && err == nil && n <= wire.MaxBlob
}

func (k *parts) path(name string) string { return filepath.Join(k.dir, name) }

// take claims a name. It reports whether a partial blob was left there, which is then admitted.
func (k *parts) take(name string) (left bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy[name] {
		return false, wire.Errorf(wire.CauseBusy, "", "the blob is being received already")
	}
	k.busy[name] = true
	i := slices.IndexFunc(k.left, func(l leftPart) bool { return l.name == name })
	if i >= 0 {
		k.left = slices.Delete(k.left, i, i+1)
	}
	return i >= 0, nil
}

func (k *parts) free(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.busy, name)
}

func (k *parts) receive(s *Store, space wire.Space, m *wire.Manifest) (*Partial, error) {
	if m.Size > wire.MaxBlob {
		return nil, wire.Errorf(wire.CauseTooLarge, "", "object %s of %d bytes exceeds the bound of %d", m.Digest, m.Size, uint64(wire.MaxBlob))
	}
	p := &Partial{depot: s, parts: k, space: space, m: m, name: partName(space, m.Digest, m.Size), have: make([]bool, m.Pieces())}
	left, err := k.take(p.name)
	if err != nil {
		return nil, err
	}
	if !left {
		if err := k.shelf.admit(noContext, int64(m.Size)); err != nil {
			k.free(p.name)
			return nil, err
		}
	}
	if p.data, err = os.OpenFile(k.path(p.name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err == nil {
		if err = p.data.Truncate(int64(m.Size)); err == nil {
			err = p.rewriteNotes()
		}
	}
	if err != nil {
		k.shelf.giveBack(int64(m.Size))
		k.done(p)
		return nil, storing(err)
	}
	return p, nil
}

func (k *parts) resume(s *Store, space wire.Space, d wire.Digest, size uint64) *Partial {
	name := partName(space, d, size)
	left, err := k.take(name)
	if err != nil {
		return nil
	}
	if !left {
		k.free(name)
		return nil
	}
	p := &Partial{depot: s, parts: k, space: space, name: name, m: &wire.Manifest{Digest: d, Size: size}}
	if err := p.reload(); err != nil {
		s.log.Info("a partial blob cannot be gone on with", "digest", d, "error", err)
		k.shelf.giveBack(int64(size))
		k.done(p)
		return nil
	}
	return p
}

// reload reads what an earlier Partial has left and checks it.
func (p *Partial) reload() error {
	notes, err := os.ReadFile(p.parts.path(p.name + ".n"))
	if err != nil {
		return err
	}
	head := len(partMagic) + 32*(p.m.Pieces()-1)
	if len(notes) < head || !bytes.HasPrefix(notes, []byte(partMagic)) {
		return fmt.Errorf("its notes are damaged")
	}
	p.m.States = bytes.Clone(notes[len(partMagic):head])
	if p.data, err = os.OpenFile(p.parts.path(p.name), os.O_RDWR, 0o600); err != nil {
		return err
	}
	p.have = make([]bool, p.m.Pieces())
	buf := make([]byte, min(wire.PieceSize, p.m.Size))
	for list := notes[head:]; len(list) >= 4; list = list[4:] {
		i := int(binary.BigEndian.Uint32(list))
		if i >= len(p.have) || p.have[i] {
			continue
		}
		n, err := p.data.ReadAt(buf[:p.m.PieceLen(i)], int64(i)*wire.PieceSize)
		if err != nil && err != io.EOF {
			return err
		}
		if p.m.Check(i, buf[:n]) {
			p.have[i] = true
			p.n++
		}
	}
	return p.rewriteNotes()
}

// rewriteNotes writes the notes anew. Called with mu held, or before p is shared.
func (p *Partial) rewriteNotes() error {
	b := append([]byte(partMagic), p.m.States...)
	for i, have := range p.have {
		if have {
			b = binary.BigEndian.AppendUint32(b, uint32(i))
		}
	}
	f, err := os.OpenFile(p.parts.path(p.name+".n"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return storing(err)
	}
	if p.notes != nil {
		p.notes.Close()
	}
	p.notes = f
	if _, err := f.Write(b); err != nil {
		return storing(err)
	}
	return nil
}

// done removes what is left of a Partial that was published, or cannot go on.
func (k *parts) done(p *Partial) {
	p.closeFiles()
	os.Remove(k.path(p.name)) // gone if it was published
	os.Remove(k.path(p.name + ".n"))
	k.free(p.name)
}

func (p *Partial) closeFiles() {
	for _, f := range []*os.File{p.data, p.notes} {
		if f != nil {
			f.Close()
		}
	}
}

// leave keeps a Partial for later, in place of the oldest if there are many.
func (k *parts) leave(p *Partial) {
	p.closeFiles()
	k.mu.Lock()
	delete(k.busy, p.name)
	k.left = append(k.left, leftPart{p.name, int64(p.m.Size), time.Now().Round(0)}) // a suspended machine's time counts
	many := len(k.left) > maxLeft
	k.mu.Unlock()
	if many {
		k.spare()
	}
}

// spare removes the partial blob that was left first, and reports whether there was one.
func (k *parts) spare() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.left) == 0 {
		return false
	}
	k.removeFirst()
	return true
}

// expire removes the partial blobs that were left too long ago for anybody to go on with them.
func (k *parts) expire(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.left) > 0 && now.Sub(k.left[0].at) >= leftFor {
		k.removeFirst()
	}
}

// removeFirst removes the partial blob that was left first. Called with mu held.
func (k *parts) removeFirst() {
	l := k.left[0]
	k.left = k.left[1:]
	os.Remove(k.path(l.name))
	os.Remove(k.path(l.name + ".n"))
	k.shelf.giveBack(l.size)
}
