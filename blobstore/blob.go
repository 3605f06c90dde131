package blobstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"gaggle/wire"
)

// A Blob is an open object. It is held against trimming until Close. Read and Seek are for one
// goroutine; ReadAt is for any number.
type Blob struct {
	r    io.ReaderAt
	size int64
	want wire.Digest

	known  bool      // the bytes need no hashing
	off    int64     // of the next Read
	hash   hash.Hash // of the bytes before off, while they were read in sequence; else nil
	reject func()    // drops the object from the store
	close  func() error
}

// Open opens an object for reading. Three things can happen:
// it is here: a Blob is returned, and reading it from beginning to end verifies it;
// it is absent, or was found corrupt and dropped: the error wraps ErrNotFound;
// the disk failed: any other error. It counts as a use.
func (s *Store) Open(space wire.Space, d wire.Digest) (*Blob, error) {
	b, _, err := s.opened(space, d)
	return b, err
}

// OpenHashed is as Open, but bytes that this process hashed when they came in are not hashed again as
// they are read, unless the file's size, time or mode says that somebody wrote to it: the rule of File.
// It is for who brings home what has just been made, where hashing takes longer than copying. What
// was here before this process began is verified as it is read.
func (s *Store) OpenHashed(space wire.Space, d wire.Digest) (*Blob, error) {
	b, hashed, err := s.opened(space, d)
	if err != nil || !hashed {
		return b, err
	}
	if f, ok := b.r.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && untouched(fi, b.size) {
			b.known, b.hash = true, nil
		}
	}
	return b, nil
}

// opened also reports whether this process hashed the bytes when they came in.
func (s *Store) opened(space wire.Space, d wire.Digest) (*Blob, bool, error) {
	s.mu.Lock()
	e := s.table.in(space, d)
	if e == nil {
		s.mu.Unlock()
		return nil, false, notFound(space, d)
	}
	s.table.touch(e)
	size, hashed, release := e.size, e.hashed, s.lease(e)
	s.mu.Unlock()
	b, err := s.open(space, d, size, release)
	if err != nil {
		release()
		return nil, false, err
	}
	return b, hashed, nil
}

func (s *Store) open(space wire.Space, d wire.Digest, size int64, release func()) (*Blob, error) {
	reject := func() {
		s.drop(d, "its bytes are wrong")
		s.settle()
	}
	path := s.existing(space, d)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) { // it may just have changed form
		f, err = os.Open(s.existing(space, d))
	}
	if errors.Is(err, os.ErrNotExist) {
		s.drop(d, "its file is gone")
		s.settle()
		return nil, notFound(space, d)
	}
	if err != nil {
		return nil, fmt.Errorf("opening object %s: %w", d, err)
	}
	if size > smallMax {
		return newBlob(f, size, d, reject, func() error { release(); return f.Close() }), nil
	}
	defer f.Close()
	data := make([]byte, size+1)
	n, err := f.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading object %s: %w", d, err)
	}
	if wire.Sum(data[:n]) != d {
		reject()
		return nil, notFound(space, d)
	}
	release()
	return newBlob(bytes.NewReader(data[:n]), size, d, reject, func() error { return nil }), nil
}

func newBlob(r io.ReaderAt, size int64, d wire.Digest, reject func(), close func() error) *Blob {
	return &Blob{r: r, size: size, want: d, hash: wire.NewHash(), reject: reject, close: close}
}

// Size returns the length in bytes.
func (b *Blob) Size() int64 { return b.size }

// Read reads in sequence. Reading from beginning to end verifies: if the bytes turn out wrong,
// the last Read returns none, the object is dropped and the error wraps ErrNotFound.
func (b *Blob) Read(p []byte) (int, error) {
	if b.off >= b.size {
		if b.size == 0 && b.hash != nil && wire.HashDigest(b.hash) != b.want {
			return 0, b.corrupt()
		}
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.size-b.off)]
	n, err := b.r.ReadAt(p, b.off)
	if n < len(p) {
		if err == io.EOF { // the file was cut
			return 0, b.corrupt()
		}
		return 0, fmt.Errorf("reading object %s: %w", b.want, err)
	}
	b.off += int64(n)
	if b.hash == nil {
		return n, nil
	}
	b.hash.Write(p)
	if b.off == b.size && wire.HashDigest(b.hash) != b.want {
		return 0, b.corrupt()
	}
	return n, nil
}

// WriteTo writes what is left of the blob, as io.Copy asks for. It verifies as Read does; from file to
// file the kernel copies what needs no hashing, and shares blocks where the file system can.
func (b *Blob) WriteTo(w io.Writer) (int64, error) {
	begun := b.off
	src, from := b.r.(*os.File)
	dst, to := w.(*os.File)
	if from && to && b.hash == nil {
		if _, err := src.Seek(b.off, io.SeekStart); err != nil {
			return 0, fmt.Errorf("reading object %s: %w", b.want, err)
		}
		n, err := io.CopyN(dst, src, b.size-b.off)
		b.off += n
		if err == io.EOF { // the file was cut
			err = b.corrupt()
		}
		return n, err
	}
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	for {
		n, err := b.Read(buf[:chunkSize-b.off%chunkSize]) // whole pages are written at less cost
		if err == io.EOF {
			return b.off - begun, nil
		}
		if err == nil {
			_, err = w.Write(buf[:n])
		}
		if err != nil {
			return b.off - begun - int64(n), err
		}
	}
}

func (b *Blob) corrupt() error {
	b.reject()
	return fmt.Errorf("object %s is corrupt on disk and was dropped: %w", b.want, ErrNotFound)
}

// ReadAt reads at an offset. What it returns is not verified: for who checks pieces.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= b.size {
		return 0, io.EOF
	}
	q := p[:min(int64(len(p)), b.size-off)]
	n, err := b.r.ReadAt(q, off)
	if n == len(q) && len(q) < len(p) {
		err = io.EOF
	} else if n == len(q) {
		err = nil
	}
	return n, err
}

// Seek sets the offset of the next Read. After a Seek to anywhere but the beginning what is read
// is not verified.
func (b *Blob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.off
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seeking to %d in object %s: %w", offset, b.want, os.ErrInvalid)
	}
	if b.known {
		b.hash = nil
	} else if offset == 0 {
		b.hash = wire.NewHash()
	} else if offset != b.off {
		b.hash = nil
	}
	b.off = offset
	return offset, nil
}

// Close releases the blob.
func (b *Blob) Close() error {
	c := b.close
	b.close = func() error { return nil }
	return c()
}
