package blobstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"gaggle/wire"
)

// The journal holds what the files of the store do not say themselves: what is known to be
// durable, pins, holds and recency. It is journalMagic and records:
//
//	kind (1 byte) | length of payload (uvarint) | payload | crc32c of all before (4, little endian)
//
//	b  object    digest, size, use, forms, synced, number of spaces, space...
//	r  resident  space, digest, size, use, serial
//	p  pin       space, digest, owner
//	u  unpin     space, digest, owner
//	h  hold      space, kind, digest, size
//	x  unhold    space, kind, digest
//	s  synced    digest, forms            they are durable
//	d  dropped   digest                   nothing of it is to be trusted any more
//	e  end       boot id, clock           of a snapshot
//
// Digests are 32 bytes, forms and kinds one, numbers uvarints, texts a uvarint length and bytes.
// Closing writes a snapshot (b, r, p, h records and e) as a new file; an open store appends the
// others. Reading ends at the first record that is torn or wrong: what follows is lost, which
// costs hashing files again.
const journalMagic = "gaggle store journal 1\n"

const (
	recBlob     byte = 'b'
	recResident byte = 'r'
	recPin      byte = 'p'
	recUnpin    byte = 'u'
	recHold     byte = 'h'
	recUnhold   byte = 'x'
	recSynced   byte = 's'
	recDropped  byte = 'd'
	recEnd      byte = 'e'
)

// maxPayload bounds one record: an object in maxSpaces spaces with names of MaxName bytes.
const maxPayload = maxSpaces*(wire.MaxName+2) + 256

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errBadRecord = errors.New("bad journal record")

// A record is one of any kind; each uses the fields that the drawing above names.
type record struct {
	kind   byte
	digest wire.Digest
	space  wire.Space
	object wire.Kind
	owner  string // also the boot id of an end
	size   int64
	use    uint64 // also the clock of an end
	serial uint64
	forms  form
	synced form
	spaces []wire.Space
}

// append encodes r after b.
func (r record) append(b []byte) []byte {
	var p []byte
	text := func(s string) { p = append(binary.AppendUvarint(p, uint64(len(s))), s...) }
	num := func(n uint64) { p = binary.AppendUvarint(p, n) }
	digest := func() { p = append(p, r.digest[:]...) }
	switch r.kind {
	case recBlob:
		digest()
		num(uint64(r.size))
		num(r.use)
		p = append(p, byte(r.forms), byte(r.synced))
		num(uint64(len(r.spaces)))
		for _, s := range r.spaces {
			text(string(s))
		}
	case recResident:
		text(string(r.space))
		digest()
		num(uint64(r.size))
		num(r.use)
		num(r.serial)
	case recPin, recUnpin:
		text(string(r.space))
		digest()
		text(r.owner)
	case recHold, recUnhold:
		text(string(r.space))
		p = append(p, byte(r.object))
		digest()
		num(uint64(r.size))
	case recSynced:
		digest()
		p = append(p, byte(r.forms))
	case recDropped:
		digest()
	case recEnd:
		text(r.owner)
		num(r.use)
	}
	start := len(b)
	b = binary.AppendUvarint(append(b, r.kind), uint64(len(p)))
	b = append(b, p...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// readRecord reads the next record. At the end of the file the error is io.EOF; errBadRecord and
// io.ErrUnexpectedEOF mean that nothing after it can be read either.
func readRecord(br *bufio.Reader) (r record, err error) {
	kind, err := br.ReadByte()
	if err != nil {
		return r, err
	}
	n, err := binary.ReadUvarint(br)
	if err != nil || n > maxPayload {
		return r, errBadRecord
	}
	b := binary.AppendUvarint([]byte{kind}, n)
	head := len(b)
	b = append(b, make([]byte, n+4)...)
	if _, err := io.ReadFull(br, b[head:]); err != nil {
		return r, io.ErrUnexpectedEOF
	}
	sum := len(b) - 4
	if binary.LittleEndian.Uint32(b[sum:]) != crc32.Checksum(b[:sum], castagnoli) {
		return r, errBadRecord
	}
	return decodePayload(kind, b[head:sum])
}

// A fields takes a payload apart; after a failure every further field is zero.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n > len(f.b) {
		f.bad = true
		return make([]byte, n)
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) num() uint64 {
	n, w := binary.Uvarint(f.b)
	if f.bad || w <= 0 {
		f.bad = true
		return 0
	}
	f.b = f.b[w:]
	return n
}

func (f *fields) text(limit int) string {
	n := f.num()
	if n > uint64(limit) {
		f.bad = true
		return ""
	}
	return string(f.take(int(n)))
}

func (f *fields) digest() (d wire.Digest) {
	copy(d[:], f.take(len(d)))
	return d
}

func (f *fields) byte() byte { return f.take(1)[0] }

func (f *fields) size() int64 {
	n := f.num()
	if n > wire.MaxBlob {
		f.bad = true
		return 0
	}
	return int64(n)
}

func (f *fields) space() wire.Space {
	s := wire.Space(f.text(wire.MaxName))
	if !s.Valid() {
		f.bad = true
	}
	return s
}

func (f *fields) forms() form {
	v := form(f.byte())
	if v&^bothForms != 0 {
		f.bad = true
	}
	return v
}

func decodePayload(kind byte, p []byte) (record, error) {
	f := &fields{b: p}
	r := record{kind: kind}
	switch kind {
	case recBlob:
		r.digest, r.size, r.use, r.forms, r.synced = f.digest(), f.size(), f.num(), f.forms(), f.forms()
		n := f.num()
		if n > maxSpaces {
			f.bad = true
		}
		for i := uint64(0); i < n && !f.bad; i++ {
			r.spaces = append(r.spaces, f.space())
		}
	case recResident:
		r.space, r.digest, r.size, r.use, r.serial = f.space(), f.digest(), f.size(), f.num(), f.num()
	case recPin, recUnpin:
		r.space, r.digest, r.owner = f.space(), f.digest(), f.text(maxOwner)
	case recHold, recUnhold:
		r.space, r.object, r.digest, r.size = f.space(), wire.Kind(f.byte()), f.digest(), f.size()
	case recSynced:
		r.digest, r.forms = f.digest(), f.forms()
	case recDropped:
		r.digest = f.digest()
	case recEnd:
		r.owner, r.use = f.text(maxOwner), f.num()
	default:
		f.bad = true
	}
	if f.bad || len(f.b) > 0 {
		return record{}, errBadRecord
	}
	return r, nil
}

// maxOwner bounds the name of a pin's owner: a job, or a job and a task.
const maxOwner = 1 << 10

// A journal appends records to the journal file.
type journal struct {
	path string

	mu    sync.Mutex // guards the fields below; held while writing
	f     *os.File
	dirty bool  // written to since the last flush
	size  int64 // bytes in the file
	base  int64 // bytes of its snapshot
	err   error // of a write or flush; nothing is durable after one
}

// note appends records without flushing them.
func (j *journal) note(rs ...record) error {
	var b []byte
	for _, r := range rs {
		b = r.append(b)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	if _, err := j.f.Write(b); err != nil {
		// A torn record hides what comes after it, so go back to before it.
		if terr := j.f.Truncate(j.size); terr != nil {
			j.err = fmt.Errorf("writing the store's journal: %w", err)
		}
		return fmt.Errorf("writing the store's journal: %w", err)
	}
	j.size += int64(len(b))
	j.dirty = true
	return nil
}

// flush returns when all that was noted before is durable.
func (j *journal) flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.dirty || j.err != nil {
		return j.err
	}
	if err := j.f.Sync(); err != nil {
		j.err = fmt.Errorf("flushing the store's journal: %w", err)
		return j.err
	}
	j.dirty = false
	return nil
}

// grown reports whether enough was appended that a new snapshot pays.
func (j *journal) grown() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size-j.base > max(16<<20, j.base)
}

// rewrite replaces the file by a durable snapshot that emit writes. Records noted meanwhile wait.
func (j *journal) rewrite(emit func(put func(record) error) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	f, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("writing the store's journal: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	size := int64(len(journalMagic))
	_, err = w.WriteString(journalMagic)
	var buf []byte
	if err == nil {
		err = emit(func(r record) error {
			buf = r.append(buf[:0])
			size += int64(len(buf))
			_, err := w.Write(buf)
			return err
		})
	}
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err != nil {
		os.Remove(j.path + ".new")
		return fmt.Errorf("writing the store's journal: %w", err)
	}
	if j.f != nil { // Windows cannot replace an open file
		j.f.Close()
	}
	if err = os.Rename(j.path+".new", j.path); err == nil {
		err = fsyncDir(filepath.Dir(j.path))
	}
	j.f, j.err = nil, err
	if err == nil {
		j.f, j.err = os.OpenFile(j.path, os.O_RDWR|os.O_APPEND, 0o600)
	}
	j.size, j.base, j.dirty = size, size, false
	return j.err
}

// close closes the file.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	err := j.f.Close()
	j.f = nil
	j.err = os.ErrClosed
	return err
}

// readJournal tells apply every record of the file and reports whether it ends whole, with a
// snapshot in it. A missing file is not whole.
func readJournal(path string, apply func(record)) (whole bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the store's journal: %w", err)
	}
	defer f.Close()
	br := bufio.NewReaderSize(f, 1<<20)
	return readRecords(br, apply), nil
}

func readRecords(br *bufio.Reader, apply func(record)) (whole bool) {
	magic := make([]byte, len(journalMagic))
	if _, err := io.ReadFull(br, magic); err != nil || string(magic) != journalMagic {
		return false
	}
	ended := false
	for {
		r, err := readRecord(br)
		if err != nil {
			return ended && err == io.EOF
		}
		ended = ended || r.kind == recEnd
		apply(r)
	}
}
