package blobstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"gaggle/wire"
)

// ignoreName is the file that lists what AddPath leaves out. Its lines are those of .gitignore:
//
//	# comment        and blank lines are skipped
//	name             leaves out files and directories of that name at any depth
//	*.o              * and ? and [a-z] and [!a-z] match within one name; \ takes the next character as it is
//	dir/             a final slash: directories only
//	/name, a/b       a slash elsewhere: relative to the directory of the file
//	a/**/b, **/b     ** stands for any number of directories, a/** for everything in a
//	!name            takes back what an earlier line leaves out
//
// The last line that matches counts, and a file deeper in the tree counts more than one above.
// What lies in a directory that is left out cannot be taken back. Unlike git, nothing above the
// directory given to AddPath is looked at. The file itself and .git are always left out.
const ignoreName = ".gaggleignore"

const (
	// maxIgnoreFile and maxIgnoreLines bound one file: every name is matched against every line.
	maxIgnoreFile  = 1 << 20
	maxIgnoreLines = 10_000
)

// A rule is one line.
type rule struct {
	segments []string // patterns for path elements; "**" for any number
	anchored bool     // matches the whole path, not its last element
	dirOnly  bool
	keep     bool // "!"
}

// rules are those of one directory, with those above it.
type rules struct {
	above *rules
	base  string // slash path of the directory, relative to the top; "" is the top
	list  []rule
}

// readRules returns the rules that hold in a directory.
func readRules(dir, base string, above *rules) (*rules, error) {
	name := filepath.Join(dir, ignoreName)
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return above, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what to leave out: %w", err)
	}
	list, err := parseRules(b)
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "correct or remove it", "%s: %v", name, err)
	}
	return &rules{above: above, base: base, list: list}, nil
}

func parseRules(b []byte) (list []rule, err error) {
	if len(b) > maxIgnoreFile {
		return nil, fmt.Errorf("file of %d bytes exceeds the bound of %d", len(b), maxIgnoreFile)
	}
	n := 0
	for line := range bytes.Lines(b) {
		if n++; n > maxIgnoreLines {
			return nil, fmt.Errorf("more than %d lines", maxIgnoreLines)
		}
		text := strings.TrimRight(string(line), "\r\n")
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("line %d is not UTF-8", n)
		}
		r, ok, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if ok {
			list = append(list, r)
		}
	}
	return list, nil
}

func parseRule(s string) (r rule, ok bool, err error) {
	for strings.HasSuffix(s, " ") && !strings.HasSuffix(s, `\ `) {
		s = s[:len(s)-1]
	}
	if s == "" || s[0] == '#' {
		return r, false, nil
	}
	if s[0] == '!' {
		r.keep, s = true, s[1:]
	}
	if rest, cut := strings.CutSuffix(s, "/"); cut {
		r.dirOnly, s = true, rest
	}
	r.anchored = strings.Contains(s, "/")
	s = strings.TrimPrefix(s, "/")
	if s == "" {
		return r, false, nil
	}
	for seg := range strings.SplitSeq(s, "/") {
		seg = strings.ReplaceAll(seg, "[!", "[^")
		if _, err := path.Match(seg, "x"); err != nil {
			return r, false, fmt.Errorf("pattern %q is malformed", seg)
		}
		if seg == "**" && len(r.segments) > 0 && r.segments[len(r.segments)-1] == "**" {
			continue
		}
		r.segments = append(r.segments, seg)
	}
	return r, true, nil
}

// skips reports whether an entry is left out. Its path is relative to the top.
func (r *rules) skips(rel string, dir bool) bool {
	for ; r != nil; r = r.above {
		below := rel
		if r.base != "" {
			below = strings.TrimPrefix(rel, r.base+"/")
		}
		elems := strings.Split(below, "/")
		for i := len(r.list) - 1; i >= 0; i-- {
			if r.list[i].matches(elems, dir) {
				return !r.list[i].keep
			}
		}
	}
	return false
}

func (r *rule) matches(elems []string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	if !r.anchored {
		ok, _ := path.Match(r.segments[0], elems[len(elems)-1])
		return ok || r.segments[0] == "**"
	}
	return matchSegments(r.segments, elems)
}

// matchSegments matches path elements against patterns, going back only to the latest "**", as
// for "*" in a single name: at most len(segs)*len(elems) steps.
func matchSegments(segs, elems []string) bool {
	s, e := 0, 0
	star, mark := -1, 0
	for e < len(elems) {
		switch {
		case s < len(segs) && segs[s] == "**":
			if s == len(segs)-1 {
				return true // and there is an element left for it
			}
			star, mark = s, e
			s++
			continue
		case s < len(segs):
			if ok, _ := path.Match(segs[s], elems[e]); ok {
				s++
				e++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		s, e = star+1, mark
	}
	return s == len(segs)
}
