package scan

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// A cache has what the units of a build share. Everything in it is checked by each unit before
// it is used. Safe for concurrent use.
type cache struct {
	names   *names
	defined nameID // the operator

	bytes atomic.Int64 // of sources parsed
	memos atomic.Int64 // lookups remembered

	mu       sync.Mutex // guards the maps below, not what they lead to
	files    map[fileKey]*file
	listings map[string]*listing
	chains   map[string]*chain
	tables   map[*probe][]*macro
	hints    map[string]bool // questions that sources may ask
}

func newCache() *cache {
	n := newNames()
	return &cache{
		names: n, defined: n.id("defined"),
		files: map[fileKey]*file{}, listings: map[string]*listing{}, chains: map[string]*chain{}, tables: map[*probe][]*macro{},
		hints: map[string]bool{},
	}
}

// full reports whether the cache has taken what it may: the next unit begins a new one.
func (c *cache) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes.Load() > maxCachedBytes || c.memos.Load() > maxMemo || len(c.listings) > maxListings
}

// listing returns the directory of a clean absolute path.
func (c *cache) listing(path string) *listing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listingLocked(path)
}

func (c *cache) listingLocked(path string) *listing {
	l := c.listings[path]
	if l == nil {
		l = &listing{path: path}
		c.listings[path] = l
	}
	return l
}

// file returns the file of a clean absolute path.
func (c *cache) file(k fileKey, dir string) *file {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[k]
	if f == nil {
		f = &file{fileKey: k, dir: c.listingLocked(dir)}
		c.files[k] = f
	}
	return f
}

// hint notes what a new source may ask.
func (c *cache) hint(s *source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range s.hints {
		if len(c.hints) < maxAnswers/2 {
			c.hints[q] = true
		}
	}
}

func (c *cache) hinted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.hints))
}

// table returns the macros that a compiler begins with, by nameID.
func (c *cache) table(p *probe) []*macro {
	c.mu.Lock()
	t := c.tables[p]
	c.mu.Unlock()
	if t != nil {
		return t
	}
	for _, line := range p.Macros {
		m := parseMacro(line, c.names, p.mode)
		t = setMacro(t, m.id, m)
	}
	for _, name := range p.Builtins {
		id := c.names.id(name)
		t = setMacro(t, id, &macro{id: id, name: name, builtin: builtins[name]})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tables[p] = t
	return t
}

// setMacro sets an entry of a table, which grows as needed.
func setMacro(t []*macro, id nameID, m *macro) []*macro {
	if int(id) >= len(t) {
		const spare = 1024
		t = append(t, make([]*macro, int(id)-len(t)+spare)...)
	}
	t[id] = m
	return t
}
