package scan

import (
	"maps"
	"path/filepath"
	"slices"
	"sort"
)

// A Result lists what the compile of a unit depends on. All paths are absolute and without ".",
// ".." and "//". Symbolic links in them are left as the compiler passes them, so both the link
// and what it leads to must be where the task runs; only what stands before a ".." is resolved,
// because that leaves the directory a link leads to, not the one it is in.
type Result struct {
	// Refused says why the unit is not served here; "" if it is. All else is empty then.
	Refused string

	// Files are those that are read, the source first, then as they are first entered. A file
	// that is read by two names is here by both, but see Exists.
	Files []string

	// Exists are files that are looked for but not read: by __has_include, as another name of a
	// file that is read once, or a link by which gcc finds the shorter path of a system header.
	// They must be the same where the task runs.
	Exists []string

	// Dated are those of Files in which __DATE__ or __TIME__ stands, be it in a comment: what is
	// compiled may have the time in it. In Stamped there is __TIMESTAMP__, a file's own time.
	Dated, Stamped []string

	// Once says that some file is read once at most (#pragma once, #import). A compiler that goes
	// by time, size and bytes takes files of equal bytes for one if their times are equal.
	Once bool

	// Dirs are directories, or links to such, that a ".." in a name leaves: they must be there.
	Dirs []string

	// Absolute are where the absolute names lead that a directive has, or the call for one. Returns are
	// where a name leads into a directory again after a "..": both say what a directory is called.
	Absolute, Returns []string

	// Absent are the names that were looked for in vain. When one appears, the result is stale.
	Absent []Absent
}

// An Absent is a directory with names, none of which is in it. The directory may itself be
// missing. Where a part of a path is missing it is here, not what would lie below.
type Absent struct {
	Dir   string
	Names []string // sorted, without slashes
}

func (p *pass) result() *Result {
	if p.refused != "" {
		return &Result{Refused: p.refused}
	}
	r := &Result{}
	source := p.order[len(p.order)-1]
	for _, o := range p.order {
		if o.main {
			source = o
		}
	}
	r.Files = append(r.Files, source.path)
	for _, o := range p.order {
		if o != source {
			r.Files = append(r.Files, o.path)
		}
	}
	for _, o := range p.order {
		if o.src.dated {
			r.Dated = append(r.Dated, o.path)
		}
		if o.src.stamped {
			r.Stamped = append(r.Stamped, o.path)
		}
	}
	for _, o := range p.files {
		if o != nil && o.asked && !o.entered {
			r.Exists = append(r.Exists, o.path)
		}
	}
	r.Exists = slices.AppendSeq(r.Exists, maps.Keys(p.links))
	sort.Strings(r.Exists)
	r.Once = len(p.onlyOnce) > 0
	r.Dirs = slices.Sorted(maps.Keys(p.crossed))
	r.Absolute, r.Returns = slices.Sorted(maps.Keys(p.absolute)), slices.Sorted(maps.Keys(p.returns))
	r.Absent = p.absent()
	return r
}

// absent groups by directory what lookups missed.
func (p *pass) absent() []Absent {
	sets := map[*listing]map[string]bool{}
	add := func(l *listing, name string) {
		if sets[l] == nil {
			sets[l] = map[string]bool{}
		}
		sets[l][name] = true
	}
	for _, a := range p.answers {
		for _, m := range a.absent {
			if m.name == "" {
				m = missing{p.c.listing(filepath.Dir(m.l.path)), filepath.Base(m.l.path)}
			}
			add(m.l, m.name)
		}
	}
	all := make([]Absent, 0, len(sets))
	for l, names := range sets {
		all = append(all, Absent{l.path, slices.Sorted(maps.Keys(names))})
	}
	slices.SortFunc(all, func(a, b Absent) int {
		if a.Dir < b.Dir {
			return -1
		}
		return 1
	})
	return all
}
