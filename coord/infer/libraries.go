package infer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A libraryPath says where the libraries of a toolchain are looked for on this machine.
type libraryPath struct {
	link []string // what -l names: the compiler's directories, then the linker's
	need []string // what shared libraries need: the linker's, then those of ld.so.conf
	own  int      // of need, how many are the linker's
}

// libraries finds what a link reads of the libraries that are not in the directories that it names,
// and notes those that the toolchain's root lacks. In the root the linker finds the same: the
// directories are the same, and what is in them there is here as well.
func (l *layout) libraries(c *Call, p *libraryPath) error {
	s := &linker{reader: newReader(c.Tool, c.Dir, nil, Disk{}), driver: true, dirs: p.link, rpathLink: c.Paths, visited: map[string]bool{}}
	for _, w := range c.Wants {
		s.library(linked{name: w.Name, library: true, implied: w.Implied, linkState: linkState{static: w.Static}})
	}
	for _, w := range s.call.Wants {
		if !w.Implied {
			return local("the library %s is not found", strings.TrimPrefix(w.Name, ":"))
		}
	}
	s.call.Needs = append(slices.Clone(c.Needs), s.call.Needs...)
	for i := 0; i < len(s.call.Needs); i++ { // taking one may add others
		if err := s.need(s.call.Needs[i], p); err != nil {
			return err
		}
	}
	if s.call.Local != "" {
		return local("%s", s.call.Local)
	}
	for _, name := range s.call.Reads {
		dir, err := filepath.EvalSymlinks(filepath.Dir(name))
		if err != nil {
			return local("%v", err)
		}
		if err := l.file(filepath.Join(dir, filepath.Base(name))); err != nil {
			return err
		}
	}
	return nil
}

// need takes a library that another one needs. In a root there is no ld.so.conf, whose directories
// go before the linker's own: it must be where both lead.
func (l *linker) need(lib string, p *libraryPath) error {
	at, where := "", -1
	for i, d := range p.need {
		n := join(d, lib)
		if !l.file(n) {
			continue
		}
		real, err := filepath.EvalSymlinks(n)
		switch {
		case err != nil:
			return local("%v", err)
		case at == "":
			at, where = real, i
		case at != real:
			return local("%s, which a library needs, is found twice", lib)
		}
	}
	if where < 0 || where >= p.own {
		return local("%s, which a library needs, is not where the linker looks", lib)
	}
	l.take(join(p.need[where], lib), linked{name: lib})
	return nil
}

// libraryPathOf asks a compiler or linker where it looks for libraries. Answers are remembered while
// the program is the same.
func libraryPathOf(tool string) (*libraryPath, error) {
	linker := tool
	p := new(libraryPath)
	if kinds[plain(tool)] != "ld" {
		text, err := ask(tool, "-print-search-dirs")
		if err != nil {
			return nil, err
		}
		_, list, ok := strings.Cut(text, "libraries: =")
		if !ok {
			return nil, fmt.Errorf("%s does not say where it looks for libraries", tool)
		}
		list, _, _ = strings.Cut(list, "\n")
		p.link = filepath.SplitList(list)
		if linker = onPath("ld", standardPath); linker == "" {
			return nil, fmt.Errorf("there is no linker ld")
		}
	}
	text, err := ask(linker, "--verbose")
	if err != nil {
		return nil, err
	}
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, `SEARCH_DIR("`)
		if !ok {
			break
		}
		var dir string
		dir, rest, _ = strings.Cut(after, `"`)
		p.need = append(p.need, strings.TrimPrefix(dir, "="))
	}
	if len(p.need) == 0 {
		return nil, fmt.Errorf("%s does not say where it looks for libraries", linker)
	}
	p.link = append(p.link, p.need...)
	p.own = len(p.need)
	p.need = append(p.need, configured("/etc/ld.so.conf", 0)...)
	return p, nil
}

// configured lists the directories of a file as of ld.so.conf(5), and of those that it includes.
func configured(file string, depth int) []string {
	text, err := os.ReadFile(file)
	if err != nil || depth > 10 {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n:,", r) })
		if len(words) > 1 && words[0] == "include" {
			for _, pattern := range words[1:] {
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(filepath.Dir(file), pattern)
				}
				found, _ := filepath.Glob(pattern) // a bad pattern matches nothing, as for ldconfig
				for _, f := range found {
					dirs = append(dirs, configured(f, depth+1)...)
				}
			}
			continue
		}
		dirs = append(dirs, words...)
	}
	return dirs
}
