package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"gaggle/wire"
)

// File returns the host path of a read-only file with the blob's bytes: mode 0555 if exec, else
// 0444, modification time 0. It stays until release is called; it is nobody's to change. Its
// bytes were verified when they came in, and are again if the file's size or time says that
// somebody wrote to it. The error wraps ErrNotFound if the blob is not here.
func (s *Store) File(space wire.Space, d wire.Digest, exec bool) (path string, release func(), err error) {
	defer s.settle()
	st := s.stripe(d)
	st.Lock()
	defer st.Unlock()
	path, err = s.formLocked(space, d, formOf(exec))
	if err != nil {
		return "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return path, s.lease(s.table.find(d)), nil
}

// formLocked returns the path of one form of a blob, making the form if need be. Called with the
// stripe held; settle must follow when it is not.
func (s *Store) formLocked(space wire.Space, d wire.Digest, want form) (string, error) {
	for {
		s.mu.Lock()
		e := s.table.in(space, d)
		if e == nil {
			s.mu.Unlock()
			return "", notFound(space, d)
		}
		s.table.touch(e)
		size, forms := e.size, e.forms
		s.mu.Unlock()
		have := want
		if forms&want == 0 {
			have = forms
		}
		fi, ok, err := s.checkForm(space, d, have, size)
		if err != nil {
			return "", err
		}
		if !ok { // gone or wrong: perhaps the other form is left
			s.loseForm(d, have)
			continue
		}
		if have != want {
			if err := s.makeForm(space, d, have, want, fi); err != nil {
				return "", err
			}
		}
		return s.path(space, d, want), nil
	}
}

// checkForm looks at a file's name, size, time and mode, and hashes it if they are not as this
// package leaves them. It reports false if the file is gone or its bytes are wrong.
func (s *Store) checkForm(space wire.Space, d wire.Digest, f form, size int64) (os.FileInfo, bool, error) {
	path := s.path(space, d, f)
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("looking at object %s: %w", d, err)
	}
	if !fi.Mode().IsRegular() || fi.Size() != size {
		return nil, false, nil
	}
	if (f == executable) == (fi.Mode()&0o111 != 0) && untouched(fi, size) {
		return fi, true, nil
	}
	if ok, err := hashesTo(path, d); !ok || err != nil {
		return nil, false, err
	}
	err = setForm(path, f)
	return fi, err == nil, err
}

// untouched reports whether a file of the store has the size that it is to have, and its time and mode
// are as this package leaves them.
func untouched(fi os.FileInfo, size int64) bool {
	return fi.Size() == size && fi.ModTime().Equal(modTime) && fi.Mode().Perm()&0o222 == 0
}

// setForm gives a file the mode and time of a form.
func setForm(path string, f form) error {
	mode := os.FileMode(0o444)
	if f == executable {
		mode = 0o555
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("restoring the mode of a file: %w", err)
	}
	if err := os.Chtimes(path, modTime, modTime); err != nil {
		return fmt.Errorf("restoring the time of a file: %w", err)
	}
	return nil
}

// hashesTo reports whether the file's bytes are d's. A missing file is not.
func hashesTo(path string, d wire.Digest) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("verifying object %s: %w", d, err)
	}
	defer f.Close()
	h := wire.NewHash()
	if _, err := copyHash(context.Background(), h, f); err != nil {
		return false, fmt.Errorf("verifying object %s: %w", d, err)
	}
	return wire.HashDigest(h) == d, nil
}

// loseForm forgets a form whose file is gone or wrong; with its last form the object is dropped.
func (s *Store) loseForm(d wire.Digest, f form) {
	s.mu.Lock()
	e := s.table.find(d)
	if e == nil || e.forms&^f == 0 {
		s.mu.Unlock()
		s.dropLocked(d, "its file is gone or wrong")
		return
	}
	spaces := s.table.sets.spaces(e.spaces)
	s.table.setForms(e, e.forms&^f)
	s.mu.Unlock()
	s.unlinkForms(d, spaces, f)
}

// makeForm makes the wanted form out of the other one. An inode that nothing else uses changes
// its mode and name; any other is copied.
func (s *Store) makeForm(space wire.Space, d wire.Digest, have, want form, fi os.FileInfo) error {
	s.mu.Lock()
	e := s.table.find(d)
	lone := e.leases == 0 && len(s.table.sets.lists[e.spaces]) == 1 && linkCount(fi) == 1
	spaces := s.table.sets.spaces(e.spaces)
	s.mu.Unlock()
	from, to := s.path(space, d, have), s.path(space, d, want)
	if lone {
		if err := os.Rename(from, to); err != nil {
			return fmt.Errorf("changing the form of object %s: %w", d, err)
		}
		s.haveForms(d, want)
		return setForm(to, want)
	}
	if err := s.copyForm(from, to, d, want); err != nil {
		return err
	}
	for _, other := range spaces {
		if other == space {
			continue
		}
		err := s.inShard(s.path(other, d, want), func(path string) error { return os.Link(to, path) })
		if err != nil && !errors.Is(err, os.ErrExist) {
			s.unlinkForms(d, spaces, want)
			return storing(err)
		}
	}
	s.haveForms(d, have|want)
	s.kickIfFull() // no room was admitted: a trim under the stripe would lock itself out
	return nil
}

func (s *Store) haveForms(d wire.Digest, f form) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.setForms(s.table.find(d), f)
}

// copyForm copies one file of the store to another name and mode, verifying what it copies.
func (s *Store) copyForm(from, to string, d wire.Digest, want form) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying object %s: %w", d, err)
	}
	defer src.Close()
	w, err := newWriter(context.Background(), s, wire.Public, want)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := w.spill(); err != nil {
		return err
	}
	if err := fillCopy(w, src); err != nil {
		return err
	}
	if wire.HashDigest(w.hash) != d {
		s.dropLocked(d, "its bytes are wrong")
		return fmt.Errorf("object %s is corrupt on disk and was dropped: %w", d, ErrNotFound)
	}
	if err = seal(w.tmp, want); err == nil {
		err = os.Rename(w.tmp.Name(), to)
	}
	if err != nil {
		return storing(err)
	}
	return nil
}

// fillCopy brings src's bytes to w's temporary file and through its hash.
func fillCopy(w *Writer, src *os.File) error {
	if reflink(w.tmp, src) {
		_, err := copyHash(w.ctx, w.hash, w.tmp)
		return err
	}
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	for off := int64(0); ; {
		n, rerr := src.ReadAt(buf[:], off)
		if _, err := w.hashAndWrite(buf[:n]); err != nil {
			return storing(err)
		}
		off += int64(n)
		if rerr == io.EOF {
			return nil
		}
		if rerr != nil {
			return fmt.Errorf("reading a file of the store: %w", rerr)
		}
	}
}
