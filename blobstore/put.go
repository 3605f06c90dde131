package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gaggle/wire"
)

const (
	// smallMax is up to what size an object is gathered in memory: one that is already here then
	// costs no file.
	smallMax = 128 << 10
	// chunkSize is how much is read, hashed and written at once. Room for it is admitted likewise.
	chunkSize = 512 << 10
	// overlapMin is from what size hashing and writing go on side by side: starting a goroutine
	// costs about a microsecond, hashing this much 40.
	overlapMin = 64 << 10
)

// modTime is the modification time of every file in the store. Thunks see it, so it must be the
// same everywhere; and another one betrays that somebody wrote to the file.
var modTime = time.Unix(wire.FileTime, 0)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// Put stores the bytes of r as a blob of the space and returns its id and length. On any error
// nothing is left behind; no room is an error of wire.CauseDiskFull.
func (s *Store) Put(ctx context.Context, space wire.Space, r io.Reader) (wire.BlobID, int64, error) {
	return put(ctx, s, space, r, plain)
}

func put(ctx context.Context, d depot, space wire.Space, r io.Reader, f form) (wire.BlobID, int64, error) {
	w, err := newWriter(ctx, d, space, f)
	if err != nil {
		return wire.BlobID{}, 0, err
	}
	defer w.Abort()
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	for err == nil {
		if err := ctx.Err(); err != nil {
			return wire.BlobID{}, 0, fmt.Errorf("storing an object: %w", err)
		}
		var n int
		n, err = io.ReadFull(r, buf[:])
		if _, werr := w.Write(buf[:n]); werr != nil {
			return wire.BlobID{}, 0, werr
		}
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return wire.BlobID{}, 0, fmt.Errorf("reading what is to be stored: %w", err)
	}
	id, err := w.commit()
	return wire.BlobID(id), w.size, err
}

// PutFile stores the size bytes of f as a blob of the space, from its beginning, whatever its
// offset. Where the file system can, they share blocks. A file of another size is an error: it
// is being changed.
func (s *Store) PutFile(ctx context.Context, space wire.Space, f *os.File, size int64) (wire.BlobID, error) {
	fi, err := f.Stat()
	if err != nil {
		return wire.BlobID{}, fmt.Errorf("storing a file: %w", err)
	}
	form := formOf(fi.Mode()&0o111 != 0)
	if size > smallMax {
		if id, ok, err := s.putClone(ctx, space, f, size, form); ok || err != nil {
			return id, err
		}
	}
	return putFile(ctx, s, space, f, size, form)
}

func putFile(ctx context.Context, d depot, space wire.Space, f *os.File, size int64, form form) (wire.BlobID, error) {
	// One byte more than expected, so that growth is noticed.
	id, _, err := put(ctx, d, space, &sized{r: io.NewSectionReader(f, 0, size+1), want: size, name: f.Name()}, form)
	return id, err
}

// A sized passes on a reader's bytes and fails at its end if they are not as many as wanted.
type sized struct {
	r    io.Reader
	want int64
	name string
}

func (s *sized) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.want -= int64(n)
	if s.want < 0 || err == io.EOF && s.want != 0 {
		return n, changed(s.name)
	}
	return n, err
}

func changed(name string) error {
	return wire.Errorf(wire.CauseInvalid, "try again when nothing writes to it", "%s changes while it is read", name)
}

// putClone stores a file by sharing its blocks, and hashes the shared copy, which nobody can
// change any more. It reports false if the file system cannot.
func (s *Store) putClone(ctx context.Context, space wire.Space, f *os.File, size int64, form form) (wire.BlobID, bool, error) {
	w, err := newWriter(ctx, s, space, form)
	if err != nil {
		return wire.BlobID{}, false, err
	}
	defer w.Abort()
	if err := w.spill(); err != nil {
		return wire.BlobID{}, false, err
	}
	if !reflink(w.tmp, f) {
		return wire.BlobID{}, false, nil
	}
	if err := w.admit(size); err != nil {
		return wire.BlobID{}, false, err
	}
	n, err := copyHash(ctx, w.hash, w.tmp)
	if err != nil {
		return wire.BlobID{}, false, storing(err)
	}
	if n != size {
		return wire.BlobID{}, false, changed(f.Name())
	}
	w.size = n
	id, err := w.commit()
	return wire.BlobID(id), true, err
}

// copyHash hashes a file from its beginning and returns its length.
func copyHash(ctx context.Context, h hash.Hash, f *os.File) (n int64, err error) {
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := f.ReadAt(buf[:], n)
		h.Write(buf[:k])
		n += int64(k)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// PutTree stores the encoding of t. What t names need not be here.
func (s *Store) PutTree(ctx context.Context, space wire.Space, t *wire.Tree) (wire.TreeID, error) {
	return putTree(ctx, s, space, t)
}

func putTree(ctx context.Context, d depot, space wire.Space, t *wire.Tree) (wire.TreeID, error) {
	id, b := t.Encode()
	if len(b) > wire.MaxObject {
		return id, wire.Errorf(wire.CauseTooLarge, "split it into several directories",
			"a directory's list of names takes %d bytes, more than the bound of %d", len(b), wire.MaxObject)
	}
	_, _, err := put(ctx, d, space, bytes.NewReader(b), plain)
	return id, err
}

func (s *Store) base() *shelf { return s.shelf }

// temp returns a new file for an object on its way in.
func (s *Store) temp() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "in-")
	if err != nil {
		return nil, storing(err)
	}
	return f, nil
}

// publish gives the bytes their name. If they are here already, under any space, the files that
// are here get the name.
func (s *Store) publish(space wire.Space, o incoming) error {
	defer s.settle() // in case an old entry without a file was met
	st := s.stripe(o.digest)
	st.Lock()
	defer st.Unlock()
	joined, err := s.join(space, o.digest)
	if err != nil || joined {
		return err
	}
	if err := s.place(space, o); err != nil {
		return storing(err)
	}
	if err := s.enter(space, o); err != nil {
		return err
	}
	s.sync.fresh(o.digest)
	return nil
}

// enter puts a placed object into the table.
func (h *shelf) enter(space wire.Space, o incoming) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, err := h.table.sets.id(space)
	if err != nil {
		return err
	}
	e := h.table.add(o.digest, o.size)
	h.table.touch(e)
	e.spaces, e.hashed = h.table.sets.with(e.spaces, id), true
	h.table.setForms(e, e.forms|o.form)
	return nil
}

// join makes the space see an object that is here. It reports false if there is none. Called
// with the stripe held.
func (s *Store) join(space wire.Space, d wire.Digest) (bool, error) {
	s.mu.Lock()
	id, err := s.table.sets.id(space)
	e := s.table.find(d)
	if err != nil || e == nil {
		s.mu.Unlock()
		return false, err
	}
	s.table.touch(e)
	if s.table.sets.has(e.spaces, space) {
		s.mu.Unlock()
		return true, nil
	}
	other, forms := s.table.sets.names[s.table.sets.lists[e.spaces][0]], e.forms
	s.mu.Unlock()
	for _, f := range []form{plain, executable} {
		if forms&f == 0 {
			continue
		}
		err := s.inShard(s.path(space, d, f), func(path string) error {
			if err := os.Link(s.path(other, d, f), path); !errors.Is(err, os.ErrExist) {
				return err
			}
			return nil
		})
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errLinks) {
			// Its file is gone, or has no room for another name: what came in takes its place.
			s.unlinkForms(d, []wire.Space{space}, forms)
			s.dropLocked(d, "a file of it is gone")
			return false, nil
		}
		if err != nil {
			return false, storing(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.table.find(d); e != nil {
		e.spaces = s.table.sets.with(e.spaces, id)
		e.synced = 0 // the bytes are durable, this name is not
		s.table.doubts++
	}
	return true, nil
}

// place brings the incoming bytes to their name.
func (s *Store) place(space wire.Space, o incoming) error {
	tmp := o.tmp
	if tmp == nil {
		f, err := s.temp()
		if err != nil {
			return err
		}
		if _, err := f.Write(o.small); err != nil {
			return errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		tmp = f
	}
	err := seal(tmp, o.form)
	if err == nil {
		err = s.inShard(s.path(space, o.digest, o.form), func(path string) error { return os.Rename(tmp.Name(), path) })
	}
	if err != nil && o.tmp == nil {
		os.Remove(tmp.Name())
	}
	return err
}

// seal gives a finished file its mode and time and closes it.
func seal(f *os.File, form form) error {
	mode := os.FileMode(0o444)
	if form == executable {
		mode = 0o555
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(f.Name(), modTime, modTime)
}

// inShard runs act on a path in a shard, making the shard if it is not there.
func (s *Store) inShard(path string, act func(path string) error) error {
	err := act(path)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	shard := filepath.Dir(path)
	for _, dir := range []string{filepath.Dir(shard), shard} {
		if err := makeDir(dir, 0o711); err != nil {
			return err
		}
	}
	s.sync.newDirs(shard)
	return act(path)
}
