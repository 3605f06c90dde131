package capture

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gaggle/wire"
)

// Version managers put stand-ins on PATH that start one of several versions of a program, by the
// user's settings and the directory. A root has to hold the version itself, at its own place.

// A manager is one with directories of stand-ins, that are called shims.
type manager struct {
	name string // as in ~/.pyenv
	// file is what a directory has to set the version for work in it and below.
	file string
}

// managers of the family of rbenv keep versions in versions/NAME and the names of those in use,
// unless a directory has its own, in the file version.
var managers = []manager{{"pyenv", ".python-version"}, {"rbenv", ".ruby-version"}, {"nodenv", ".node-version"}, {"plenv", ".perl-version"},
	{"goenv", ".go-version"}, {"jenv", ".java-version"}, {"luaenv", ".lua-version"}, {"phpenv", ".php-version"}}

// passers start the next program of their name on PATH, after a look at what they know of it.
var passers = []string{"ccache", "sccache", "distcc", "icecc"}

// dispatchers are programs that under another name start one from elsewhere by rules of their own.
var dispatchers = []string{"mise", "rtx", "volta-shim", "asdf", "snap", "proxy-shim"}

// errPass says that the program is only put before another of the same name.
var errPass = errors.New("passes on to the next on PATH")

const maxVersionFile = 64 << 10 // of one that sets versions; real ones have a few lines

// behind returns the program that p stands in for: p itself unless it is a version manager's.
// The next directories of PATH are for managers that may pass on to the system's version. A
// manager whose choice cannot be told is refused, for the root would hold it alone.
func (t *tools) behind(p string, next []string) (string, error) {
	if path.Base(path.Dir(p)) == "shims" {
		root := path.Dir(path.Dir(p))
		if fi, err := t.host.stat(path.Join(root, "installs")); err == nil && fi.IsDir() {
			return t.asdf(p, root, next)
		}
		return t.shim(p, root, next)
	}
	file, err := t.host.canonical(p)
	if err != nil {
		return "", wire.Errorf(wire.CauseInvalid, "give a root, or make it readable", "finding program %s: %v", p, err)
	}
	switch base := path.Base(file); {
	case base == path.Base(p):
	case base == "rustup":
		return t.rustup(p)
	case slices.Contains(passers, base):
		return "", errPass
	case slices.Contains(dispatchers, base):
		return "", standIn(p, base)
	}
	return p, nil
}

func standIn(p, manager string) error {
	name := path.Base(p)
	hint := "put the directory of the real program first on PATH, or name it by its absolute path"
	if manager == "rustup" {
		hint += " (rustup which " + name + ")"
	}
	return wire.Errorf(wire.CauseInvalid, hint, "%s is a stand-in of %s, which would not find the real %s in a root", p, manager, name)
}

// versionFile returns the words of the lines of the nearest file of that name, from the working
// directory upwards.
func (t *tools) versionFile(name string) [][]string {
	for dir := t.dir; path.IsAbs(dir); dir = path.Dir(dir) {
		if lines := t.lines(path.Join(dir, name)); lines != nil {
			return lines
		}
		if dir == "/" {
			break
		}
	}
	return nil
}

// lines returns the words of each line of a file, comments left out; nil if there is no such file.
func (t *tools) lines(file string) (lines [][]string) {
	text, err := t.host.readFile(file, maxVersionFile)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, words)
		}
	}
	return lines
}

// shim follows a stand-in of a manager like rbenv whose files are in root.
func (t *tools) shim(p, root string, next []string) (string, error) {
	name, of := path.Base(p), strings.TrimPrefix(path.Base(root), ".")
	var versions [][]string
	for _, m := range managers {
		if m.name == of {
			versions = t.versionFile(m.file)
		}
	}
	if versions == nil {
		global := path.Join(root, "version")
		if _, err := t.host.readFile(global, maxVersionFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", wire.Errorf(wire.CauseInvalid, "make it readable", "finding the version of %s: %v", p, err)
		}
		versions = t.lines(global)
	}
	if versions == nil {
		versions = [][]string{{"system"}}
	}
	for _, version := range slices.Concat(versions...) {
		if version == "system" {
			if real, err := t.onPath(name, next); err == nil {
				return real, nil
			}
			continue
		}
		if wire.CheckName(version) != nil {
			continue
		}
		if real := path.Join(root, "versions", version, "bin", name); t.runnable(real) {
			return real, nil
		}
		// pyenv takes 3.11 for the latest 3.11.x that is installed.
		if found, _ := t.host.glob(path.Join(root, "versions", version+".*", "bin", name)); len(found) > 0 {
			return slices.MaxFunc(found, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) }), nil
		}
	}
	return "", standIn(p, of)
}

// asdf follows a stand-in of asdf, a script with a comment for each version that has the program:
//
//	# asdf-plugin: python 3.11.7
func (t *tools) asdf(p, root string, next []string) (string, error) {
	text, err := t.host.readFile(p, maxScript)
	if err != nil {
		return "", wire.Errorf(wire.CauseInvalid, "make it readable", "finding the version of %s: %v", p, err)
	}
	have := map[string][]string{} // versions by plug-in
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, "# asdf-plugin:")
		if words := strings.Fields(rest); ok && len(words) == 2 && wire.CheckName(words[0]) == nil && wire.CheckName(words[1]) == nil {
			have[words[0]] = append(have[words[0]], words[1])
		}
	}
	set := slices.Concat(t.versionFile(".tool-versions"), t.lines(path.Join(path.Dir(root), ".tool-versions")))
	for _, line := range set {
		for _, version := range line[1:] {
			if real := t.installed(root, line[0], version, path.Base(p)); real != "" && slices.Contains(have[line[0]], version) {
				return real, nil
			}
			if version == "system" && have[line[0]] != nil {
				return t.onPath(path.Base(p), next)
			}
		}
	}
	if len(have) == 1 { // nothing sets it, but there is no choice either
		for plugin, versions := range have {
			if real := t.installed(root, plugin, versions[0], path.Base(p)); len(versions) == 1 && real != "" {
				return real, nil
			}
		}
	}
	return "", standIn(p, "asdf")
}

// installed returns where asdf has a program of a version, or "".
func (t *tools) installed(root, plugin, version, name string) string {
	dir := path.Join(root, "installs", plugin, version)
	found, err := t.host.glob(path.Join(dir, "*", "bin", name))
	if err != nil {
		return ""
	}
	for _, p := range append([]string{path.Join(dir, "bin", name)}, found...) {
		if t.runnable(p) {
			return p
		}
	}
	return ""
}

// rustup follows a stand-in of rustup in ~/.cargo/bin to the toolchain of the directory, or to the
// default one.
func (t *tools) rustup(p string) (string, error) {
	home := path.Join(path.Dir(path.Dir(path.Dir(p))), ".rustup")
	chosen := ""
	for _, lines := range [][][]string{t.versionFile("rust-toolchain.toml"), t.versionFile("rust-toolchain"), t.lines(path.Join(home, "settings.toml"))} {
		for _, words := range lines {
			switch {
			case chosen != "":
			case len(words) == 3 && (words[0] == "channel" || words[0] == "default_toolchain") && words[1] == "=":
				chosen = strings.Trim(words[2], `"'`)
			case len(words) == 1 && !strings.HasPrefix(words[0], "["):
				chosen = words[0]
			}
		}
	}
	if chosen == "" || wire.CheckName(chosen) != nil {
		return "", standIn(p, "rustup")
	}
	found, err := t.host.glob(path.Join(home, "toolchains", "*", "bin", path.Base(p)))
	if err != nil {
		return "", standIn(p, "rustup")
	}
	for _, real := range found {
		toolchain := path.Base(path.Dir(path.Dir(real)))
		if (toolchain == chosen || strings.HasPrefix(toolchain, chosen+"-")) && t.runnable(real) {
			return real, nil
		}
	}
	return "", standIn(p, "rustup")
}
