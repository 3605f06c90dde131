package scan

import (
	"os"
	"path/filepath"
	"strings"
)

// A lookupKey is one question to a search path.
type lookupKey struct {
	name   string
	from   *listing // where to look first: the includer's directory; or nil
	system bool     // from is that of a system header
	start  int      // of the search path
}

// besideIncluder is where a lookup ends that was answered by the includer's directory, or by an
// absolute name.
const besideIncluder = -1

// A lookup is the answer to one question, and what it depends on. It is immutable.
type lookup struct {
	path        string // of the file; "" if there is none
	link        string // the path that it was found by, if gcc goes on with a shorter one
	index       int    // in the search path, or besideIncluder
	precompiled bool   // a compiler would look at a .gch first
	unstable    bool   // it depends on more than needs
	linked      bool   // path may be a link
	needs       []need
	absent      []missing
}

// A need is a directory's state that an answer rests on.
type need struct {
	l   *listing
	gen uint32
}

// missing is a name that was looked for in a directory and is not there; "" means the directory.
type missing struct {
	l    *listing
	name string
}

// find looks a header up, by what earlier units found if no directory changed since.
func (p *pass) find(k lookupKey) *lookup {
	if a := p.answers[k]; a != nil {
		return a
	}
	ch := p.chain
	ch.mu.RLock()
	a := ch.memo[k]
	ch.mu.RUnlock()
	if a == nil || !p.stands(a) {
		a = p.search(k)
		if p.refused == "" && !a.unstable {
			ch.mu.Lock()
			ch.memo[k] = a
			ch.mu.Unlock()
			p.c.memos.Add(1)
		}
	}
	p.answers[k] = a
	if p.missed += len(a.absent); p.missed > maxAbsent {
		p.refuse("too many names looked for in vain")
	}
	return a
}

func (p *pass) stands(a *lookup) bool {
	for _, n := range a.needs {
		if p.view(n.l).gen != n.gen {
			return false
		}
	}
	return true
}

func (p *pass) search(k lookupKey) *lookup {
	a := &lookup{index: besideIncluder}
	if len(k.name) > maxNameBytes || k.name == "" {
		p.refuse("a header's name of " + clip(k.name))
		return a
	}
	if filepath.IsAbs(k.name) {
		p.tryPath(a, "/", k.name)
		p.absolute[filepath.Clean(k.name)] = true
		return a
	}
	if k.from != nil && p.try(a, searchDir{k.from, k.from.path, k.system}, k.name) {
		return a
	}
	for i := k.start; i < len(p.chain.dirs) && p.refused == ""; i++ {
		if p.try(a, p.chain.dirs[i], k.name) {
			a.index = i
			return a
		}
	}
	return a
}

// try looks for a header in one directory.
func (p *pass) try(a *lookup, dir searchDir, name string) bool {
	found := false
	if strings.HasPrefix(name, "../") || strings.Contains(name, "/../") {
		found = p.tryPath(a, dir.path, name)
	} else {
		found = p.tryListed(a, dir.listing, name)
	}
	if found && dir.system && p.canonical {
		p.shorten(a, len(join(dir.spelled, name)))
	}
	return found
}

// shorten carries out gcc's -fcanonical-system-headers: it goes on with a system header's path
// without links if that is shorter than the one as spelled (maybe_shorter_path of libcpp), and
// looks there for what the header includes.
func (p *pass) shorten(a *lookup, spelled int) {
	real := join(p.need(a, p.c.listing(filepath.Dir(a.path))).real, filepath.Base(a.path))
	if a.linked {
		var err error
		if real, err = filepath.EvalSymlinks(a.path); err != nil {
			return
		}
		a.unstable = true
	}
	if len(real) < spelled && real != a.path {
		a.link, a.path = a.path, real
	}
}

// tryListed looks for a header by the listings of directories.
func (p *pass) tryListed(a *lookup, l *listing, name string) bool {
	for {
		v := p.need(a, l)
		if v.absent {
			a.absent = append(a.absent, missing{l, ""})
			return false
		}
		first, rest, more := strings.Cut(name, "/")
		if !more {
			return p.tryName(a, l, v, name)
		}
		name = rest
		if first == "" || first == "." {
			continue
		}
		switch v.kind(first) {
		case nothing:
			a.absent = append(a.absent, missing{l, first})
			return false
		case aFile:
			return false
		}
		l = p.c.listing(join(l.path, first))
	}
}

// tryName looks for a name without slashes in a directory that is there.
func (p *pass) tryName(a *lookup, l *listing, v *view, name string) bool {
	if v.kind(name+".gch") != nothing && (!v.unlisted || exists(join(l.path, name+".gch"))) {
		a.precompiled = true
	}
	path := join(l.path, name)
	switch v.kind(name) {
	case aFile:
		a.path = path
		return true
	case aLink, uncertain:
		if p.open(path, l.path) != nil {
			a.path, a.linked = path, true
			a.unstable = v.unlisted
			return true
		}
		a.unstable = true // what the link points to may come
	case aDir:
		return false
	}
	a.absent = append(a.absent, missing{l, name})
	return false
}

// tryPath looks for a name with ".." in it, or an absolute one, without help of listings.
func (p *pass) tryPath(a *lookup, dir, name string) bool {
	a.unstable = true
	path, found := p.fold(dir, name)
	parent := filepath.Dir(path)
	a.precompiled = a.precompiled || exists(path+".gch")
	if found && p.open(path, parent) != nil {
		a.path, a.linked = path, true
		return true
	}
	a.absent = append(a.absent, missing{p.c.listing(parent), filepath.Base(path)})
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (p *pass) need(a *lookup, l *listing) *view {
	v := p.view(l)
	a.needs = append(a.needs, need{l, v.gen})
	return v
}

func join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}

// A folded path has no "..".
type folded struct {
	path string
	ok   bool // nothing that a ".." leaves is missing
}

// fold joins two paths and makes of them one without ".", ".." and "//". A ".." leaves the
// directory that the kernel would leave: after a symbolic link that is not the one by the
// letters. What is left so must be there, and is noted. If it is not, nothing is found, and the
// path is that of what is missing.
func (p *pass) fold(dir, name string) (path string, ok bool) {
	if !filepath.IsAbs(name) {
		name = join(dir, name)
	}
	if !strings.Contains(name, "/..") {
		return filepath.Clean(name), true
	}
	if f, ok := p.folds[name]; ok {
		return f.path, f.ok
	}
	f, left := folded{"/", true}, false
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || !f.ok:
		case part == "..":
			f, left = p.leave(f.path), true
		default:
			if f.path = join(f.path, part); left {
				p.returns[f.path] = true
			}
		}
	}
	p.folds[name] = f
	return f.path, f.ok
}

// leave returns the directory above one, which may be a link.
func (p *pass) leave(dir string) folded {
	fi, err := os.Lstat(dir)
	if err == nil && fi.Mode()&os.ModeSymlink != 0 {
		p.crossed[dir] = true
		target, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return folded{dir, false}
		}
		dir = target
		fi, err = os.Lstat(dir)
		if err != nil {
			return folded{dir, false}
		}
	}
	if err != nil || !fi.IsDir() {
		return folded{dir, false}
	}
	p.crossed[dir] = true
	return folded{filepath.Dir(dir), true}
}
