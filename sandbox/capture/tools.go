package capture

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"gaggle/wire"
)

// Tools captures the named programs of this machine with all that the rules in the package
// comment take along, and what opt.Include matches. A name is sought in opt.Path, or is an
// absolute path. The error is a *wire.Error of CauseInvalid that names what is not here, or what
// the sink or ctx gave.
func Tools(ctx context.Context, names []string, opt Options, sink Sink) (wire.Object, error) {
	if runtime.GOOS != "linux" {
		return wire.Object{}, wire.Errorf(wire.CauseInvalid, `give a root: {"oci": "image.tar"}, {"dir": ..} or {"tree": ..}`,
			"programs of %s cannot run on the nodes, which are Linux", runtime.GOOS)
	}
	l, err := newTools("", opt).capture(ctx, names, opt.Include)
	if err != nil {
		return wire.Object{}, err
	}
	return l.store(ctx, sink)
}

// A tools is one capture of programs.
type tools struct {
	host   *host
	linker *linker
	path   []string        // directories to search
	seen   map[string]bool // canonical paths of programs that were looked at
	envs   []string        // virtual environments of Python in use
	late   []string        // files that came with a whole directory, which may need libraries
}

// standard are directories of programs that every sandbox's PATH has (sandbox.DefaultPath).
var standard = []string{"/usr/local/bin", "/usr/bin", "/bin"}

func newTools(prefix string, opt Options) *tools {
	h := &host{prefix: prefix, layout: newLayout(), seen: map[string]bool{}}
	t := &tools{host: h, linker: newLinker(h), seen: map[string]bool{}}
	for _, dir := range filepath.SplitList(opt.Path) {
		if path.IsAbs(dir) { // a relative one means another thing in every directory
			t.path = append(t.path, path.Clean(dir))
		}
	}
	return t
}

func (t *tools) capture(ctx context.Context, names, include []string) (*layout, error) {
	if err := t.programs(ctx, names); err != nil {
		return nil, err
	}
	for _, p := range []string{"/bin/sh", "/usr/bin/env"} { // system(3), and "#!/usr/bin/env"
		if fi, err := os.Stat(t.host.prefix + p); err == nil && fi.Mode().IsRegular() {
			if err := t.program(p, false); err != nil {
				return nil, err
			}
		}
	}
	if err := t.linker.drain(); err != nil {
		return nil, err
	}
	// What comes now is taken whole: not all of it is meant to work, such as a module of Python
	// for a library that is not installed.
	t.host.added = func(file string) { t.late = append(t.late, file) }
	for _, p := range []string{"/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"} {
		if err := ignoreAbsent(t.host.take(p, takeOptions{lenient: true})); err != nil {
			return nil, err
		}
	}
	if err := t.bundles(ctx); err != nil {
		return nil, err
	}
	if err := t.include(ctx, include); err != nil {
		return nil, err
	}
	t.host.added = nil
	for _, file := range t.late {
		if name := path.Base(file); (strings.Contains(name, ".so") || t.executable(file)) && t.host.isELF(file) {
			t.linker.todo = append(t.linker.todo, object{path: file, file: file, optional: true})
		}
	}
	if err := t.linker.drain(); err != nil {
		return nil, err
	}
	return t.host.layout, t.host.layout.complete()
}

func (t *tools) executable(file string) bool {
	_, n, err := t.host.layout.find(file, false)
	return err == nil && n != nil && n.kind == wire.Exec
}

// programs takes the named programs; the error lists all that are not here.
func (t *tools) programs(ctx context.Context, names []string) error {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	var missing []string
	var hint string
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := t.named(name)
		var e *wire.Error
		if !errors.As(err, &e) || e.Cause != wire.CauseInvalid {
			if err != nil {
				return err
			}
			continue
		}
		missing = append(missing, e.Message)
		hint = e.Hint
	}
	if len(missing) == 0 {
		return nil
	}
	return wire.Errorf(wire.CauseInvalid, hint, "%s", strings.Join(missing, "; "))
}

// named takes one program, and makes it one that the sandbox finds by its name.
func (t *tools) named(name string) error {
	p, err := t.search(name)
	if err != nil {
		return err
	}
	if err := t.program(p, false); err != nil {
		return err
	}
	link := path.Join("/usr/local/bin", path.Base(name))
	if slices.Contains(standard, path.Dir(p)) || p == link {
		return nil
	}
	link, n, err := t.host.layout.find(link, false)
	if err != nil || n != nil {
		return err
	}
	if env := t.venv(p); env != "" {
		return t.venvProgram(link, p, env)
	}
	return t.host.layout.put(link, &node{kind: wire.Symlink, target: p})
}

// program takes the program at p with what it takes to start it: libraries for a binary, the
// interpreter for a script. What an optional one needs may be missing.
func (t *tools) program(p string, optional bool) error {
	file, _, err := t.host.add(p)
	if err != nil {
		return wire.Errorf(wire.CauseInvalid, "give a root, or make it readable", "taking program %s: %v", p, err)
	}
	if t.seen[file] {
		return nil
	}
	t.seen[file] = true
	f, err := os.Open(t.host.prefix + file)
	if err != nil {
		return wire.Errorf(wire.CauseInvalid, "give a root, or make it readable", "reading program %s: %v", p, err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	switch head, _ := r.Peek(4); {
	case string(head) == "\x7fELF":
		t.linker.todo = append(t.linker.todo, object{path: file, file: file, optional: optional})
		return nil
	case len(head) > 2 && head[0] == '#' && head[1] == '!':
		text, err := io.ReadAll(io.LimitReader(r, maxScript))
		if err != nil {
			return wire.Errorf(wire.CauseInvalid, "", "reading program %s: %v", p, err)
		}
		return t.script(p, string(text), optional)
	}
	return t.script(p, "#!/bin/sh\n", optional) // what execvp(3) does with a file without a first line
}

// maxScript bounds what is read of a script in search of what it calls.
const maxScript = 256 << 10

var pathInScript = regexp.MustCompile(`/[A-Za-z0-9_.+/-]+`)

// script takes the interpreter of a script, and the programs that it calls by absolute path,
// as wrappers do.
func (t *tools) script(p, text string, optional bool) error {
	first, rest, _ := strings.Cut(strings.TrimPrefix(text, "#!"), "\n")
	words := strings.Fields(first)
	if len(words) == 0 || !path.IsAbs(words[0]) {
		return wire.Errorf(wire.CauseInvalid, "give a root", "script %s has no interpreter that is known: %q", p, first)
	}
	if err := t.program(words[0], optional); err != nil {
		return err
	}
	if path.Base(words[0]) == "env" {
		for _, w := range words[1:] {
			if strings.HasPrefix(w, "-") || strings.Contains(w, "=") {
				continue
			}
			if err := t.named(w); err != nil {
				return err
			}
			break
		}
	}
	for _, called := range pathInScript.FindAllString(rest, -1) {
		called = path.Clean(called)
		fi, err := os.Stat(t.host.prefix + called)
		if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 == 0 {
			continue
		}
		if err := t.program(called, true); err != nil && wire.CauseOf(err) != wire.CauseInvalid {
			return err // else it only looked like a call
		}
	}
	return nil
}

// include takes what the patterns match.
func (t *tools) include(ctx context.Context, patterns []string) error {
	for _, pattern := range slices.Compact(slices.Sorted(slices.Values(patterns))) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !path.IsAbs(pattern) {
			return wire.Errorf(wire.CauseInvalid, "write the absolute path that it has on this machine", "include %q is not absolute", pattern)
		}
		found, err := t.host.glob(pattern)
		if err != nil {
			return wire.Errorf(wire.CauseInvalid, "see the patterns of path.Match; ** is any directories", "include %q: %v", pattern, err)
		}
		if len(found) == 0 {
			return wire.Errorf(wire.CauseInvalid, "correct the pattern", "include %q matches nothing on this machine", pattern)
		}
		for _, p := range found {
			if err := t.host.take(p, takeOptions{}); err != nil {
				return includeError(pattern, err)
			}
		}
	}
	return nil
}

func includeError(pattern string, err error) error {
	var e *wire.Error
	var pe *fs.PathError
	switch {
	case errors.As(err, &e):
		return err
	case errors.As(err, &pe), errors.Is(err, wire.ErrBadPath):
		return wire.Errorf(wire.CauseInvalid, "narrow the pattern, or make it readable", "include %q: %v", pattern, err)
	}
	return err
}
