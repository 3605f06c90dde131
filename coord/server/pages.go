package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its file: of a damaged page it makes a panic, an endless walk, a wrong row or none.
// So the file is read here first, page by page, trusting nothing, and only what is whole in itself
// is given to bbolt. In the machine's byte order, every page is
//
//	0   its own number, uint64
//	8   kind, uint16: 1 branch, 2 leaf, 4 meta, 16 free list
//	10  number of elements, uint16; of a free list 0xffff if the first element says it
//	12  number of pages that follow and belong to it, uint32
//	16  elements:  branch     offset of the key from here, its size, uint32; child page, uint64
//	               leaf       flags (1: the value is a bucket), offset from here, size of key and value, uint32
//	               free list  page, uint64
//	               meta       magic, version, page size, flags, uint32; root bucket; free list,
//	                          first unused page, transaction, FNV-1a of all that, uint64
//
// and a bucket is its root page and a sequence, uint64; of root 0 the leaf page follows it inline.
const (
	pageHead   = 16
	bucketHead = 16
	metaSize   = 64
	branchElem = 16
	leafElem   = 16
	kindBranch = 0x01
	kindLeaf   = 0x02
	kindFree   = 0x10
	flagBucket = 0x01
	boltMagic  = 0xED0CDAED
	boltFormat = 2
	noFreeList = ^uint64(0)
)

// errStructure says that a page is not what refers to it takes it for.
var errStructure = errors.New("damaged page")

func broken(page uint64, format string, args ...any) error {
	return fmt.Errorf("%w %d: %s", errStructure, page, fmt.Sprintf(format, args...))
}

// A pages reads the file of a bbolt database that nobody writes to.
type pages struct {
	f     io.ReaderAt
	size  uint64 // of a page
	end   uint64 // the first page that was never used
	root  uint64
	free  uint64
	taken map[uint64]bool // pages that something refers to
}

// openPages reads both meta pages. One that does not hold is an error, too: bbolt would go back to
// the transaction before the last.
func openPages(f io.ReaderAt) (*pages, error) {
	var b [pageHead + metaSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return nil, broken(0, "%v", err)
	}
	first, err := readMeta(0, b[pageHead:])
	if err != nil {
		return nil, err
	}
	if _, err := f.ReadAt(b[:], int64(first.size)); err != nil {
		return nil, broken(1, "%v", err)
	}
	second, err := readMeta(1, b[pageHead:])
	if err != nil {
		return nil, err
	}
	last := first
	if second.txid > first.txid {
		last = second
	}
	return &pages{f: f, size: uint64(first.size), end: last.end, root: last.root, free: last.free, taken: map[uint64]bool{0: true, 1: true}}, nil
}

type metaPage struct {
	size                  uint32
	root, free, end, txid uint64
}

func readMeta(page uint64, b []byte) (m metaPage, err error) {
	order := binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	switch {
	case order.Uint32(b) != boltMagic:
		return m, broken(page, "it does not begin a database")
	case order.Uint32(b[4:]) != boltFormat || order.Uint64(b[metaSize-8:]) != sum.Sum64():
		return m, broken(page, "its checksum is wrong")
	}
	m = metaPage{order.Uint32(b[8:]), order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])}
	if m.size < 512 || m.size > 1<<24 {
		return m, broken(page, "pages of %d bytes", m.size)
	}
	return m, nil
}

// read returns a page with all that belongs to it, its kind and the number of its elements. A page
// can be read once.
func (p *pages) read(page uint64) (b []byte, kind uint16, n int, err error) {
	if page < 2 || page >= p.end {
		return nil, 0, 0, broken(page, "there are %d", p.end)
	}
	b = make([]byte, p.size)
	if _, err := p.f.ReadAt(b, int64(page*p.size)); err != nil {
		return nil, 0, 0, broken(page, "%v", err)
	}
	order := binary.NativeEndian
	more := uint64(order.Uint32(b[12:]))
	switch {
	case order.Uint64(b) != page:
		return nil, 0, 0, broken(page, "it says that it is page %d", order.Uint64(b))
	case more >= p.end-page:
		return nil, 0, 0, broken(page, "it has %d pages of %d", more+1, p.end)
	}
	for i := page; i <= page+more; i++ {
		if p.taken[i] {
			return nil, 0, 0, broken(i, "it belongs to two")
		}
		p.taken[i] = true
	}
	if more > 0 {
		b = make([]byte, (more+1)*p.size)
		if _, err := p.f.ReadAt(b, int64(page*p.size)); err != nil {
			return nil, 0, 0, broken(page, "%v", err)
		}
	}
	return b, order.Uint16(b[8:]), int(order.Uint16(b[10:])), nil
}

// A leaf is one element of a bucket.
type leaf struct {
	key, value []byte // read-only
	bucket     bool   // value is one
}

// bucket yields the elements of the bucket that v is.
func (p *pages) bucket(v []byte, yield func(leaf) error) error {
	if len(v) < bucketHead {
		return broken(0, "a bucket of %d bytes", len(v))
	}
	root := binary.NativeEndian.Uint64(v)
	if root != 0 {
		return p.tree(root, nil, nil, yield)
	}
	inline := v[bucketHead:]
	if len(inline) < pageHead || binary.NativeEndian.Uint16(inline[8:]) != kindLeaf {
		return broken(0, "a bucket without a page")
	}
	return p.leaves(0, inline, int(binary.NativeEndian.Uint16(inline[10:])), nil, nil, yield)
}

// tree yields what lies below a page, whose keys are those from low to below high, nil being no bound.
func (p *pages) tree(page uint64, low, high []byte, yield func(leaf) error) error {
	b, kind, n, err := p.read(page)
	if err != nil {
		return err
	}
	switch kind {
	case kindLeaf:
		return p.leaves(page, b, n, low, high, yield)
	case kindBranch:
	default:
		return broken(page, "it is of kind %#x", kind)
	}
	if n == 0 || pageHead+n*branchElem > len(b) {
		return broken(page, "%d branches in %d bytes", n, len(b))
	}
	keys, children := make([][]byte, n), make([]uint64, n)
	for i := range n {
		at := pageHead + i*branchElem
		e := b[at:]
		if keys[i], err = part(page, e, binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])); err != nil {
			return err
		}
		children[i] = binary.NativeEndian.Uint64(e[8:])
		if err := inOrder(page, keys[i], low, high, i > 0); err != nil {
			return err
		}
		low = keys[i]
	}
	for i, child := range children {
		next := high
		if i+1 < n {
			next = keys[i+1]
		}
		if err := p.tree(child, keys[i], next, yield); err != nil {
			return err
		}
	}
	return nil
}

func (p *pages) leaves(page uint64, b []byte, n int, low, high []byte, yield func(leaf) error) error {
	if pageHead+n*leafElem > len(b) {
		return broken(page, "%d rows in %d bytes", n, len(b))
	}
	order := binary.NativeEndian
	for i := range n {
		e := b[pageHead+i*leafElem:]
		flags, at, keys, values := order.Uint32(e), order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:])
		key, err := part(page, e, at, keys)
		if err != nil {
			return err
		}
		value, err := part(page, e[min(len(e), int(at)+int(keys)):], 0, values)
		if err != nil {
			return err
		}
		if flags > flagBucket {
			return broken(page, "flags %#x", flags)
		}
		if err := inOrder(page, key, low, high, i > 0); err != nil {
			return err
		}
		if err := yield(leaf{key, value, flags == flagBucket}); err != nil {
			return err
		}
		low = key
	}
	return nil
}

func part(page uint64, b []byte, at, n uint32) ([]byte, error) {
	if uint64(at)+uint64(n) > uint64(len(b)) {
		return nil, broken(page, "%d bytes at %d of %d", n, at, len(b))
	}
	return b[at : at+n], nil
}

// inOrder checks a key against the bounds; past says that it must differ from the lower one.
func inOrder(page uint64, key, low, high []byte, past bool) error {
	c := 1
	if low != nil {
		c = bytes.Compare(key, low)
	}
	if c < 0 || c == 0 && past || high != nil && bytes.Compare(key, high) >= 0 {
		return broken(page, "key %x is out of order", key)
	}
	return nil
}

// freeList checks that what is listed as free is not in use: the next transaction would write over it.
// It comes after all buckets.
func (p *pages) freeList() error {
	if p.free == noFreeList {
		return broken(0, "it has no free list")
	}
	b, kind, n, err := p.read(p.free)
	if err != nil {
		return err
	}
	if kind != kindFree {
		return broken(p.free, "it is of kind %#x, not the free list", kind)
	}
	ids := b[pageHead:]
	if n == 0xffff {
		if c := binary.NativeEndian.Uint64(ids); c <= uint64(len(ids)/8)-1 {
			n, ids = int(c), ids[8:]
		}
	}
	if n > len(ids)/8 {
		return broken(p.free, "%d free pages in %d bytes", n, len(ids))
	}
	last := uint64(1)
	for i := range n {
		id := binary.NativeEndian.Uint64(ids[8*i:])
		if id <= last || id >= p.end || p.taken[id] {
			return broken(p.free, "page %d is in use, or listed twice", id)
		}
		last = id
	}
	return nil
}
