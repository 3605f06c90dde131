package infer

import (
	"errors"
	"strings"
)

// maxAssembly bounds the text that is searched for .include and .incbin, of one call.
const maxAssembly = 64 << 20

// An asmText is preprocessed source, or assembly, while it is searched for what it reads.
type asmText struct {
	*reader
	dirs   []string
	budget int64 // of bytes
}

// assembly notes what a preprocessed source reads by .include and .incbin, which are looked for
// in the working directory and then in dirs. It tells whether that could be said. What the build
// itself makes is a compiler's output and has none of them, but for those in an asm statement.
func (r *reader) assembly(name string, dirs []string) bool {
	a := &asmText{r, dirs, maxAssembly}
	a.visit(name, 0)
	return r.call.Local == ""
}

func (a *asmText) visit(name string, depth int) {
	text, more, err := a.head(name, a.budget)
	a.budget -= int64(len(text))
	if errors.Is(err, ErrPending) {
		return
	}
	if err != nil || more || depth > 100 {
		a.local("%s cannot be searched for .include and .incbin", name)
		return
	}
	for rest := string(text); a.call.Local == ""; {
		i := strings.Index(rest, ".inc")
		if i < 0 {
			return
		}
		line, _, _ := strings.Cut(rest[i:], "\n")
		rest = rest[i+len(".inc"):]
		for _, directive := range []string{".include", ".incbin"} {
			if after, ok := strings.CutPrefix(line, directive); ok {
				a.directive(name, directive, after, depth)
			}
		}
	}
}

// directive takes the name behind a directive, which within an asm statement is in escaped quotes.
func (a *asmText) directive(in, directive, after string, depth int) {
	before, quoted, ok := strings.Cut(after, `"`)
	file, _, closed := strings.Cut(quoted, `"`)
	file = strings.TrimSuffix(file, `\`)
	if !ok || !closed || strings.Trim(before, " \t\\") != "" || file == "" || strings.Contains(file, `\`) {
		a.local("%s has an %s whose file cannot be read off", in, directive)
		return
	}
	found := a.search(file, a.dirs)
	if found == "" {
		a.local("%s reads %s, which is not there", in, file)
		return
	}
	a.readsFile(found)
	if directive == ".include" {
		a.visit(found, depth+1)
	}
}

// search finds a file in the working directory or else in dirs, and notes where it is not.
func (r *reader) search(file string, dirs []string) string {
	for _, d := range append([]string{""}, dirs...) {
		name := join(d, file)
		if r.file(name) {
			return name
		}
		r.absent(name)
	}
	return ""
}
