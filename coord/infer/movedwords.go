package infer

import (
	"path"
	"slices"
	"strings"
)

// A mover rewrites the words of a call for where a node sees its files. Only words whose part is known
// change; any other that names the directory binds the call to it, as a macro or a run path does, which
// get into what the call makes.
type mover struct {
	*move
	call *Call
	find func(words []string) (use, bool)

	named []string // paths in the words
	err   error    // why the call is bound to its directory
}

// boundFlags begin the flags with which a compiler writes paths or words of its own down in ways that
// no map of prefixes reaches.
var boundFlags = strings.Fields(`--coverage -coverage -ftest-coverage -fprofile -fbranch-probabilities -frecord-
	-grecord-command-line -save-temps --save-temps -fcallgraph-info -flto -fverbose-asm`)

// portableWords returns the words of a call that is moved. The error is a Local.
func (l *layout) portableWords(m *move, c *Call, args []string) ([]string, error) {
	w := &mover{move: m, call: c}
	var flags []string
	switch {
	case c.Mode == User:
		return nil, local("it is a tool of the user's")
	case c.Model == "gcc" || c.Model == "clang":
		w.find = gccFlags.find
		if c.Model == "clang" {
			w.find = clangFlags.find
		}
		if c.Mode != Link || len(c.Units) > 0 {
			flags = m.prefixMaps("-ffile-prefix-map")
		}
	case c.Model == "as":
		w.find = asFlags.find
		flags = m.prefixMaps("--debug-prefix-map")
	case c.Model == "ld":
		w.find = findLinkers
	default:
		w.find = func([]string) (use, bool) { return use{}, false }
	}
	words := slices.Concat(flags, w.words(args))
	if w.err != nil {
		return nil, w.err
	}
	l.named = w.named
	for _, name := range c.Reads {
		p, err := l.clean(name)
		if err != nil {
			return nil, err
		}
		if l.own(p) {
			l.texts = append(l.texts, p)
		}
	}
	return words, nil
}

// words rewrites what find can tell apart.
func (m *mover) words(args []string) (words []string) {
	for len(args) > 0 && m.err == nil {
		n := 1
		if (m.call.Model == "gcc" || m.call.Model == "clang") && slices.ContainsFunc(boundFlags, func(f string) bool { return strings.HasPrefix(args[0], f) }) {
			m.err = local("%s writes paths down by itself", args[0])
		}
		u, ok := m.find(args)
		switch w := args[0]; {
		case !strings.HasPrefix(w, "-") || m.call.Mode == Archive || m.call.Mode == Change:
			words = append(words, m.input(w))
		case !ok:
			words = append(words, w)
		default:
			n = len(u.words)
			words = append(words, m.flag(u)...)
		}
		for _, w := range words[len(words)-n:] {
			if m.mentioned(w) {
				m.bind(args[0])
			}
		}
		args = args[n:]
	}
	return words
}

// bind notes that a word cannot be rewritten.
func (m *mover) bind(word string) {
	name, _, _ := strings.Cut(word, "=")
	switch {
	case m.err != nil:
	case strings.HasPrefix(name, "-D"):
		m.err = local("a macro names a directory of the build")
	case strings.HasPrefix(name, "-"):
		m.err = local("%s names a directory of the build", strings.SplitAfter(name, m.from)[0])
	default:
		m.err = local("its words name a directory of the build")
	}
}

// input rewrites a word that is no flag. A shared library's path may get into what is linked with it.
func (m *mover) input(w string) string {
	if m.call.Mode == Link && strings.Contains(path.Base(w), ".so") {
		return w
	}
	if at, ok := strings.CutPrefix(w, "@"); ok {
		return "@" + m.path(at, false)
	}
	return m.path(w, false)
}

// path rewrites one that lies in the job's directory.
func (m *mover) path(p string, dir bool) string {
	if !within(p, m.from) {
		return p
	}
	real, to := m.base, canonical
	for !within(p, real) {
		real, to = path.Dir(real), path.Dir(to)
	}
	named := path.Clean(p)
	if !dir && named != m.from { // what is beside it may be read, too
		named = path.Dir(named)
	}
	m.named = append(m.named, named)
	return to + p[len(real):]
}

// flag rewrites a flag that has a row.
func (m *mover) flag(u use) []string {
	value := u.value
	switch {
	case strings.HasSuffix(u.name, "-prefix-map"):
		if old, now, ok := strings.Cut(value, "="); ok {
			value = m.path(old, true) + "=" + now
		}
	case m.call.Model == "ld":
		value = m.linkers(u)
	case m.call.Model == "as":
		if u.role == asOutput || u.role == asDir || u.role == asFile {
			value = m.path(value, u.role == asDir)
		}
	default:
		value = m.compilers(u)
	}
	words := slices.Clone(u.words)
	if last := len(words) - 1; u.value != "" {
		words[last] = strings.TrimSuffix(words[last], u.value) + value
	}
	return words
}

// compilers rewrites the operand of a compiler's flag.
func (m *mover) compilers(u use) string {
	switch u.role {
	case ccOutput, ccForced, ccImacros, ccDepFile, reads:
		return m.path(u.value, false)
	case ccDir:
		return m.path(u.value, true)
	case ccPreWords:
		parts := strings.Split(u.value, ",")
		for i := range parts {
			parts[i] = m.path(parts[i], false)
		}
		return strings.Join(parts, ",")
	case ccLink:
		if u.name == "-L" || u.name == "-T" {
			return m.path(u.value, u.name == "-L")
		}
	case ccLinkWords:
		of := &mover{move: m.move, call: &Call{Model: "ld", Mode: Link}, find: findLinkers}
		words := of.words(strings.Split(u.value, ","))
		m.named = append(m.named, of.named...)
		if m.err == nil {
			m.err = of.err
		}
		return strings.Join(words, ",")
	}
	if u.name == "-MT" || u.name == "-MQ" {
		return m.path(u.value, false)
	}
	return u.value
}

// linkers rewrites the operand of a linker's flag.
func (m *mover) linkers(u use) string {
	switch u.role {
	case refuse: // its operand may be in the next word for the linker
		m.err = local("%s stands apart from what it names", u.words[0])
	case ldOutput, ldScript, ldFile, reads:
		return m.path(u.value, false)
	case ldDir, ldRpathLink:
		return m.path(u.value, true)
	}
	return u.value
}
