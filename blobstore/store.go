package blobstore

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"os"

	"gaggle/wire"
)

// ErrNotFound is wrapped when an object is not in the store under the given space: it never was,
// it was trimmed, or it was found corrupt and dropped. Its cause is wire.CauseNotFound.
var ErrNotFound error = &wire.Error{Cause: wire.CauseNotFound, Message: "not in this store"}

var errNotBuilt = wire.Errorf(wire.CauseInternal, "", "not built")

// Options configure a Store.
type Options struct {
	// MaxBytes bounds what the store takes on disk; 0 is no bound but the disk's.
	MaxBytes int64
	// Logger takes what an operator should see; nil discards it.
	Logger *slog.Logger
	// OnLost, if not nil, is called with the objects given to Hold that are no longer whole,
	// because a part was trimmed or found corrupt. It is called without locks held, and from any
	// goroutine; it must not block for long.
	OnLost func(wire.Space, []wire.Digest)
}

// A Store keeps blobs, trees and claims in one directory. It is safe for concurrent use.
type Store struct{}

// Open opens the store in dir, making the directory if need be.
func Open(dir string, opt Options) (*Store, error) { return nil, errNotBuilt }

// Close releases the store. What was put is kept; it makes nothing durable that Sync had not.
func (s *Store) Close() error { return errNotBuilt }

// Put stores the bytes of r as a blob of the space and returns its id and length.
func (s *Store) Put(ctx context.Context, space wire.Space, r io.Reader) (wire.BlobID, int64, error) {
	return wire.BlobID{}, 0, errNotBuilt
}

// PutFile stores the size bytes of f, from its beginning, as a blob of the space.
func (s *Store) PutFile(ctx context.Context, space wire.Space, f *os.File, size int64) (wire.BlobID, error) {
	return wire.BlobID{}, errNotBuilt
}

// PutTree stores the encoding of t. What t names need not be in the store.
func (s *Store) PutTree(ctx context.Context, space wire.Space, t *wire.Tree) (wire.TreeID, error) {
	return wire.TreeID{}, errNotBuilt
}

// Create returns a writer for a blob or encoded tree whose digest and size are known.
func (s *Store) Create(space wire.Space, want wire.Digest, size uint64) (*Writer, error) {
	return nil, errNotBuilt
}

// A Writer receives the bytes of one object. Either Commit or Abort must be called.
type Writer struct{}

// Write adds bytes. Bytes beyond the announced size are an error.
func (w *Writer) Write(p []byte) (int, error) { return 0, errNotBuilt }

// Commit checks size and hash and publishes the object.
func (w *Writer) Commit() error { return errNotBuilt }

// Abort leaves nothing behind. After Commit it does nothing.
func (w *Writer) Abort() {}

// Open opens an object for reading.
func (s *Store) Open(space wire.Space, d wire.Digest) (*Blob, error) { return nil, errNotBuilt }

// A Blob is an open object.
type Blob struct{}

// Size returns the length in bytes.
func (b *Blob) Size() int64 { return 0 }

// Read reads in sequence; reading to the end verifies.
func (b *Blob) Read(p []byte) (int, error) { return 0, errNotBuilt }

// ReadAt reads at an offset, unverified.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) { return 0, errNotBuilt }

// Seek sets the offset of the next Read.
func (b *Blob) Seek(offset int64, whence int) (int64, error) { return 0, errNotBuilt }

// Close releases the blob.
func (b *Blob) Close() error { return errNotBuilt }

// Stat returns the length of an object and whether it is here.
func (s *Store) Stat(space wire.Space, d wire.Digest) (size int64, ok bool) { return 0, false }

// Tree returns a decoded directory.
func (s *Store) Tree(space wire.Space, id wire.TreeID) (*wire.Tree, error) { return nil, errNotBuilt }

// Missing returns what of o's closure is not here: itself, and for a Dir everything below. A tree
// that is missing hides what is below it. Each object is named once.
func (s *Store) Missing(space wire.Space, o wire.Object) ([]wire.Object, error) {
	return nil, errNotBuilt
}

// File returns the host path of a read-only file with the blob's bytes: mode 0555 if exec, else
// 0444. It stays until release is called.
func (s *Store) File(space wire.Space, d wire.Digest, exec bool) (path string, release func(), err error) {
	return "", nil, errNotBuilt
}

// Resident returns a read-only host directory with the tree's content. It stays until release is
// called.
func (s *Store) Resident(ctx context.Context, space wire.Space, id wire.TreeID) (dir string, release func(), err error) {
	return "", nil, errNotBuilt
}

// Pin keeps an object, and what is below it if it is a tree, from being trimmed until Unpin with
// the same owner. Pins outlive the process; Sync makes them durable.
func (s *Store) Pin(space wire.Space, d wire.Digest, owner string) {}

// Unpin takes back one owner's pin.
func (s *Store) Unpin(space wire.Space, d wire.Digest, owner string) {}

// Sync returns when the objects and what is below them are durable, with all pins and holds.
func (s *Store) Sync(ctx context.Context, space wire.Space, objs []wire.Object) error {
	return errNotBuilt
}

// Hold remembers that o is here whole, to be reported to the coordinator.
func (s *Store) Hold(space wire.Space, o wire.Object) {}

// Held yields the objects given to Hold that are still whole.
func (s *Store) Held() iter.Seq2[wire.Space, wire.Object] {
	return func(func(wire.Space, wire.Object) bool) {}
}

// AddOptions steer AddPath.
type AddOptions struct {
	// Progress, if not nil, is called now and then, from one goroutine at a time, with what has
	// been seen so far, and once at the end.
	Progress func(AddProgress)
}

// AddProgress counts what AddPath has seen.
type AddProgress struct {
	Files       int64 // files seen
	Bytes       int64 // their lengths in sum
	Hashed      int64 // files read because the index did not know them
	HashedBytes int64
}

// AddPath hashes a local file or directory into the store.
func (s *Store) AddPath(ctx context.Context, space wire.Space, path string, opt AddOptions) (wire.Object, error) {
	return wire.Object{}, errNotBuilt
}

// ExportOptions steer Export.
type ExportOptions struct {
	// Replace lets a directory take the place of an existing one. Files always replace files.
	Replace bool
}

// Export writes an object out to dst on a user's disk.
func (s *Store) Export(ctx context.Context, space wire.Space, o wire.Object, dst string, opt ExportOptions) error {
	return errNotBuilt
}

// AddClaim keeps a claim, the latest of each signer, at most wire.MaxClaims for a thunk.
func (s *Store) AddClaim(c *wire.Claim) error { return errNotBuilt }

// Claims returns the verified claims for a thunk; none is no error.
func (s *Store) Claims(space wire.Space, thunk wire.ThunkID) ([]wire.Claim, error) {
	return nil, errNotBuilt
}

// Trim drops the longest unused objects until the store is comfortably within MaxBytes.
func (s *Store) Trim(ctx context.Context) (freed int64, err error) { return 0, errNotBuilt }

// Used returns the bytes the store takes on disk, as Trim counts them.
func (s *Store) Used() int64 { return 0 }
