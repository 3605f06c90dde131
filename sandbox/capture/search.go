package capture

import (
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
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
			return t.behind(path.Clean(name), nil)
		}
		return "", wire.Errorf(wire.CauseInvalid, "install it here, or give a root", "there is no program %s", name)
	case strings.Contains(name, "/") || wire.CheckName(name) != nil:
		return "", wire.Errorf(wire.CauseInvalid, "a tool is a name on PATH or an absolute path; a script of yours is an input",
			"%q cannot be a tool", name)
	}
	return t.onPath(name, t.path)
}

// onPath finds a program by name in the first of the directories that has it.
func (t *tools) onPath(name string, dirs []string) (string, error) {
	none := t.unknown
	for i, dir := range dirs {
		p := path.Join(dir, name)
		switch {
		case !t.runnable(p):
			continue
		case t.ours(p):
			none = func(string) error {
				return wire.Errorf(wire.CauseInvalid, "install Node.js (on Debian or Ubuntu: apt-get install nodejs), or give a root", "%s is gaggle's own, and there is no other node on PATH", p)
			}
			continue
		}
		real, err := t.behind(p, dirs[i+1:])
		if !errors.Is(err, errPass) {
			return real, err
		}
		none = func(string) error { return standIn(p, "a compiler cache") }
	}
	return "", none(name)
}

// ours reports whether p is gaggle's own node: who names it means Node.js.
func (t *tools) ours(p string) bool {
	if path.Base(p) != "node" {
		return false
	}
	info, err := buildinfo.ReadFile(t.host.prefix + p)
	return err == nil && strings.HasPrefix(info.Path, "gaggle/")
}

func (t *tools) runnable(p string) bool {
	fi, err := t.host.stat(p)
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
	return wire.Errorf(wire.CauseInvalid, "install it here (on Debian or Ubuntu: apt-get install "+pkg+"), or give a root; looked in "+t.searched(),
		"there is no program %q on PATH%s", name, near)
}

// maxSearched is how many directories are named that a program was looked for in.
const maxSearched = 12

func (t *tools) searched() string {
	var dirs []string
	for _, dir := range t.path {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if more := len(dirs) - maxSearched; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(dirs[:maxSearched], " "), more)
	}
	return cmp.Or(strings.Join(dirs, " "), "no directory: PATH is empty")
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
