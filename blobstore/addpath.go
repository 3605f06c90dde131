package blobstore

import (
	"context"

	"gaggle/wire"
)

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
	return wire.Object{}, wire.Errorf(wire.CauseInternal, "", "not built")
}

// ExportOptions steer Export.
type ExportOptions struct {
	// Replace lets a directory take the place of an existing one. Files always replace files.
	Replace bool
}

// Export writes an object out to dst on a user's disk.
func (s *Store) Export(ctx context.Context, space wire.Space, o wire.Object, dst string, opt ExportOptions) error {
	return wire.Errorf(wire.CauseInternal, "", "not built")
}
