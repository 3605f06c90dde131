package blobstore

import (
	"slices"

	"gaggle/wire"
)

// A form is a set of the inodes that an object's bytes may have: permissions belong to an inode.
type form uint8

const (
	plain      form = 1 // mode 0444
	executable form = 2 // mode 0555
	bothForms       = plain | executable
)

func formOf(exec bool) form {
	if exec {
		return executable
	}
	return plain
}

// count returns how many inodes f stands for.
func (f form) count() int64 { return int64(f&1 + f>>1) }

// A ref is the place of an entry in its table.
type ref uint32

// An entry is what the table knows of one object.
type entry struct {
	digest wire.Digest
	size   int64
	born   uint64 // value of the table's clock when it was added
	use    uint64 // and when it was last used
	spaces setID  // that may see it
	leases uint32 // open handles and files handed out
	forms  form   // on disk; 0 marks a free place
	synced form   // known to be durable
	hashed bool   // by this process, when it came in
}

// A table is the objects that are here, in memory: about 120 bytes each and no pointers. It is
// not safe for concurrent use.
type table struct {
	refs   map[wire.Digest]ref
	all    []entry
	free   []ref
	sets   sets
	clock  uint64 // counts uses
	doubts uint64 // counts changes that make something durable less so: a form or a space more, a loss
	used   int64  // bytes on disk, by charge
}

func newTable() table {
	return table{refs: map[wire.Digest]ref{}, sets: newSets()}
}

// charge returns what an inode of size bytes takes on disk: whole blocks of 4 KiB and an inode of
// 256 bytes, as on ext4.
func charge(size int64) int64 { return (size+4095)&^4095 + 256 }

// find returns the entry of d, nil if there is none. It is good until the next add.
func (t *table) find(d wire.Digest) *entry {
	r, ok := t.refs[d]
	if !ok {
		return nil
	}
	return &t.all[r]
}

// in returns the entry of d if space may see it, else nil.
func (t *table) in(space wire.Space, d wire.Digest) *entry {
	e := t.find(d)
	if e == nil || !t.sets.has(e.spaces, space) {
		return nil
	}
	return e
}

// touch notes that e is in use now.
func (t *table) touch(e *entry) {
	t.clock++
	e.use = t.clock
}

// add returns the entry of d, making one without forms and spaces if there is none.
func (t *table) add(d wire.Digest, size int64) *entry {
	if e := t.find(d); e != nil {
		return e
	}
	var r ref
	if n := len(t.free); n > 0 {
		r, t.free = t.free[n-1], t.free[:n-1]
	} else {
		r = ref(len(t.all))
		t.all = append(t.all, entry{})
	}
	t.refs[d] = r
	e := &t.all[r]
	*e = entry{digest: d, size: size}
	t.touch(e)
	e.born = e.use
	return e
}

// setForms changes the inodes that e has.
func (t *table) setForms(e *entry, f form) {
	t.used += (f.count() - e.forms.count()) * charge(e.size)
	if e.forms != 0 && e.forms != f {
		t.doubts++
	}
	e.forms = f
	e.synced &= f
}

// remove forgets e.
func (t *table) remove(e *entry) {
	t.setForms(e, 0)
	r := t.refs[e.digest]
	delete(t.refs, e.digest)
	*e = entry{}
	t.free = append(t.free, r)
}

// A setID names a set of spaces. Few different sets occur, so each is kept once; 0 is the empty
// one.
type setID uint32

type sets struct {
	ids   map[wire.Space]uint16
	names []wire.Space
	lists [][]uint16 // ascending
	byKey map[string]setID
}

// maxSpaces bounds the spaces of one store: tenants of one mesh, far above any real number.
const maxSpaces = 10_000

func newSets() sets {
	return sets{ids: map[wire.Space]uint16{}, lists: [][]uint16{nil}, byKey: map[string]setID{"": 0}}
}

// id returns the number of a space, giving it one if need be.
func (s *sets) id(space wire.Space) (uint16, error) {
	if id, ok := s.ids[space]; ok {
		return id, nil
	}
	if !space.Valid() {
		return 0, wire.Errorf(wire.CauseInvalid, "", "%q cannot name a space", string(space))
	}
	if len(s.names) >= maxSpaces {
		return 0, wire.Errorf(wire.CauseTooLarge, "use fewer tenants on one node",
			"the store has %d spaces, its bound", maxSpaces)
	}
	id := uint16(len(s.names))
	s.ids[space] = id
	s.names = append(s.names, space)
	return id, nil
}

// with returns the set and one more space.
func (s *sets) with(set setID, id uint16) setID {
	list := s.lists[set]
	i, ok := slices.BinarySearch(list, id)
	if ok {
		return set
	}
	list = slices.Insert(slices.Clone(list), i, id)
	key := make([]byte, 0, 2*len(list))
	for _, v := range list {
		key = append(key, byte(v>>8), byte(v))
	}
	if n, ok := s.byKey[string(key)]; ok {
		return n
	}
	n := setID(len(s.lists))
	s.lists = append(s.lists, list)
	s.byKey[string(key)] = n
	return n
}

func (s *sets) has(set setID, space wire.Space) bool {
	id, ok := s.ids[space]
	if !ok {
		return false
	}
	_, ok = slices.BinarySearch(s.lists[set], id)
	return ok
}

// spaces returns the names in a set.
func (s *sets) spaces(set setID) []wire.Space {
	out := make([]wire.Space, 0, len(s.lists[set]))
	for _, id := range s.lists[set] {
		out = append(out, s.names[id])
	}
	return out
}
