package scan

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A chain is a search path: first the directories for names in quotes alone, from bracket on
// those for all. It is immutable but for its memo, and shared by all units that have the same
// directories.
type chain struct {
	dirs    []searchDir
	bracket int
	was     []dirIdentity // of all that were given, with duplicates

	mu   sync.RWMutex // guards memo
	memo map[lookupKey]*lookup
}

// A searchDir is one directory of a search path.
type searchDir struct {
	*listing
	spelled string // as the command or the compiler names it
	system  bool   // -isystem and all that come after
}

// dirIdentity tells directories apart; it is zero for one that is not there.
type dirIdentity struct{ dev, ino uint64 }

// dirLists are the directories of a unit before duplicates go. after is at the end of system.
type dirLists struct {
	quote, bracket, system []string
}

// searched puts together what the command, the environment and the compiler name, in the order
// of gcc's incpath.cc and clang's InitHeaderSearch.cpp.
func (u *Unit) searched(p *probe) dirLists {
	bracket := slices.Concat(u.Include, u.envDirs("CPATH"))
	system := slices.Concat(u.System, u.envDirs(languageDirs[u.Language]), p.Search, u.After)
	return dirLists{quote: u.Quote, bracket: bracket, system: system}
}

// languageDirs are the variables that add directories for one language.
var languageDirs = map[string]string{
	"c": "C_INCLUDE_PATH", "assembler-with-cpp": "C_INCLUDE_PATH", "c++": "CPLUS_INCLUDE_PATH",
	"objective-c": "OBJC_INCLUDE_PATH", "objective-c++": "OBJCPLUS_INCLUDE_PATH",
}

// envDirs returns the directories of a variable; an empty one is the working directory.
func (u *Unit) envDirs(name string) []string {
	dirs := filepath.SplitList(u.env(name))
	for i, d := range dirs {
		if d == "" {
			dirs[i] = "."
		}
	}
	return dirs
}

func (u *Unit) env(name string) string {
	for i := len(u.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(u.Env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// findChain returns the unit's search path, built anew if one of its directories has appeared,
// gone or become another.
func (p *pass) findChain() *chain {
	lists := p.unit.searched(p.probe)
	var key strings.Builder
	var dirs []searchDir
	for i, list := range [][]string{lists.quote, lists.bracket, lists.system} {
		for _, d := range list {
			path, _ := p.fold(p.unit.Dir, d)
			dirs = append(dirs, searchDir{p.c.listing(path), d, i == 2})
			key.WriteString(path + "\x00" + d + "\x00")
		}
		key.WriteByte(0)
	}
	if p.probe.clang {
		key.WriteString("clang")
	}
	is := make([]dirIdentity, len(dirs))
	for i, d := range dirs {
		if v := p.view(d.listing); !v.absent {
			is[i] = dirIdentity{v.dev, v.ino}
		}
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	ch := p.c.chains[key.String()]
	if ch == nil || !slices.Equal(ch.was, is) {
		ch = newChain(dirs, is, len(lists.quote), len(lists.bracket), p.probe.clang)
		p.c.chains[key.String()] = ch
	}
	return ch
}

// newChain drops duplicates as gcc does (remove_duplicates of incpath.cc), or clang
// (RemoveDuplicates of InitHeaderSearch.cpp). A directory that is not there stays where it is,
// in which nothing is found.
func newChain(dirs []searchDir, is []dirIdentity, quote, bracket int, clang bool) *chain {
	c := &chain{was: is, memo: map[lookupKey]*lookup{}}
	var keep []int
	first := quote + bracket
	system := distinct(is, first, len(dirs), nil)
	user := distinct(is, quote, first, system)
	joined := append(user, system...)
	if clang {
		keep = distinct(is, 0, quote, nil)
	} else {
		keep = distinct(is, 0, quote, system)
		if n := len(keep); n > 0 && keep[n-1] == quote-1 && len(joined) > 0 && same(is, keep[n-1], joined[0]) {
			keep = keep[:n-1]
		}
	}
	c.bracket = len(keep)
	for _, i := range append(keep, joined...) {
		c.dirs = append(c.dirs, dirs[i])
	}
	return c
}

// distinct returns the directories from begin to end that are neither in not nor earlier.
func distinct(is []dirIdentity, begin, end int, not []int) (keep []int) {
	for i := begin; i < end; i++ {
		dup := func(j int) bool { return same(is, i, j) }
		if !slices.ContainsFunc(not, dup) && !slices.ContainsFunc(keep, dup) {
			keep = append(keep, i)
		}
	}
	return keep
}

func same(is []dirIdentity, i, j int) bool { return is[i] == is[j] && is[i] != dirIdentity{} }
