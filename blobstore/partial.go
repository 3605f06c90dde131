package blobstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"gaggle/wire"
)

// A Partial is a blob of which pieces come in, in any order. What is in it was checked against its
// manifest. It outlives the process until it is committed, see Resume. It is safe for concurrent use,
// but for Commit and Close, which must come last.
type Partial struct {
	depot depot
	parts *parts // nil in memory
	space wire.Space
	name  string

	writing sync.Mutex // held while bytes go to their place; taken before mu

	mu    sync.Mutex // guards the fields below
	m     *wire.Manifest
	have  []bool
	n     int      // of have
	data  *os.File // nil in memory
	notes *os.File // nil in memory
	bytes []byte   // in memory
	over  bool
}

// ErrWrongPiece is returned for bytes that are not the piece that they are said to be.
var ErrWrongPiece = errors.New("the bytes are not those of the piece")

// Receive begins a blob with a manifest, which must be whole, and need not be true. The error is as
// of Create.
func (s *Store) Receive(space wire.Space, m *wire.Manifest) (*Partial, error) {
	return s.parts.receive(s, space, m)
}

// Resume returns what an earlier Partial of the blob had got to, in this process or one before it;
// each piece is checked again. It returns nil if there is none.
func (s *Store) Resume(space wire.Space, d wire.Digest, size uint64) *Partial {
	return s.parts.resume(s, space, d, size)
}

// Receive is as in Store.
func (m *Memory) Receive(space wire.Space, man *wire.Manifest) (*Partial, error) {
	if man.Size > wire.MaxBlob {
		return nil, wire.Errorf(wire.CauseTooLarge, "", "object %s of %d bytes exceeds the bound of %d", man.Digest, man.Size, uint64(wire.MaxBlob))
	}
	if err := m.base().admit(noContext, int64(man.Size)); err != nil {
		return nil, err
	}
	return &Partial{depot: m, space: space, m: man, have: make([]bool, man.Pieces()), bytes: make([]byte, man.Size)}, nil
}

// Resume returns nil: nothing outlives a Memory's Partial.
func (m *Memory) Resume(wire.Space, wire.Digest, uint64) *Partial { return nil }

// Manifest is as in Store.
func (m *Memory) Manifest(ctx context.Context, space wire.Space, d wire.Digest) (*wire.Manifest, error) {
	return m.base().manifest(ctx, space, d, m.Open)
}

// Manifest returns the one that pieces are checked against.
func (p *Partial) Manifest() *wire.Manifest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m
}

// Has reports whether piece i is here.
func (p *Partial) Has(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have[i]
}

// Have returns which pieces are here.
func (p *Partial) Have() []bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.have)
}

// Whole reports whether all pieces are here.
func (p *Partial) Whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n == len(p.have)
}

// Write takes in piece i, and reports whether it was not here yet. The error is ErrWrongPiece, or of
// the disk, as of Writer.
func (p *Partial) Write(i int, b []byte) (fresh bool, err error) {
	m := p.Manifest()
	if !m.Check(i, b) {
		return false, ErrWrongPiece
	}
	return p.place(m, i, b)
}

// place puts piece i, which has passed by m, where it belongs. One at a time: what was looked at before
// others have written may be false by now, and must not overwrite what is true.
func (p *Partial) place(m *wire.Manifest, i int, b []byte) (fresh bool, err error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if !p.wants(m, i) {
		return false, nil
	}
	if p.bytes != nil {
		copy(p.bytes[i*wire.PieceSize:], b)
	} else if _, err := p.data.WriteAt(b, int64(i)*wire.PieceSize); err != nil {
		return false, storing(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wantsLocked(m, i) {
		return false, nil
	}
	if p.notes != nil {
		if _, err := p.notes.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			return false, storing(err)
		}
	}
	p.have[i] = true
	p.n++
	return true, nil
}

func (p *Partial) wants(m *wire.Manifest, i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wantsLocked(m, i)
}

// wantsLocked reports whether piece i is missing, and what passes by m still does. Called with mu held.
func (p *Partial) wantsLocked(m *wire.Manifest, i int) bool {
	return !p.over && !p.have[i] && (p.m == m || p.m.SameLink(m, i))
}

// Read fills b, which has room for it, with piece i and returns its length. It is checked again: the
// error wraps ErrNotFound if it is not here or wrong, and then it is not here any more.
func (p *Partial) Read(i int, b []byte) (int, error) {
	if !p.Has(i) {
		return 0, fmt.Errorf("piece %d: %w", i, ErrNotFound)
	}
	m := p.Manifest()
	b = b[:m.PieceLen(i)]
	if p.bytes != nil {
		copy(b, p.bytes[i*wire.PieceSize:])
	} else if _, err := p.data.ReadAt(b, int64(i)*wire.PieceSize); err != nil {
		return 0, fmt.Errorf("reading a piece: %w", err)
	}
	if !m.Check(i, b) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.m == m || p.m.SameLink(m, i) { // else it may have been written anew
			p.lose(i)
		}
		return 0, fmt.Errorf("piece %d is corrupt on disk: %w", i, ErrNotFound)
	}
	return len(b), nil
}

// lose forgets a piece. Called with mu held.
func (p *Partial) lose(i int) {
	if p.have[i] {
		p.have[i] = false
		p.n--
	}
}

// Adopt replaces the manifest by another one of the blob and returns the pieces lost by it, those of
// which it says otherwise.
func (p *Partial) Adopt(m *wire.Manifest) (lost []int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, have := range p.have {
		if have && !p.m.SameLink(m, i) {
			p.lose(i)
			lost = append(lost, i)
		}
	}
	p.m = m
	if p.notes != nil {
		err = p.rewriteNotes()
	}
	return lost, err
}

// Commit publishes the blob, all pieces of which must be here. That each passed means that the whole
// has the digest.
func (p *Partial) Commit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.n < len(p.have) {
		return errors.New("committing a blob of which pieces are missing")
	}
	p.over = true
	o := incoming{p.m.Digest, int64(p.m.Size), plain, p.bytes, p.data}
	err := p.depot.publish(p.space, o)
	if err == nil {
		p.depot.base().manifests.put(p.m)
	}
	p.depot.base().giveBack(int64(p.m.Size))
	if p.parts != nil {
		p.parts.done(p)
	}
	return err
}

// Close leaves what has come for Resume. After Commit it does nothing.
func (p *Partial) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.over = true
	if p.parts == nil {
		p.depot.base().giveBack(int64(p.m.Size))
		return
	}
	p.parts.leave(p)
}
