// Package capture makes root trees: the file systems that thunks see. A root comes from the
// programs of this machine (Tools), from a directory (Dir) or from an image archive (OCI).
package capture

import (
	"context"
	"os"

	"gaggle/wire"
)

// A Sink takes what a tree is made of. It is called from several goroutines at once. If it also
// is a PathSink, files of this machine are given to it by path.
type Sink interface {
	PutFile(ctx context.Context, f *os.File, size int64) (wire.BlobID, error)
	PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error)
}

// A PathSink can tell from an index what a file's bytes are without reading them.
type PathSink interface {
	// AddPath returns the object of the regular file at a host path.
	AddPath(ctx context.Context, path string) (wire.Object, error)
}

// Options say where Tools looks.
type Options struct {
	Path    string   // directories to search for programs, as in $PATH
	Include []string // absolute glob patterns of more files and directories to take
}

// Tools captures the named programs of this machine.
func Tools(ctx context.Context, names []string, opt Options, sink Sink) (wire.Object, error) {
	return wire.Object{}, errNotBuilt
}

// DirOptions steer Dir.
type DirOptions struct {
	// Root adds what every root tree has and dir lacks, as Tools does.
	Root bool
}

// Dir captures a directory of this machine as it is.
func Dir(ctx context.Context, dir string, opt DirOptions, sink Sink) (wire.Object, error) {
	return wire.Object{}, errNotBuilt
}

// OCI captures the file system of an image archive: what docker save wrote, an OCI layout as a
// tar, or a plain tar of a root file system.
func OCI(ctx context.Context, tarPath string, sink Sink) (wire.Object, error) {
	return wire.Object{}, errNotBuilt
}

var errNotBuilt = wire.Errorf(wire.CauseInternal, "", "not built")
