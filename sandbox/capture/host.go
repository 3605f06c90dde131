package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gaggle/wire"
)

// A host copies parts of this machine's file system into a layout, at the same paths and with
// the links that lead to them.
type host struct {
	prefix string // of every path on this machine: "" but in tests
	layout *layout
	taken  map[string]bool // keys of directories that were taken whole
	seen   record          // by the paths of this machine, with the prefix
	added  []string        // files, by their canonical paths, in the order they came
}

func newHost(prefix string) *host {
	return &host{prefix: prefix, layout: newLayout(), taken: map[string]bool{}, seen: record{}}
}

var (
	errLinks   = errors.New("too many symbolic links")
	errSpecial = errors.New("neither a file nor a directory")
)

func (h *host) lstat(p string) (fs.FileInfo, error) {
	fi, err := os.Lstat(h.prefix + p)
	h.seen.saw(h.prefix+p, fi, err)
	return fi, err
}

// stat follows links, and looks at each as it does.
func (h *host) stat(p string) (fs.FileInfo, error) {
	file, err := h.canonical(p)
	if err != nil {
		return nil, err
	}
	return h.lstat(file)
}

func (h *host) readDir(p string) ([]fs.DirEntry, error) {
	at, err := h.canonical(p)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(h.prefix + at)
	if err != nil {
		return nil, err
	}
	h.seen.listed(h.prefix+at, entries)
	return entries, nil
}

// readFile returns the text of a small file.
func (h *host) readFile(p string, limit int64) ([]byte, error) {
	if _, err := h.stat(p); err != nil {
		return nil, err
	}
	f, err := os.Open(h.prefix + p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// add takes the file, directory (without what is in it) or link at p, and every link and
// directory on the way to where it leads, and returns that canonical path.
func (h *host) add(p string) (string, fs.FileInfo, error) { return h.walk(p, true) }

// canonical returns where p leads on this machine, and takes nothing.
func (h *host) canonical(p string) (string, error) {
	at, _, err := h.walk(p, false)
	return at, err
}

func (h *host) walk(p string, take bool) (string, fs.FileInfo, error) {
	at, todo, links := "/", split(p), 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		fi, err := h.lstat(next)
		if err != nil {
			return "", nil, err
		}
		if fi.Mode().Type() == fs.ModeSymlink {
			if links++; links > maxLinks {
				return "", nil, &fs.PathError{Op: "capture", Path: p, Err: errLinks}
			}
			target, err := h.link(next, take)
			if err != nil {
				return "", nil, err
			}
			if path.IsAbs(target) {
				at = "/"
			}
			todo = append(split(target), todo...)
			continue
		}
		if !fi.IsDir() && len(todo) > 0 {
			return "", nil, &fs.PathError{Op: "open", Path: p, Err: syscall.ENOTDIR}
		}
		at = next
		if !take {
			continue
		}
		if err := h.place(at, fi); err != nil {
			return "", nil, err
		}
	}
	fi, err := h.lstat(at) // a ".." may have come last
	return at, fi, err
}

// link returns the target of the symbolic link at canonical path p, which is put into the layout
// if take is set.
func (h *host) link(p string, take bool) (string, error) {
	target, err := os.Readlink(h.prefix + p)
	if err != nil || !take {
		return target, err
	}
	return target, h.layout.put(p, &node{kind: wire.Symlink, target: filepath.ToSlash(target)})
}

// place puts the file or directory at canonical path p into the layout; what is neither, such
// as a device, is an error.
func (h *host) place(p string, fi fs.FileInfo) error {
	switch {
	case fi.IsDir():
		return h.layout.mkdir(p)
	case !fi.Mode().IsRegular():
		return &fs.PathError{Op: "capture", Path: p, Err: errSpecial}
	}
	if _, n, _ := h.layout.find(p, false); n != nil && n.source != "" {
		return nil
	}
	if err := h.layout.put(p, &node{kind: fileKind(fi), source: h.prefix + p}); err != nil {
		return err
	}
	h.added = append(h.added, p)
	return nil
}

// fileKind keeps the executable bit and nothing else of a mode: setuid and owners are dropped.
func fileKind(fi fs.FileInfo) wire.Kind {
	if fi.Mode().Perm()&0o111 != 0 {
		return wire.Exec
	}
	return wire.File
}

// takeOptions steer take.
type takeOptions struct {
	lenient bool     // leave out what cannot be read or named
	links   bool     // take links for what they are, and not where they lead
	public  bool     // leave out files that not everybody may read: they may hold secrets
	tidy    bool     // leave out what is changing
	skip    []string // patterns of canonical paths to leave out
}

// key tells apart how the directory at a canonical path is taken: what one rule leaves out of it
// another may be for.
func (o takeOptions) key(at string) string {
	return fmt.Sprint(at, "\x00", o.lenient, o.links, o.public, o.tidy, strings.Join(o.skip, "\x00"))
}

func (o takeOptions) skips(p string) bool {
	if o.tidy && changing(path.Base(p)) {
		return true
	}
	return slices.ContainsFunc(o.skip, func(pattern string) bool {
		ok, err := path.Match(pattern, p)
		return ok && err == nil
	})
}

// take takes the file or the whole directory at p. What links inside lead to is taken too, but
// for directories so high up that they would be a machine rather than a part of one.
func (h *host) take(p string, opt takeOptions) error {
	at, err := h.canonical(p)
	if err != nil {
		return err
	}
	fi, err := h.lstat(at)
	if err != nil || opt.public && fi.Mode().IsRegular() && fi.Mode().Perm()&0o004 == 0 {
		return err
	}
	if _, _, err := h.add(p); err != nil || !fi.IsDir() {
		return err
	}
	if top, rest, _ := strings.Cut(at[1:], "/"); rest == "" && whole[top] {
		return wire.Errorf(wire.CauseInvalid, "name what is needed below it, or give a root",
			"%s cannot be taken into a root as a whole", at)
	}
	return h.takeDir(at, opt)
}

// whole are directories at the top that hold most of a machine, or no files of a disk.
var whole = map[string]bool{"": true, "dev": true, "proc": true, "sys": true, "run": true, "usr": true, "home": true, "root": true, "var": true}

// takeDir takes what is in the directory at the canonical path at.
func (h *host) takeDir(at string, opt takeOptions) error {
	if h.taken[opt.key(at)] {
		return nil
	}
	h.taken[opt.key(at)] = true
	entries, err := h.readDir(at)
	if err != nil {
		return opt.excuse(err)
	}
	for _, e := range entries {
		p := path.Join(at, e.Name())
		if opt.skips(p) {
			continue
		}
		if err := opt.excuse(h.takeEntry(p, e, opt)); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) takeEntry(p string, e fs.DirEntry, opt takeOptions) error {
	if err := wire.CheckName(e.Name()); err != nil {
		return err
	}
	if e.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
		return nil // sockets, devices and pipes have no content
	}
	fi, err := h.lstat(p)
	switch {
	case err != nil:
		return err
	case fi.IsDir():
		if err := h.layout.mkdir(p); err != nil {
			return err
		}
		return h.takeDir(p, opt)
	case fi.Mode().IsRegular():
		if opt.public && fi.Mode().Perm()&0o004 == 0 {
			return nil
		}
		return h.place(p, fi)
	}
	target, err := h.link(p, true)
	if err != nil || opt.links {
		return err
	}
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(p), target)
	}
	return h.follow(target, opt)
}

// follow takes what a link inside a taken directory leads to. One that leads nowhere, or to
// what cannot be taken, is a link all the same.
func (h *host) follow(target string, opt takeOptions) error {
	at, fi, err := h.add(target)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errSpecial), errors.Is(err, errLinks), errors.Is(err, syscall.ENOTDIR):
		return nil
	case err != nil || !fi.IsDir():
		return err
	}
	switch names := split(at); {
	case len(names) < 2, len(names) == 2 && whole[names[0]]:
		return nil
	}
	return h.takeDir(at, opt)
}

func (o takeOptions) excuse(err error) error {
	if o.lenient && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, wire.ErrBadPath)) {
		return nil
	}
	return err
}
