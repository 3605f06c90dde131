package infer

import (
	"slices"
	"strings"
)

// A linker is the command line of a linker while it is read, its own or within a compiler's.
type linker struct {
	*reader
	driver    bool // of a compiler, which names the output itself
	output    string
	dirs      []string // of -L
	rpath     []string
	rpathLink []string
	inputs    []linked
	implied   []linked // what a compiler adds
	state     linkState
	pushed    []linkState

	visited map[string]bool // scripts, archives and libraries looked into
	depth   int
	opened  int
}

// A linkState is what flags change for the inputs after them.
type linkState struct{ static, relocatable bool }

// A linked is an input in its place: a file, or a library by its name.
type linked struct {
	name    string
	library bool
	script  bool // of -T
	implied bool // by the compiler
	linkState
}

// maxOpened bounds how many files are looked into for one link.
const maxOpened = 1 << 16

func (r *reader) ld() {
	r.call.Mode = Link
	l := &linker{reader: r}
	l.run(r.words)
	if r.linker != "bfd" && len(r.call.Wants)+len(r.call.Needs) > 0 {
		r.opaque("%s looks for libraries in ways that are not modelled", r.linker)
	}
	if l.output == "" {
		l.output = "a.out"
	}
	r.writes(Output{Path: l.output, Run: !l.state.relocatable})
	r.keepEnv(append(slices.Clone(ldEnv), "SOURCE_DATE_EPOCH")...)
	for _, n := range []string{"GNUTARGET", "LDEMULATION", "COLLECT_NO_DEMANGLE"} {
		if r.lookup(n) != "" {
			r.local("the variable %s changes what the linker does", n)
		}
	}
}

// link says what a compiler's linker reads.
func (c *cc) link() {
	l := &linker{reader: c.reader, driver: true}
	for _, f := range c.linker {
		if f == "-static" || f == "--static" {
			l.state.static = true // the driver hands it on first
		}
	}
	l.implied = c.implied()
	l.run(c.linker)
	if l.state.relocatable { // by -Wl,-r, which the driver does not see
		for i := range c.call.Writes {
			c.call.Writes[i].Run = false
		}
	}
	c.keepEnv(append(append([]string{"LIBRARY_PATH"}, ldEnv...), ccEnv...)...)
}

// ldEnv are variables that linkers read.
var ldEnv = []string{"LD_RUN_PATH", "LD_LIBRARY_PATH"}

// run reads the words and then looks for all that they name.
func (l *linker) run(words []string) {
	l.visited = map[string]bool{}
	if l.driver { // the linker expands what comes by -Wl, too
		var err error
		if words, err = l.expand(words); err != nil {
			l.local("%v", err)
		}
	}
	for len(words) > 0 && l.call.Local == "" {
		words = words[l.word(words):]
	}
	if l.driver {
		for _, d := range strings.Split(l.lookup("LIBRARY_PATH"), ":") {
			if d != "" {
				l.dirs = append(l.dirs, d)
			}
		}
	}
	if len(l.inputs) == 0 && !l.driver {
		l.local("it names no input")
	}
	for i := range l.implied { // they stand behind all that was named
		l.implied[i].static = l.implied[i].static || l.state.static
	}
	for _, in := range append(l.inputs, l.implied...) {
		if l.call.Local != "" {
			return
		}
		l.resolve(in, "")
	}
	if l.call.Paths = l.paths(); l.lookup("LD_LIBRARY_PATH") != "" {
		l.opaque("LD_LIBRARY_PATH is set, which the linker itself may be loaded by")
	}
	if l.call.Sysroot != "" {
		l.opaque("it links with the libraries of %s", l.call.Sysroot)
	}
}

func (l *linker) word(words []string) int {
	w := words[0]
	switch {
	case w == "-" || w == "":
		l.local("it has an empty input")
		return 1
	case w[0] != '-':
		l.inputs = append(l.inputs, linked{name: w, linkState: l.state})
		return 1
	}
	u, ok := findLinkers(words)
	if !ok {
		l.weigh(words)
		return 1
	}
	if u.role == reads && u.name == "--plugin" && l.driver {
		l.local("%s: a plugin may read and write anything", w)
	}
	if !l.common(u) {
		l.flag(u)
	}
	return len(u.words)
}

// findLinkers looks a flag up as getopt_long_only does: a long one may have one dash, and goes before a
// short one with its operand; but -oX is always an output.
func findLinkers(words []string) (use, bool) {
	w := words[0]
	if len(w) > 2 && w[1] != '-' && w[1] != 'o' {
		long := append([]string{"-" + w}, words[1:]...)
		if u, ok := ldFlags.find(long); ok && u.form&joined == 0 {
			u.words = words[:len(u.words)]
			return u, true
		}
	}
	return ldFlags.find(words)
}

// weigh judges a flag that has no row: its value must not look like a file, and the word after
// it must not be one that it might take along.
func (l *linker) weigh(words []string) {
	name, value, valued := strings.Cut(words[0], "=")
	switch {
	case abbreviates(name):
		l.local("%s may be short for another flag", name)
	case valued && l.looksLikeFile(value):
		l.local("%s may name a file, and is no flag of a linker that is known here", words[0])
	case !valued && len(words) > 1 && !strings.HasPrefix(words[1], "-"):
		l.local("%s may take %s along, and is no flag of a linker that is known here", words[0], words[1])
	}
}

// abbreviates tells whether a name is the beginning of a flag that matters: linkers take them.
func abbreviates(name string) bool {
	name = "--" + strings.TrimLeft(name, "-")
	for full, f := range ldFlags {
		if f.role != pass && strings.HasPrefix(full, name) {
			return true
		}
	}
	return false
}

// pluginOpts are the beginnings of what plugins are told that names no file.
var pluginOpts = []string{"O", "mcpu=", "jobs=", "-pass-through=", "-function-sections", "-data-sections"}

func (l *linker) flag(u use) {
	switch u.role {
	case ldOutput:
		if l.driver {
			l.local("the linker is given an output of its own")
		}
		l.output = u.value
	case ldDir:
		if strings.HasPrefix(u.value, "=") || strings.HasPrefix(u.value, "$SYSROOT") {
			l.local("-L%s is meant within the sysroot, which is not modelled", u.value)
		}
		l.dirs = append(l.dirs, u.value)
	case ldLibrary:
		l.inputs = append(l.inputs, linked{name: u.value, library: true, linkState: l.state})
	case ldScript:
		l.inputs = append(l.inputs, linked{name: u.value, script: true, linkState: l.state})
	case ldFile:
		if u.value == "-" {
			l.call.Prints = true
		} else if l.directory(u.value) {
			l.local("%s names a directory", strings.Join(u.words, " "))
		} else {
			l.writes(Output{Path: u.value, Names: u.name != "--out-implib"})
		}
	case ldSysroot:
		l.call.Sysroot = u.value
	case ldRpath:
		l.rpath = append(l.rpath, strings.Split(u.value, ":")...)
	case ldRpathLink:
		l.rpathLink = append(l.rpathLink, strings.Split(u.value, ":")...)
	case ldSymbols:
		if l.file(u.value) {
			l.readsFile(u.value)
		} else {
			l.rpath = append(l.rpath, u.value)
		}
	case ldPluginOpt:
		if !slices.ContainsFunc(pluginOpts, func(p string) bool { return strings.HasPrefix(u.value, p) }) {
			l.local("%s for the linker's plugin is not modelled", u.value)
		}
	case ldPrints:
		l.call.Prints = true
	case ldState:
		l.change(u.name)
	}
}

// change follows flags that hold for the inputs after them.
func (l *linker) change(name string) {
	switch strings.TrimLeft(name, "-") {
	case "push-state":
		l.pushed = append(l.pushed, l.state)
	case "pop-state":
		if n := len(l.pushed); n > 0 {
			l.state, l.pushed = l.pushed[n-1], l.pushed[:n-1]
		}
	case "Bdynamic", "dy", "call_shared":
		l.state.static = false
	case "r", "i", "relocatable", "Ur":
		l.state.relocatable = true
	default:
		l.state.static = true
	}
}
