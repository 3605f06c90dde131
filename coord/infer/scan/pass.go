package scan

import (
	"context"
	"path/filepath"
	"time"
)

// A pass walks one unit. It sees each file and each directory in one state.
type pass struct {
	ctx     context.Context
	scanner *Scanner
	c       *cache
	unit    *Unit
	probe   *probe
	chain   *chain
	now     time.Time

	canonical bool // gcc's -fcanonical-system-headers, which is its default

	table  []*macro // by nameID
	pushed map[nameID][]*macro
	off    map[nameID]bool // macros whose replacement is being read
	at     *frame

	refused string
	steps   int
	entered int
	depth   int
	missed  int

	files    map[*file]*opened
	order    []*opened // that were entered
	onlyOnce []*opened // files that say #pragma once or were imported
	views    map[*listing]*view
	answers  map[lookupKey]*lookup
	folds    map[string]folded
	crossed  map[string]bool // directories that a ".." leaves
	absolute map[string]bool // where absolute names lead
	returns  map[string]bool // where names lead into a directory after a ".."
	links    map[string]bool // by which gcc finds shorter paths
}

// opened is a file as this unit sees it; nil content means that there is none to read.
type opened struct {
	*file
	*content
	main    bool // the source
	entered bool
	once    bool // not to be entered again
	asked   bool // by __has_include, or found to be another name of a file that is read once
}

// A frame is a file that is being read.
type frame struct {
	file   *opened
	index  int    // of the search path's directory in which it was found
	name   string // by which it was included
	short  string // the path that gcc took instead; or ""
	system bool   // a system header, or included by one
	up     *frame // the includer; nil for the source and what the command line includes
	main   bool   // the source
	placed bool   // found by an absolute name
	once   bool   // by #import
}

// refuse gives the unit up. The first reason stays.
func (p *pass) refuse(why string) {
	if p.refused == "" {
		p.refused = why
	}
}

// step counts n steps and reports whether the unit may go on.
func (p *pass) step(n int) bool {
	if p.steps += n; p.steps > maxSteps {
		p.refuse("more steps than a unit may take")
	}
	return p.refused == ""
}

func (p *pass) macro(id nameID) *macro {
	if int(id) < len(p.table) {
		return p.table[id]
	}
	return nil
}

func (p *pass) setMacro(id nameID, m *macro) { p.table = setMacro(p.table, id, m) }

// view returns a directory's names; what cannot be read refuses the unit.
func (p *pass) view(l *listing) *view {
	if v := p.views[l]; v != nil {
		return v
	}
	v, err := l.look(p.now)
	if err != nil {
		p.refuse("reading a directory: " + err.Error())
		v = &view{absent: true}
	}
	p.views[l] = v
	return v
}

// open returns the file of a clean absolute path, or nil if a compiler would look on: nothing is
// there, or a directory. Any other failure refuses the unit.
func (p *pass) open(path, dir string) *opened {
	f := p.c.file(fileKey{path, p.probe.mode}, dir)
	if o, ok := p.files[f]; ok {
		return o
	}
	state, read, err := f.load(p.c.names, p.now)
	if read > 0 {
		p.c.bytes.Add(int64(read))
		p.c.hint(state.src)
	}
	var o *opened
	switch {
	case err == nil:
		o = &opened{file: f, content: state}
	case !absent(err) && err != errDirectory:
		p.refuse("reading " + path + ": " + err.Error())
	}
	p.files[f] = o
	return o
}

// spelled returns the name of a file as __FILE__ tells it.
func (f *frame) spelled(p *pass) (string, bool) {
	switch {
	case f.main || f.placed:
		return f.name, true
	case f.short != "":
		return f.short, true
	case f.index >= 0:
		return join(p.chain.dirs[f.index].spelled, f.name), true
	case f.up == nil:
		return "", false // gcc and clang differ
	}
	up, ok := f.up.spelled(p)
	if dir := filepath.Dir(up); dir != "." || len(up) > 1 && up[:2] == "./" {
		return join(dir, f.name), ok && filepath.Clean(up) == up
	}
	return f.name, ok
}
