package blobstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"gaggle/wire"
)

// A depot is where a Writer brings what it has: Store or Memory.
type depot interface {
	base() *shelf
	temp() (*os.File, error) // nil if everything stays in memory
	publish(space wire.Space, o incoming) error
}

// An incoming is bytes that were hashed and are to become an object.
type incoming struct {
	digest wire.Digest
	size   int64
	form   form
	small  []byte   // the bytes, unless tmp is set; not kept
	tmp    *os.File // owned by the Writer, which closes it
}

// A Writer receives the bytes of one object, hashing them. Either Commit or Abort must be called.
// It is for one goroutine.
type Writer struct {
	depot depot
	ctx   context.Context
	space wire.Space
	form  form
	want  *wire.Digest // nil if it is to be found out
	limit int64        // the announced size, or wire.MaxBlob

	hash     *wire.PieceHash
	size     int64
	small    []byte   // all bytes, until there are too many
	tmp      *os.File // then they are here
	admitted []int64  // sizes to give back
	done     bool
}

// Create returns a writer for a blob or encoded tree whose digest and size are known. The error
// is of CauseDiskFull if there is no room for it, of CauseTooLarge or CauseInvalid if there
// cannot be such an object.
func (s *Store) Create(space wire.Space, want wire.Digest, size uint64) (*Writer, error) {
	return create(s, space, want, size)
}

func create(d depot, space wire.Space, want wire.Digest, size uint64) (*Writer, error) {
	if size > wire.MaxBlob {
		return nil, wire.Errorf(wire.CauseTooLarge, "", "object %s of %d bytes exceeds the bound of %d", want, size, uint64(wire.MaxBlob))
	}
	w, err := newWriter(context.Background(), d, space, plain)
	if err != nil {
		return nil, err
	}
	w.want, w.limit = &want, int64(size)
	if size <= smallMax {
		return w, nil
	}
	if err := w.admit(int64(size)); err != nil {
		return nil, err
	}
	if err := w.spill(); err != nil {
		w.Abort()
		return nil, err
	}
	if w.tmp != nil {
		if err := reserve(w.tmp, int64(size)); err != nil {
			w.Abort()
			return nil, storing(err)
		}
	}
	return w, nil
}

func newWriter(ctx context.Context, d depot, space wire.Space, f form) (*Writer, error) {
	h := d.base()
	h.mu.Lock()
	_, err := h.table.sets.id(space)
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return &Writer{depot: d, ctx: ctx, space: space, form: f, limit: wire.MaxBlob, hash: wire.NewPieceHash()}, nil
}

// storing dresses an error of writing to the store's disk.
func storing(err error) error {
	if diskFull(err) {
		return wire.Errorf(wire.CauseDiskFull,
			"free space on that disk: coord gc where jobs are submitted, a lower --store-max of a node",
			"storing an object: the disk is full: %v", err)
	}
	return fmt.Errorf("storing an object: %w", err)
}

func (w *Writer) admit(n int64) error {
	if err := w.depot.base().admit(w.ctx, n); err != nil {
		return err
	}
	w.admitted = append(w.admitted, n)
	return nil
}

// spill moves from memory to a temporary file, if the depot has such.
func (w *Writer) spill() (err error) {
	if w.tmp, err = w.depot.temp(); err != nil || w.tmp == nil {
		return err
	}
	if _, err := w.tmp.Write(w.small); err != nil {
		return storing(err)
	}
	w.small = nil
	return nil
}

// Write adds bytes. Once there are more than Create announced, it fails.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errors.New("writing to an object that is finished")
	}
	if int64(len(p)) > w.limit-w.size {
		return 0, wire.Errorf(wire.CauseTooLarge, "", "object has more than the %d bytes announced", w.limit)
	}
	if w.tmp == nil && len(w.small)+len(p) > smallMax {
		if err := w.spill(); err != nil {
			return 0, err
		}
	}
	if w.tmp == nil {
		w.hash.Write(p)
		w.small = append(w.small, p...)
		w.size += int64(len(p))
		return len(p), nil
	}
	if w.want == nil {
		if err := w.admit(int64(len(p))); err != nil {
			return 0, err
		}
	}
	n, err := w.hashAndWrite(p)
	w.size += int64(n)
	if err != nil {
		return n, storing(err)
	}
	return n, nil
}

func (w *Writer) hashAndWrite(p []byte) (int, error) {
	if len(p) < overlapMin {
		w.hash.Write(p)
		return w.tmp.Write(p)
	}
	var wg sync.WaitGroup
	wg.Go(func() { w.hash.Write(p) })
	n, err := w.tmp.Write(p)
	wg.Wait()
	return n, err
}

// Commit checks size and hash and publishes the object. If they are wrong, the error is of
// wire.CauseInvalid and nothing is left.
func (w *Writer) Commit() error {
	_, err := w.commit()
	return err
}

func (w *Writer) commit() (wire.Digest, error) {
	if w.done {
		return wire.Digest{}, errors.New("committing an object that is finished")
	}
	defer w.Abort() // of what was not published
	d := wire.HashDigest(w.hash)
	if w.want != nil && (*w.want != d || w.size != w.limit) {
		return d, wire.Errorf(wire.CauseInvalid, "", "got %d bytes that hash to %s, want %d of %s", w.size, d, w.limit, *w.want)
	}
	if len(w.admitted) == 0 && !w.known(d) {
		if err := w.admit(w.size); err != nil {
			return d, err
		}
	}
	if err := w.depot.publish(w.space, incoming{d, w.size, w.form, w.small, w.tmp}); err != nil {
		return d, err
	}
	if w.size > wire.PieceSize {
		w.depot.base().manifests.put(w.hash.Manifest())
	}
	return d, nil
}

func (w *Writer) known(d wire.Digest) bool {
	h := w.depot.base()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table.find(d) != nil
}

// Abort leaves nothing behind. After Commit it does nothing.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	w.small = nil
	for _, n := range w.admitted {
		w.depot.base().giveBack(n)
	}
	if w.tmp != nil {
		w.tmp.Close()
		os.Remove(w.tmp.Name()) // its name is gone if it was published
	}
}
