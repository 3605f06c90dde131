package infer

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"gaggle/coord/infer/scan"
	"gaggle/wire"
)

// A layout gathers where the files of a call are to be seen.
type layout struct {
	ctx       context.Context
	store     Store
	toolchain *Toolchain
	base, dir string
	clocked   bool // the time of the compilation is given
	once      bool // some file is read once at most

	links map[string]bool        // directories that were looked at: whether a link is on the way
	files map[string]string      // the user's own, by clean path, as they are opened here
	dirs  map[string]bool        // that must exist, likewise
	extra map[string]wire.Object // of the system, beside the toolchain, by path without its slash
	made  []Made                 // without what they are called in the thunk

	portable  bool
	absolute  []string // the user's files that were named so, clean
	named     []string // directories in the call's words that cover them
	texts     []string // files that may name others
	reentered bool     // a path leaves a directory of the build's and comes back by its name
}

// systemDirs hold what belongs to the machine and not to a user.
var systemDirs = []string{"/usr", "/opt", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc"}

func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// reads notes all files that the call reads.
func (l *layout) reads(s *scan.Scanner, c *Call) error {
	for _, name := range c.Reads {
		if err := l.file(name); err != nil {
			return err
		}
	}
	for i := range c.Units {
		u := &c.Units[i]
		r, err := s.Scan(l.ctx, *u)
		if err != nil {
			return err
		}
		if r.Refused != "" {
			return local("%s", r.Refused)
		}
		for _, m := range u.Macros {
			if strings.Contains(m.Text, "__TIMESTAMP__") || !l.clocked && (strings.Contains(m.Text, "__DATE__") || strings.Contains(m.Text, "__TIME__")) {
				return local("-D%s asks for a time", m.Text)
			}
		}
		if len(r.Dated) > 0 && !l.clocked {
			return local("%s has __DATE__ or __TIME__ in it, and $SOURCE_DATE_EPOCH is not set", path.Base(r.Dated[0]))
		}
		if len(r.Stamped) > 0 {
			return local("%s has __TIMESTAMP__ in it, which is a file's time here", path.Base(r.Stamped[0]))
		}
		l.once = l.once || r.Once
		for _, list := range [][]string{r.Files, r.Exists} {
			for _, name := range list {
				if err := l.scanned(name); err != nil {
					return err
				}
			}
		}
		for _, p := range r.Absolute {
			if l.own(p) {
				l.absolute = append(l.absolute, p)
			}
		}
		for _, p := range r.Returns {
			l.reentered = l.reentered || within(l.base, p)
		}
		for _, name := range r.Dirs {
			p, err := l.folded(name)
			if err == nil {
				err = l.needs(p)
			}
			if err != nil {
				return err
			}
		}
		// A directory of the search path that is missing would be warned of.
		for _, list := range [][]string{u.Quote, u.Include, u.System, u.After} {
			for _, name := range list {
				if err := l.directory(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// writes notes what the call makes, and the directories for it. What it changes in place it reads.
func (l *layout) writes(c *Call) error {
	for _, o := range c.Writes {
		if o.Maybe {
			return local("it may leave %s out", o.Path)
		}
		p, err := l.clean(o.Path)
		if err != nil {
			return err
		}
		if !l.own(p) {
			return local("it writes to %s, outside of the build", p)
		}
		if err := replaceable(p, o.InPlace); err != nil {
			return err
		}
		m := Made{Path: p, Run: o.Run, Names: o.Names}
		if o.InPlace {
			l.files[p], m.Mode = o.Path, p
			info, err := os.Stat(p)
			m.Run = err == nil && info.Mode()&0o100 != 0
		} else if o.Like != "" {
			if m.Mode, err = l.clean(o.Like); err != nil {
				return err
			}
		}
		l.made = append(l.made, m)
		l.dirs[path.Dir(p)] = true
	}
	if len(l.made) == 0 {
		return local("it makes no file")
	}
	return nil
}

// replaceable returns why a file cannot be replaced by another of its name, nil if it can be, or is
// not there.
func replaceable(p string, inPlace bool) error {
	info, err := os.Lstat(p)
	switch {
	case err != nil:
		return nil
	case !info.Mode().IsRegular():
		return local("%s, which it writes, is a %s", p, info.Mode().Type())
	case inPlace && (info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 || links(info) > 1):
		return local("%s, which it changes, has other names or bits that would be lost", p)
	}
	return nil
}

// clean folds a name, and notes it if it names a file of the user's from the root on.
func (l *layout) clean(name string) (string, error) {
	p, err := l.folded(name)
	if err == nil && strings.HasPrefix(name, "/") && l.own(p) {
		l.absolute = append(l.absolute, p)
	}
	return p, err
}

// folded folds "." and ".." out of a name, which is right only if no link is on the way. The
// directories that it passes through are noted: they must exist.
func (l *layout) folded(name string) (string, error) {
	at := "/"
	if !strings.HasPrefix(name, "/") {
		at = l.dir
	}
	parts, left := strings.Split(name, "/"), false
	for i, part := range parts {
		switch part {
		case "", ".":
			continue
		case "..":
			if l.own(at) {
				l.dirs[at] = true
			}
			at, left = path.Dir(at), true
			continue
		}
		at = path.Join(at, part)
		l.reentered = l.reentered || left && within(l.base, at)
		if i < len(parts)-1 && l.isLink(at) {
			return "", local("%s is a symbolic link", at)
		}
	}
	return at, nil
}

func (l *layout) isLink(p string) bool {
	is, known := l.links[p]
	if !known {
		info, err := os.Lstat(p)
		is = err == nil && info.Mode()&fs.ModeSymlink != 0 && !slices.Contains(systemDirs, "/"+strings.Split(p, "/")[1])
		l.links[p] = is
	}
	return is
}

// own reports whether a clean path is among the user's files.
func (l *layout) own(p string) bool {
	if within(p, l.base) || within(p, l.dir) {
		return true
	}
	return !slices.ContainsFunc(systemDirs, func(d string) bool { return within(p, d) })
}

func (l *layout) file(name string) error {
	p, err := l.clean(name)
	if err != nil {
		return err
	}
	return l.fileAt(p, name)
}

// scanned notes a file by the path at which the scanner has found it, which is not how it was named.
func (l *layout) scanned(name string) error {
	p, err := l.folded(name)
	if err != nil {
		return err
	}
	return l.fileAt(p, name)
}

func (l *layout) fileAt(p, name string) error {
	if l.own(p) {
		l.files[p] = name
		return nil
	}
	if l.toolchain.Has(p) {
		return nil
	}
	real, err := filepath.EvalSymlinks(path.Dir(p)) // /lib may be a link to /usr/lib, in the root as well
	if err != nil {
		return local("%v", err)
	}
	if real != path.Dir(p) && real != "/usr"+path.Dir(p) {
		return local("%s is reached by a symbolic link", p)
	}
	if l.extra[path.Join(real, path.Base(p))[1:]], err = l.store.Add(l.ctx, p); err != nil {
		return local("%v", err)
	}
	return nil
}

// directory notes one that is on a search path.
func (l *layout) directory(name string) error {
	p, err := l.clean(name)
	if err != nil {
		return err
	}
	return l.needs(p)
}

// needs notes a directory that must be there if it is here.
func (l *layout) needs(p string) error {
	info, err := os.Stat(p)
	switch {
	case err != nil || !info.IsDir():
	case l.own(p):
		l.dirs[p] = true
	case !l.toolchain.Has(p):
		l.extra[p[1:]], err = emptyDir(l.ctx, l.store)
		return err
	}
	return nil
}

// jobDir is the directory below which all of the user's files lie.
func (l *layout) jobDir() (string, error) {
	dir := l.base
	widen := func(p string) {
		for !within(p, dir) {
			dir = path.Dir(dir)
		}
	}
	widen(l.dir)
	for p := range l.files {
		widen(p)
	}
	for p := range l.dirs {
		widen(p)
	}
	if err := wire.CheckJobDir(dir); err != nil {
		return "", local("its files have no directory in common but %s", dir)
	}
	if o, ok := lookup(l.store, l.toolchain.Root, dir); ok && o.Size > 0 {
		return "", local("its files have no directory in common but %s, where the toolchain is", dir)
	}
	return dir, nil
}
