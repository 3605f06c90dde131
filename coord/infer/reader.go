package infer

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A reader takes one command line apart.
type reader struct {
	view
	call   *Call
	name   string   // of the tool, plain
	llvm   bool     // it is LLVM's
	linker string   // which one an ld is: bfd, gold or lld
	words  []string // the arguments after argv[0], response files expanded
	env    []string

	seen   map[string]bool // of Reads and Absent
	looked int             // for files
}

// maxLooked bounds how often one call makes us look for a file: some of the largest links have
// 200 directories and 500 libraries.
const maxLooked = 1 << 18

// file tells whether there is a regular file at a name, up to that bound.
func (r *reader) file(name string) bool {
	if r.looked++; r.looked > maxLooked {
		r.local("it looks for files more than %d times", maxLooked)
		return false
	}
	return r.view.file(name)
}

// local makes the call local. The first reason stays.
func (r *reader) local(format string, args ...any) {
	if r.call.Local == "" {
		r.call.Local = fmt.Sprintf(format, args...)
	}
}

// readsFile notes a file that the call reads.
func (r *reader) readsFile(name string) {
	if name == "" || name == "/dev/null" {
		return
	}
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	if !r.seen[name] {
		r.seen[name] = true
		r.call.Reads = append(r.call.Reads, name)
	}
}

// absent notes a name at which nothing was found.
func (r *reader) absent(name string) {
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	if key := "\x00" + name; !r.seen[key] {
		r.seen[key] = true
		r.call.Absent = append(r.call.Absent, name)
	}
}

// writes notes an output. Devices are none: what goes to /dev/null stays there.
func (r *reader) writes(o Output) {
	switch {
	case o.Path == "":
		r.local("it names an output without a name")
	case o.Path == "/dev/null":
	case strings.HasPrefix(o.Path, "/dev/"), strings.HasPrefix(o.Path, "/proc/"):
		r.local("it writes to %s", o.Path)
	default:
		for i, old := range r.call.Writes {
			if old.Path == o.Path {
				r.call.Writes[i].Maybe = old.Maybe && o.Maybe
				return
			}
		}
		r.call.Writes = append(r.call.Writes, o)
	}
}

// settle looks at the outputs once all is known. One that is an input as well is changed in place;
// what is written through a link, or into something that is no file, is left to the tool.
func (r *reader) settle() {
	if r.call.Local != "" {
		return
	}
	for i := range r.call.Writes {
		o := &r.call.Writes[i]
		o.InPlace = o.InPlace || r.seen[o.Path]
		for _, u := range r.call.Units {
			if u.Source == o.Path {
				r.local("it writes over its source %s", o.Path)
			}
		}
		now := r.stat(o.Path)
		if now == nil {
			continue
		}
		if !now.Mode().IsRegular() {
			r.local("it writes to %s, which is no file", o.Path)
			return
		}
		whole := r.at(o.Path)
		dir, base := path.Split(whole)
		there, err := r.files.Resolve(dir)
		if file, ferr := r.files.Resolve(whole); err != nil || ferr != nil || file != path.Join(there, base) {
			r.local("it writes to %s, which is a link", o.Path)
			return
		}
	}
}

// unknown makes the call local for a flag of which nothing is known.
func (r *reader) unknown(word string) {
	r.local("%s is no flag of %s that is known here", word, r.name)
}

// common does what is alike for the tools: refused flags, questions and inputs named by flags.
// It reports whether it did.
func (r *reader) common(u use) bool {
	switch u.role {
	case pass:
	case question:
		r.local("%s only asks something", u.words[0])
	case refuse:
		r.local("%s: %s", u.words[0], u.why)
	case reads:
		r.readsFile(u.value)
	default:
		return false
	}
	return true
}

// looksLikeFile weighs the value of a flag that has no row: could it name a file?
func (r *reader) looksLikeFile(value string) bool {
	return strings.ContainsAny(value, "/.") && !number(value) || r.exists(value)
}

// number tells whether a value is digits and dots, as versions and sizes are.
func number(s string) bool {
	return s != "" && strings.Trim(s, "0123456789.") == ""
}

// lookup finds a variable of the environment; "" is as none.
func (r *reader) lookup(name string) string {
	for i := len(r.env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(r.env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// keepEnv notes the variables that the tool reads, and returns them.
func (r *reader) keepEnv(names ...string) []string {
	var kept []string
	for _, n := range names {
		if v := r.lookup(n); v != "" {
			kept = append(kept, n+"="+v)
		}
	}
	slices.Sort(kept)
	r.call.Env = kept
	return kept
}

func newReader(tool, dir string, env []string, files Files) *reader {
	return &reader{view: view{files, dir}, call: &Call{Tool: tool, Dir: dir}, name: path.Base(tool), env: env}
}

// run takes the words apart. A call that turns out to be local says nothing else.
func (r *reader) run(m *Models, argv []string) *Call {
	r.model(m, argv)
	r.settle()
	if c := r.call; c.Local != "" {
		return &Call{Tool: c.Tool, Dir: c.Dir, Model: c.Model, Local: c.Local}
	}
	return r.call
}

func (r *reader) model(m *Models, argv []string) {
	c := r.call
	if !strings.HasPrefix(c.Tool, "/") || !strings.HasPrefix(c.Dir, "/") {
		r.local("its program or directory is not named by an absolute path")
		return
	}
	for _, w := range append([]string{c.Tool, c.Dir}, argv...) {
		if strings.Contains(w, "\x00") {
			r.local("a word has a zero byte")
			return
		}
	}
	if len(argv) == 0 {
		r.local("it has no words")
		return
	}
	if u := m.tool(r.name); u != nil {
		c.Model, r.words = r.name, argv[1:]
		r.user(u)
		return
	}
	kind := r.kind()
	if kind == "" {
		return
	}
	c.Model = kind
	words, err := r.expand(argv[1:])
	if err != nil {
		r.local("%v", err)
		return
	}
	r.words = words
	switch kind {
	case "gcc", "clang":
		r.cc()
	case "as":
		r.as()
	case "ld":
		r.ld()
	case "ar":
		r.ar()
	case "ranlib":
		r.ranlib()
	default:
		r.binutil(kind)
	}
}

// kind finds the reader for a tool by its own name and by that of the file that it is a link to:
// cc is what it links to, and a gcc that is ccache is no gcc.
func (r *reader) kind() string {
	name := plain(r.name)
	kind := kinds[name]
	if kind == "" {
		r.local("no model knows %s", r.name)
		return ""
	}
	r.name = name
	file, err := r.files.Resolve(r.call.Tool)
	if err != nil {
		r.local("%s cannot be found", r.call.Tool)
		return ""
	}
	target := plain(file)
	is := kinds[target]
	r.llvm = strings.Contains(target, "llvm") || is == "clang" || strings.Contains(target, "lld")
	r.linker = "bfd"
	for _, other := range []string{"gold", "lld"} {
		if strings.HasSuffix(target, other) {
			r.linker = other
		}
	}
	switch {
	case kind == "cc" && (is == "gcc" || is == "clang"):
		return is
	case kind == "cc":
		r.local("%s is %s, which is neither gcc nor clang by its name", r.name, file)
	case is == kind, kind == "ranlib" && target == "llvm-ar", kind == "strip" && target == "llvm-objcopy":
		return kind
	default:
		r.local("%s is in truth %s", r.name, file)
	}
	return ""
}
