package sched

import (
	"encoding/binary"

	"gaggle/wire"
)

// Refs name entries of the slabs of a State. 0 names nothing. A ref is used again once its entry
// is dropped, so whoever keeps one removes it first.
type (
	taskRef uint32
	runRef  uint32
	objRef  uint32
	nodeRef uint32
	jobRef  uint32
	edgeRef uint32
)

// A slab holds values under dense refs. Pages never move, so a pointer is good until its ref is
// dropped, and growing copies nothing.
type slab[R ~uint32, T any] struct {
	pages [][]T
	free  []R
	next  R // the lowest ref never used; 0 before the first
	n     int
}

const pageSize = 1 << 10

// at returns the entry of r, which must be in use.
func (s *slab[R, T]) at(r R) *T { return &s.pages[r/pageSize][r%pageSize] }

// add takes a ref; its entry is the zero value.
func (s *slab[R, T]) add() R {
	s.n++
	if k := len(s.free); k > 0 {
		r := s.free[k-1]
		s.free = s.free[:k-1]
		return r
	}
	s.next = max(s.next, 1)
	if int(s.next/pageSize) == len(s.pages) {
		s.pages = append(s.pages, make([]T, pageSize))
	}
	s.next++
	return s.next - 1
}

// drop gives r back. When nothing is left in use the pages are let go.
func (s *slab[R, T]) drop(r R) {
	var zero T
	*s.at(r) = zero
	s.n--
	if s.n == 0 {
		*s = slab[R, T]{}
		return
	}
	s.free = append(s.free, r)
}

// A key names something in a space or a job: of is the space's or job's ref.
type key struct {
	of uint32
	id wire.Digest
}

// tag needs no mixing of id, which is a hash itself.
func (k *key) tag() uint32 {
	return binary.LittleEndian.Uint32(k.id[:]) ^ k.of*0x9e3779b9
}

// An index finds the ref of a key; at tells the key of a ref. Its order is never seen. Open addressing
// with linear probing (Knuth, 6.4, algorithm L). Beside each ref stands its tag, or every key passed over
// would be fetched from memory, which was a fifth of what a task among 10^6 cost.
type index[R ~uint32] struct {
	slots []tagged[R]
	n     int
	at    func(R) *key
}

// A tagged ref stands at the tag's place in the index, or behind it.
type tagged[R ~uint32] struct {
	ref R
	tag uint32
}

func (x *index[R]) find(k *key) R {
	if x.n == 0 {
		return 0
	}
	tag, mask := k.tag(), uint32(len(x.slots)-1)
	for i := tag & mask; x.slots[i].ref != 0; i = (i + 1) & mask {
		if s := &x.slots[i]; s.tag == tag && *x.at(s.ref) == *k {
			return s.ref
		}
	}
	return 0
}

// put adds r, whose key is not there yet.
func (x *index[R]) put(r R) {
	if 4*(x.n+1) > 3*len(x.slots) {
		x.resize(max(16, 2*len(x.slots)))
	}
	x.n++
	x.set(tagged[R]{r, x.at(r).tag()})
}

func (x *index[R]) set(s tagged[R]) {
	mask := uint32(len(x.slots) - 1)
	i := s.tag & mask
	for x.slots[i].ref != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

func (x *index[R]) resize(size int) {
	old := x.slots
	x.slots = make([]tagged[R], size)
	for _, s := range old {
		if s.ref != 0 {
			x.set(s)
		}
	}
}

// del removes r, which must be there, and must still have its key.
func (x *index[R]) del(r R) {
	mask := uint32(len(x.slots) - 1)
	i := x.at(r).tag() & mask
	for x.slots[i].ref != r {
		i = (i + 1) & mask
	}
	// Move back what would not be found any more past the hole (Knuth, algorithm R).
	for j := (i + 1) & mask; x.slots[j].ref != 0; j = (j + 1) & mask {
		home := x.slots[j].tag & mask
		if (j-home)&mask >= (j-i)&mask {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = tagged[R]{}
	x.n--
	if len(x.slots) > 64 && 8*x.n < len(x.slots) {
		x.resize(len(x.slots) / 4)
	}
}

// An edge is an element of a list of tasks.
type edge struct {
	to   taskRef
	next edgeRef
}
