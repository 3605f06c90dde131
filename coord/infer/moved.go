package infer

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"gaggle/wire"
)

// canonical is where a node sees the build's directory in a portable call, and so those above it. What
// a tool makes does not depend then on where the build is.
const canonical = "/gaggle/up3/up2/up1/tree"

// A move is of a job's directory to where a node sees it.
type move struct {
	from, to string // equal if the call is bound to its directory
	base     string // of the build, within from
}

func (m *move) moves() bool { return m.from != m.to }

// at is where a node sees a clean path within the job's directory. It is not ok if that is the place of
// another.
func (m *move) at(p string) (to string, ok bool) {
	if !m.moves() {
		return p, true
	}
	real, to, below := m.base, canonical, ""
	for !within(p, real) {
		real, to, below = path.Dir(real), path.Dir(to), path.Base(to)
	}
	rest := strings.TrimPrefix(p[len(real):], "/")
	if below != "" && strings.HasPrefix(rest, below) {
		return "", false
	}
	return path.Join(to, rest), true
}

// rel is a clean path in the thunk, without the job's directory.
func (m *move) rel(p string) string {
	p, _ = m.at(p)
	return strings.TrimPrefix(strings.TrimPrefix(p, m.to), "/")
}

// A level is the build's directory or one above it, up to the job's.
type level struct{ real, to, name string } // as it is here, there, and from the build's directory

func (m *move) levels() (all []level) {
	for l := (level{m.base, canonical, "."}); within(l.real, m.from); l.real, l.to = path.Dir(l.real), path.Dir(l.to) {
		all = append(all, l)
		l.name = path.Join(l.name, "..")
	}
	return all
}

// restore has a text name files as they are called here.
func (m *move) restore(text string) string {
	for _, l := range m.levels() {
		text = strings.ReplaceAll(text, l.to, l.real)
	}
	return text
}

// plainName is what can stand in a file of dependencies, a list of a linker's words and a map of
// prefixes as it is.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_./+@~-]+$`)

// moved says where the call is seen, whose files all lie in dir, and its words there. If why is not
// empty it says why the call is bound to its directory.
func (l *layout) moved(dir string, c *Call, args, env []string) (m *move, words []string, why string) {
	bound := &move{dir, dir, l.base}
	if !l.portable {
		return bound, args, ""
	}
	m = &move{dir, canonical, l.base}
	for up := l.base; up != dir; up = path.Dir(up) {
		if m.to = path.Dir(m.to); m.to == "/gaggle" {
			return bound, args, "its files lie far from the build's directory"
		}
	}
	words, err := l.portableWords(m, c, args)
	if err == nil {
		err = l.movable(m, c, env)
	}
	if err != nil {
		return bound, args, err.Error()
	}
	return m, words, ""
}

// movable returns why the files of a call cannot be seen elsewhere, but for its words.
func (l *layout) movable(m *move, c *Call, env []string) error {
	if !plainName.MatchString(m.from) {
		return local("the name of the build's directory has unusual characters")
	}
	if l.reentered {
		return local("a path leaves a directory and enters it again by its name")
	}
	for _, v := range variables(c, env) {
		if m.mentioned(v.Value) {
			return local("$%s names a directory of the build", v.Name)
		}
	}
	for _, at := range []map[string]bool{l.dirs, keys(l.files)} {
		for p := range at {
			if _, ok := m.at(p); !ok {
				return local("%s is where another file is to be seen", p)
			}
		}
	}
	for _, p := range l.texts {
		if err := l.unmentioned(m, p); err != nil {
			return err
		}
	}
	for _, p := range l.absolute {
		if !slices.ContainsFunc(l.named, func(n string) bool { return within(p, n) }) {
			return local("a file that it reads names a directory of the build")
		}
	}
	return nil
}

// mentioned reports whether a text names the job's directory, or one below.
func (m *move) mentioned(text string) bool {
	for {
		_, after, found := strings.Cut(text, m.from)
		if !found {
			return false
		}
		if after == "" || !plainName.MatchString(after[:1]) || after[0] == '/' {
			return true
		}
		text = after
	}
}

// maxMentioning bounds a file of words or a script that is looked through for the directory's name.
const maxMentioning = 1 << 20

// unmentioned returns why a file of words, a script or the like is bound to the directory. One that is
// pending is none.
func (l *layout) unmentioned(m *move, file string) error {
	switch ext := path.Ext(file); {
	case ext == ".o", ext == ".a", ext == ".lo", ext == ".obj", strings.Contains(path.Base(file), ".so"):
		return nil
	}
	if _, err := l.store.Add(l.ctx, file); errors.Is(err, ErrPending) {
		return nil
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() > maxMentioning {
		return local("%s is too long to be looked through", path.Base(file))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return local("%v", err)
	}
	if m.mentioned(string(text)) {
		return local("%s names a directory of the build", path.Base(file))
	}
	return nil
}

// Moved reports whether a node sees the files elsewhere than they are here, so that what the plan makes
// is the same for all directories.
func (p *Plan) Moved() bool { return p.move != nil && p.move.moves() }

// Names reports whether an output is a text that has to name files as they are called here: what a tool
// says, dependencies, a linker's map.
func (p *Plan) Names(output string) bool {
	return output == wire.Stdout || output == wire.Stderr ||
		slices.ContainsFunc(p.Made, func(m Made) bool { return m.Output == output && m.Names })
}

// Restore has such a text name them so.
func (p *Plan) Restore(text string) string {
	if !p.Moved() {
		return text
	}
	return p.move.restore(text)
}

// prefixMaps are the flags by which a compiler or an assembler writes paths from the build's directory
// instead of those that a node sees. The last one goes first, those of the call before all.
func (m *move) prefixMaps(flag string) (flags []string) {
	for _, l := range m.levels() {
		flags = append(flags, fmt.Sprintf("%s=%s=%s", flag, l.to, l.name))
	}
	slices.Reverse(flags)
	return flags
}
