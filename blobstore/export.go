package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"gaggle/wire"
)

// ExportOptions steer Export.
type ExportOptions struct {
	// Replace lets a directory take the place of whatever is there. A file always takes the place
	// of a file.
	Replace bool
}

// Export writes an object out to dst on a user's disk: files with mode 0644 or 0755, symlinks
// only if they are relative and stay within the directory. It is written beside dst under a
// temporary name, verified while it is copied, and renamed; after any error dst is what it was.
// A symlink at dst is replaced, never followed. Missing parent directories are made. The error
// wraps ErrNotFound if a part is not here, and is of wire.CauseInvalid with a hint if dst is in
// the way or the tree holds what must not be written out.
func (s *Store) Export(ctx context.Context, space wire.Space, o wire.Object, dst string, opt ExportOptions) error {
	defer s.need(key{space, o.Digest})()
	if err := s.export(ctx, space, o, dst, opt); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	return nil
}

func (s *Store) export(ctx context.Context, space wire.Space, o wire.Object, dst string, opt ExportOptions) error {
	dst, err := filepath.Abs(dst)
	if err != nil {
		return err
	}
	if missing, err := s.Missing(space, o); err != nil {
		return err
	} else if len(missing) > 0 {
		return fmt.Errorf("%s: %w", missing[0].CID(), ErrNotFound)
	}
	if err := inTheWay(dst, o.Kind == wire.Dir, opt.Replace); err != nil {
		return err
	}
	undo, err := makeParents(filepath.Dir(dst))
	if err != nil {
		return exporting(err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dst), ".gaggle-")
	if err == nil {
		err = s.exportTo(ctx, space, o, filepath.Join(tmp, "new"))
		if err == nil {
			err = takePlace(tmp, dst, opt.Replace)
		}
		err = errors.Join(err, removeTree(tmp))
	}
	if err != nil {
		undo()
	}
	return exporting(err)
}

// exporting dresses an error of writing to the user's disk.
func exporting(err error) error {
	if err != nil && diskFull(err) {
		return wire.Errorf(wire.CauseDiskFull, "free some space or name another directory", "the disk is full: %v", err)
	}
	return err
}

// inTheWay refuses to replace what the user may want to keep.
func inTheWay(dst string, dir, replace bool) error {
	fi, err := os.Lstat(dst)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir() && !dir:
		return wire.Errorf(wire.CauseInvalid, "remove it or name another target", "a directory is in the place of the file")
	case dir && !replace:
		return wire.Errorf(wire.CauseInvalid, "say --replace, or name another target", "it exists already")
	}
	return nil
}

// makeParents makes a directory and those above it, and returns how to remove what it made.
func makeParents(dir string) (undo func(), err error) {
	var made []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, os.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		made = append(made, d)
	}
	undo = func() {
		for _, d := range made {
			os.Remove(d) // fails if somebody else uses it meanwhile
		}
	}
	if err = os.MkdirAll(dir, 0o755); err != nil {
		undo()
	}
	return undo, err
}

// takePlace moves tmp/new to dst and what was there into tmp.
func takePlace(tmp, dst string, replace bool) error {
	from := filepath.Join(tmp, "new")
	fi, err := os.Lstat(dst)
	if errors.Is(err, os.ErrNotExist) || err == nil && !fi.IsDir() {
		nfi, nerr := os.Lstat(from)
		if nerr != nil {
			return nerr
		}
		if err != nil || !nfi.IsDir() {
			return os.Rename(from, dst)
		}
	} else if err != nil {
		return err
	}
	if !replace {
		return wire.Errorf(wire.CauseInvalid, "say --replace, or name another target", "it exists already")
	}
	if exchange(from, dst) {
		return nil
	}
	old := filepath.Join(tmp, "old")
	if err := os.Rename(dst, old); err != nil {
		return err
	}
	if err := os.Rename(from, dst); err != nil {
		return errors.Join(err, os.Rename(old, dst))
	}
	return nil
}

func (s *Store) exportTo(ctx context.Context, space wire.Space, o wire.Object, path string) error {
	x := &exporter{s: s, space: space}
	if o.Kind != wire.Dir {
		return x.file(ctx, path, o)
	}
	if n, err := s.layoutSize(o.Digest); err != nil {
		return err
	} else if n > maxLayout {
		return wire.Errorf(wire.CauseTooLarge, "", "it has more than %d names", maxLayout)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	g.Go(func() error { return x.dir(gctx, g, path, o.Digest, 0) })
	return g.Wait()
}

// An exporter writes out one object.
type exporter struct {
	s     *Store
	space wire.Space
}

func (x *exporter) dir(ctx context.Context, g *errgroup.Group, path string, d wire.Digest, depth int) error {
	if depth > wire.MaxTreeDepth {
		return wire.Errorf(wire.CauseTooLarge, "", "directories are nested deeper than %d", wire.MaxTreeDepth)
	}
	t, err := x.s.Tree(x.space, wire.TreeID(d))
	if err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		act := func() error { return x.entry(ctx, g, filepath.Join(path, e.Name), e, depth) }
		if e.Object.Kind == wire.Symlink || !g.TryGo(act) {
			if err := act(); err != nil {
				return err
			}
		}
	}
	return os.Chmod(path, 0o755)
}

func (x *exporter) entry(ctx context.Context, g *errgroup.Group, path string, e *wire.Entry, depth int) error {
	switch e.Object.Kind {
	case wire.Dir:
		return x.dir(ctx, g, path, e.Object.Digest, depth+1)
	case wire.Symlink:
		if why := strays(e.Target, depth); why != "" {
			return wire.Errorf(wire.CauseInvalid, "have the task write a relative symlink within its output",
				"symlink %q points to %q, which %s", e.Name, e.Target, why)
		}
		return os.Symlink(e.Target, path)
	}
	return x.file(ctx, path, e.Object)
}

// file copies one file; reading it to the end verifies it.
func (x *exporter) file(ctx context.Context, path string, o wire.Object) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := x.s.Open(x.space, o.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	mode := os.FileMode(0o644)
	if o.Kind == wire.Exec {
		mode = 0o755
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, &cancellable{ctx, b}, buf[:])
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	return errors.Join(err, f.Close())
}

// A cancellable reader ends with its context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
