package infer

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// resolve finds an input and looks into it: a linker script names others, a thin archive has
// members, a shared library needs more. From is the script that names it, "" on the command line.
func (l *linker) resolve(in linked, from string) {
	if in.library {
		l.library(in)
		return
	}
	dirs := []string{""}
	switch {
	case in.script:
		dirs = append(dirs, l.dirs...)
	case from != "":
		dirs = append(append(dirs, parent(from)), l.dirs...)
	}
	for _, d := range dirs {
		name := join(d, in.name)
		if l.file(name) {
			l.take(name, in)
			return
		}
		if len(dirs) > 1 {
			l.absent(name)
		}
	}
	switch {
	case in.script:
		l.opaque("the script %s is one of the linker's own", in.name)
	case from == "":
		l.local("%s is not there", in.name)
	case !strings.HasPrefix(in.name, "/"):
		l.want(Want{Name: ":" + in.name, Static: in.static})
	}
}

// library looks for a library of -l in the directories of -L.
func (l *linker) library(in linked) {
	names := []string{"lib" + in.name + ".so", "lib" + in.name + ".a"}
	if file, ok := strings.CutPrefix(in.name, ":"); ok {
		names = []string{file}
	} else if in.static {
		names = names[1:]
	}
	for _, d := range l.dirs {
		if l.call.Local != "" {
			return
		}
		for _, n := range names {
			if name := join(d, n); l.file(name) {
				l.take(name, in)
				return
			} else {
				l.absent(name)
			}
		}
	}
	l.want(Want{Name: in.name, Static: in.static, Implied: in.implied})
}

// want notes a library that the named directories do not have. One that the compiler implies may be
// named as well, and then has to be there.
func (l *linker) want(w Want) {
	for i, old := range l.call.Wants {
		if old.Name == w.Name && old.Static == w.Static {
			l.call.Wants[i].Implied = old.Implied && w.Implied
			return
		}
	}
	l.call.Wants = append(l.call.Wants, w)
}

// opaque notes why the files of the installation cannot be told. The first reason stays.
func (r *reader) opaque(format string, args ...any) {
	if r.call.Opaque == "" {
		r.call.Opaque = fmt.Sprintf(format, args...)
	}
}

// Magic numbers of what linkers read.
const (
	elfMagic     = "\x7fELF"
	archiveMagic = "!<arch>\n"
	thinMagic    = "!<thin>\n"
	bitcodeMagic = "BC\xc0\xde"
)

// take notes a file that is read, and looks into it once.
func (l *linker) take(name string, in linked) {
	l.readsFile(name)
	if l.visited[name] {
		return
	}
	l.visited[name] = true
	if l.opened++; l.opened > maxOpened || l.depth > 100 {
		l.local("it links more than %d files, or scripts that name scripts without end", maxOpened)
		return
	}
	l.depth++
	defer func() { l.depth-- }()
	f, err := l.files.Open(l.at(name))
	if errors.Is(err, ErrPending) {
		if in.script {
			l.local("the script %s is written by the build itself", name)
		}
		return
	}
	if err != nil {
		l.local("%s cannot be read", name)
		return
	}
	defer f.Close()
	magic := make([]byte, 8)
	n, _ := f.ReadAt(magic, 0)
	switch m := string(magic[:n]); {
	case strings.HasPrefix(m, elfMagic):
		l.needed(name, f)
	case m == thinMagic:
		members, err := thinMembers(f)
		if err != nil {
			l.local("the thin archive %s: %v", name, err)
		}
		for _, x := range members {
			l.readsFile(join(parent(name), x))
		}
	case m == archiveMagic, strings.HasPrefix(m, bitcodeMagic):
	default:
		l.script(name, f, in)
	}
}

// maxScript bounds a linker script; glibc's have 300 bytes, a kernel's 50,000.
const maxScript = 1 << 20

// script reads a linker script for the files that it names.
func (l *linker) script(name string, f File, in linked) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxScript+1))
	if err != nil || len(text) > maxScript || bytes.IndexByte(text, 0) >= 0 {
		if in.script {
			l.local("the script %s cannot be read", name)
		}
		return // of a format that only the linker knows; it names no other file
	}
	words := scriptWords(string(text))
	for i := 0; i < len(words) && l.call.Local == ""; i++ {
		if i+1 >= len(words) {
			break
		}
		switch w := words[i]; w {
		case "INPUT", "GROUP", "STARTUP":
			if words[i+1] == "(" {
				i = l.listed(words, i+2, name, in)
			}
		case "INCLUDE":
			i++
			l.resolve(linked{name: words[i], script: true, linkState: in.linkState}, name)
		case "SEARCH_DIR", "OUTPUT", "TARGET":
			if words[i+1] == "(" && w != "TARGET" {
				l.local("the script %s has %s, which is not modelled", name, w)
			}
		}
	}
}

// listed takes the files of an INPUT or GROUP up to its closing parenthesis, and returns where
// that is.
func (l *linker) listed(words []string, i int, from string, in linked) int {
	open := 1
	for ; i < len(words) && open > 0; i++ {
		switch w := words[i]; w {
		case "(":
			open++
		case ")":
			open--
		case "AS_NEEDED", ",":
		default:
			x := linked{name: w, linkState: in.linkState}
			if lib, ok := strings.CutPrefix(w, "-l"); ok {
				x.name, x.library = lib, true
			}
			if strings.HasPrefix(w, "=") || strings.HasPrefix(w, "$SYSROOT") {
				l.local("the script %s names a file of the sysroot, which is not modelled", from)
			}
			l.resolve(x, from)
		}
	}
	return i - 1
}

// scriptWords splits a linker script into words, parentheses and commas; comments are dropped.
func scriptWords(s string) []string {
	var words []string
	for len(s) > 0 {
		switch c := s[0]; {
		case strings.HasPrefix(s, "/*"):
			_, rest, ok := strings.Cut(s[2:], "*/")
			if !ok {
				return words
			}
			s = rest
		case c == '"':
			word, rest, _ := strings.Cut(s[1:], `"`)
			words, s = append(words, word), rest
		case c == '(' || c == ')' || c == ',' || c == ';' || c == '{' || c == '}':
			words, s = append(words, s[:1]), s[1:]
		case c == ' ' || c >= '\t' && c <= '\r':
			s = s[1:]
		default:
			n := strings.IndexAny(s, "(),;{}\" \t\n\r\v\f")
			if n < 0 {
				n = len(s)
			}
			if i := strings.Index(s[:n], "/*"); i > 0 {
				n = i
			}
			words, s = append(words, s[:n]), s[n:]
		}
	}
	return words
}

// needed notes what a shared library needs in turn, where GNU ld looks for it.
func (l *linker) needed(name string, f File) {
	e, err := elf.NewFile(f)
	if err != nil || e.Type != elf.ET_DYN {
		return
	}
	libs, err := e.ImportedLibraries()
	if err != nil || len(libs) > 1000 {
		return
	}
	dirs := l.paths()
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		paths, err := e.DynString(tag)
		if err != nil {
			continue
		}
		for _, p := range paths {
			for d := range strings.SplitSeq(p, ":") {
				d = strings.ReplaceAll(strings.ReplaceAll(d, "$ORIGIN", originOf(name)), "${ORIGIN}", originOf(name))
				dirs = append(dirs, d)
			}
		}
	}
	for _, lib := range libs {
		if strings.Contains(lib, "/") {
			if l.file(lib) {
				l.take(lib, linked{name: lib})
			}
			continue
		}
		if !l.neededIn(dirs, lib) && !slices.Contains(l.call.Needs, lib) {
			l.call.Needs = append(l.call.Needs, lib)
		}
	}
}

// paths are the directories in which a link looks for what any shared library needs.
func (l *linker) paths() []string {
	dirs := append(append([]string{}, l.rpathLink...), l.rpath...)
	if len(l.rpath) == 0 {
		dirs = append(dirs, strings.Split(l.lookup("LD_RUN_PATH"), ":")...)
	}
	dirs = append(dirs, strings.Split(l.lookup("LD_LIBRARY_PATH"), ":")...)
	return slices.DeleteFunc(dirs, func(d string) bool { return d == "" })
}

// neededIn takes a library that is in one of the directories, and tells whether it is.
func (l *linker) neededIn(dirs []string, lib string) bool {
	for _, d := range dirs {
		if l.call.Local != "" {
			return true
		}
		if d == "" {
			continue
		}
		n := join(d, lib)
		if l.file(n) {
			l.take(n, linked{name: n})
			return true
		}
		l.absent(n)
	}
	return false
}

// originOf is the directory of a library, for $ORIGIN.
func originOf(name string) string {
	if d := path.Dir(name); d != "" {
		return d
	}
	return "."
}
