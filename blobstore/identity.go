package blobstore

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"time"

	"gaggle/wire"
)

// An identity is what tells a file that was not touched: if it is the same, so are its bytes.
type identity struct {
	size  int64
	mtime int64 // Unix nanoseconds
	ctime int64 // 0 where the system has none
	inode uint64
}

func identityOf(fi os.FileInfo) identity {
	ctime, inode := changeTime(fi)
	return identity{fi.Size(), fi.ModTime().UnixNano(), ctime, inode}
}

// settleTime is how long before it is read a file must have been left alone for its identity to
// be believed later: a write within the same tick of the file system's clock does not change the
// times (git calls such an index entry racy). 2 s is the coarsest clock in use, FAT's.
const settleTime = 2 * time.Second

// settled reports whether a file with this identity, read at now, can be believed later.
func (id identity) settled(now time.Time) bool {
	return now.UnixNano()-max(id.mtime, id.ctime) >= int64(settleTime)
}

// A dirRecord is what the index knows of one directory, as it was when it was last added. Under
// the key "d", NUL and the absolute path:
//
//	2 | tree (32) | size | number of entries | entry... | crc32c (4, little endian)
//
// An entry is a kind (1), a name, and
//
//	File, Exec  size, mtime, ctime (8 each, little endian), inode, digest
//	Dir         digest, size
//	Symlink     target
//
// Digests are 32 bytes, numbers uvarints, texts a uvarint length and bytes. The tree is zero if
// some entry was not settled; such entries are left out. A single file is indexed under "f", NUL
// and its path, as a directory with one entry of an empty name.
type dirRecord struct {
	tree    wire.Digest
	size    uint64
	entries map[string]dirEntry
}

type dirEntry struct {
	id     identity // of a File or Exec
	object wire.Object
	target string // of a Symlink
}

const dirVersion = 2

func dirKey(path string) string  { return "d\x00" + path }
func fileKey(path string) string { return "f\x00" + path }

func (r *dirRecord) encode() []byte {
	b := append([]byte{dirVersion}, r.tree[:]...)
	b = binary.AppendUvarint(b, r.size)
	b = binary.AppendUvarint(b, uint64(len(r.entries)))
	for name, e := range r.entries {
		b = append(b, byte(e.object.Kind))
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		switch e.object.Kind {
		case wire.Dir:
			b = append(b, e.object.Digest[:]...)
			b = binary.AppendUvarint(b, e.object.Size)
		case wire.Symlink:
			b = append(binary.AppendUvarint(b, uint64(len(e.target))), e.target...)
		default:
			b = binary.AppendUvarint(b, uint64(e.id.size))
			b = binary.LittleEndian.AppendUint64(b, uint64(e.id.mtime))
			b = binary.LittleEndian.AppendUint64(b, uint64(e.id.ctime))
			b = binary.AppendUvarint(b, e.id.inode)
			b = append(b, e.object.Digest[:]...)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeDirRecord reads what encode writes; anything else is an empty record.
func decodeDirRecord(b []byte) *dirRecord {
	r := &dirRecord{}
	sum := len(b) - 4
	if sum < 1 || binary.LittleEndian.Uint32(b[sum:]) != crc32.Checksum(b[:sum], castagnoli) {
		return r
	}
	f := &fields{b: b[:sum]}
	if f.byte() != dirVersion {
		return r
	}
	tree, size, n := f.digest(), uint64(f.size()), f.num()
	if n > wire.MaxTreeEntries {
		return r
	}
	entries := make(map[string]dirEntry, min(n, uint64(len(b)/4)))
	for i := uint64(0); i < n && !f.bad; i++ {
		name, e := decodeDirEntry(f)
		entries[name] = e
	}
	if f.bad || len(f.b) > 0 {
		return r
	}
	return &dirRecord{tree, size, entries}
}

func decodeDirEntry(f *fields) (name string, e dirEntry) {
	e.object.Kind = wire.Kind(f.byte())
	name = f.text(wire.MaxPathElement)
	switch e.object.Kind {
	case wire.Dir:
		e.object.Digest, e.object.Size = f.digest(), uint64(f.size())
	case wire.Symlink:
		e.target = f.text(wire.MaxPath)
	case wire.File, wire.Exec:
		e.id.size = f.size()
		e.id.mtime = int64(binary.LittleEndian.Uint64(f.take(8)))
		e.id.ctime = int64(binary.LittleEndian.Uint64(f.take(8)))
		e.id.inode = f.num()
		e.object.Digest, e.object.Size = f.digest(), uint64(e.id.size)
	default:
		f.bad = true
	}
	return name, e
}
