package capture

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"gaggle/wire"
)

// search finds the program that a shell of this machine would run for name, or what that starts
// in turn if it is a version manager's stand-in.
func (t *tools) search(name string) (string, error) {
	switch {
	case path.IsAbs(name):
		if t.runnable(name) {
			return t.behind(path.Clean(name))
		}
		return "", wire.Errorf(wire.CauseInvalid, "install it here, or give a root", "there is no program %s", name)
	case strings.Contains(name, "/") || wire.CheckName(name) != nil:
		return "", wire.Errorf(wire.CauseInvalid, "a tool is a name on PATH or an absolute path; a script of yours is an input",
			"%q cannot be a tool", name)
	}
	for _, dir := range t.path {
		if p := path.Join(dir, name); t.runnable(p) {
			return t.behind(p)
		}
	}
	return "", t.unknown(name)
}

func (t *tools) runnable(p string) bool {
	fi, err := os.Stat(t.host.prefix + p)
	return err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0
}

// debianPackages are names of programs that are not names of their package.
var debianPackages = map[string]string{
	"awk": "gawk", "convert": "imagemagick", "magick": "imagemagick", "identify": "imagemagick", "mogrify": "imagemagick",
	"montage": "imagemagick", "composite": "imagemagick", "ffprobe": "ffmpeg", "cc": "gcc", "c++": "g++", "ld": "binutils",
	"as": "binutils", "ar": "binutils", "strip": "binutils", "redis-benchmark": "redis-tools", "redis-cli": "redis-tools",
	"python": "python-is-python3", "pip": "python3-pip", "java": "default-jre", "javac": "default-jdk", "xz": "xz-utils",
	"7z": "p7zip-full", "sox": "sox", "pdftotext": "poppler-utils", "iperf": "iperf3", "node": "nodejs",
}

// unknown says that name is not on PATH, and what is that looks like it.
func (t *tools) unknown(name string) error {
	pkg, ok := debianPackages[name]
	if !ok {
		pkg = name
	}
	near := ""
	if names := t.nearest(name); len(names) > 0 {
		near = " (near it: " + strings.Join(names, ", ") + ")"
	}
	return wire.Errorf(wire.CauseInvalid, "install it here (on Debian or Ubuntu: apt-get install "+pkg+"), or give a root",
		"there is no program %q on PATH%s", name, near)
}

// nearest returns up to three names on PATH that differ from name in a slip or two.
func (t *tools) nearest(name string) []string {
	type candidate struct {
		name string
		far  int
	}
	limit := 1 + len(name)/4
	var found []candidate
	for _, dir := range t.path {
		entries, err := os.ReadDir(t.host.prefix + dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if far := distance(name, e.Name(), limit); far <= limit && t.runnable(path.Join(dir, e.Name())) {
				found = append(found, candidate{e.Name(), far})
			}
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		if a.far != b.far {
			return a.far - b.far
		}
		return strings.Compare(a.name, b.name)
	})
	found = slices.Compact(found)
	var names []string
	for _, c := range found[:min(len(found), 3)] {
		names = append(names, c.name)
	}
	return names
}

// distance returns how many bytes have to be put in, left out or exchanged to make a of b
// (Levenshtein), or more than limit as soon as that is sure.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, best := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
			best = min(best, row[j+1])
		}
		if best > limit {
			return limit + 1
		}
	}
	return row[len(b)]
}

// dispatchers are programs that under another name start one from elsewhere, which depends on
// the user's settings and directory.
var dispatchers = []string{"rustup", "ccache", "sccache", "distcc", "icecc", "mise", "rtx", "volta-shim", "asdf", "snap", "proxy-shim"}

// behind returns the program that p stands in for: p itself unless it is a version manager's.
// Those of pyenv, rbenv, nodenv and their like, whose choice is in one file, are followed; of
// others the tree would hold only the manager, so they are refused.
func (t *tools) behind(p string) (string, error) {
	name := path.Base(p)
	if path.Base(path.Dir(p)) == "shims" {
		return t.shim(p, path.Dir(path.Dir(p)))
	}
	file, err := t.canonical(p)
	if err != nil {
		return "", wire.Errorf(wire.CauseInvalid, "give a root, or make it readable", "finding program %s: %v", p, err)
	}
	if base := path.Base(file); base != name && slices.Contains(dispatchers, base) {
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

// shim follows a stand-in of a version manager that keeps its versions in root/versions and the
// names of those in use in root/version, a line each.
func (t *tools) shim(p, root string) (string, error) {
	name := path.Base(p)
	text, err := os.ReadFile(t.host.prefix + path.Join(root, "version"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", wire.Errorf(wire.CauseInvalid, "make it readable", "finding the version of %s: %v", p, err)
	}
	for _, version := range strings.Fields(string(text)) {
		if wire.CheckName(version) != nil {
			continue
		}
		if real := path.Join(root, "versions", version, "bin", name); t.runnable(real) {
			return real, nil
		}
		if version != "system" {
			continue
		}
		for _, dir := range t.path {
			if real := path.Join(dir, name); path.Base(dir) != "shims" && t.runnable(real) {
				return real, nil
			}
		}
	}
	return "", standIn(p, strings.TrimPrefix(path.Base(root), "."))
}

// canonical follows the links of this machine.
func (t *tools) canonical(p string) (string, error) {
	scratch := &host{prefix: t.host.prefix, layout: newLayout()}
	file, _, err := scratch.add(p)
	return file, err
}
