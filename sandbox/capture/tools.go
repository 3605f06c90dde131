package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A Root is a captured root tree.
type Root struct {
	Object wire.Object
	// Seen is what of this machine it was made from: while that is Unchanged, so is the root. It
	// is nil if some of it was touched too shortly before to tell.
	Seen []Identity
	// Notes say what was left out that somebody may miss, a sentence each.
	Notes []string
}

// Rules counts the changes of what Tools and OCI make of the same machine: roots that are
// remembered from before one are not what they would be now.
const Rules = 4

// Tools captures the named programs of this machine with all that the rules in the package
// comment take along, and what opt.Include matches. A name is sought in opt.Path, or is an
// absolute path. The error is a *wire.Error of CauseInvalid that names what is not here, or what
// the sink or ctx gave.
func Tools(ctx context.Context, names []string, opt Options, sink Sink) (*Root, error) {
	if runtime.GOOS != "linux" {
		return nil, wire.Errorf(wire.CauseInvalid, `give a root: {"oci": "image.tar"}, {"dir": ..} or {"tree": ..}`,
			"programs of %s cannot run on the nodes, which are Linux", runtime.GOOS)
	}
	t := newTools("", opt)
	l, err := t.capture(ctx, names, opt.Include)
	if err != nil {
		return nil, err
	}
	o, err := l.store(ctx, sink)
	if err != nil {
		return nil, err
	}
	if o.Size > heavy {
		dir, bytes := l.heaviest()
		t.note(fmt.Sprintf("the root of %s has %d MB, %d of them in %s", strings.Join(names, " "), o.Size/1e6, bytes/1e6, dir))
	}
	return &Root{Object: o, Seen: t.host.seen.settled(time.Now()), Notes: t.notes}, nil
}

// heavy is when it is said where the bytes of a root are: a node fetches that in seconds, and each
// program of those that have more by nature (a JVM, ffmpeg) stays below.
const heavy = 280e6

// A tools is one capture of programs.
type tools struct {
	host   *host
	linker *linker
	path   []string // directories to search
	dir    string   // that version managers look for their settings from, upwards
	notes  []string

	seen     map[string]bool // canonical paths of programs that were looked at
	order    []called        // those programs, in that order
	known    int             // of order, whose families were applied
	linked   int             // of linker.order, likewise
	late     int             // of host.added, which were looked through for what needs libraries
	applied  map[string]bool // keys of families
	packages *packages       // nil before it was asked
}

// A called is a program by the path that it was called by, and its canonical one.
type called struct{ path, file string }

// standard are directories of programs that every sandbox's PATH has (sandbox.DefaultPath).
var standard = []string{"/usr/local/bin", "/usr/bin", "/bin"}

func newTools(prefix string, opt Options) *tools {
	h := newHost(prefix)
	t := &tools{host: h, linker: newLinker(h), dir: opt.Dir, seen: map[string]bool{}, applied: map[string]bool{}}
	for _, dir := range filepath.SplitList(opt.Path) {
		if path.IsAbs(dir) { // a relative one means another thing in every directory
			t.path = append(t.path, path.Clean(dir))
		}
	}
	return t
}

func (t *tools) note(text string) {
	if !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

func (t *tools) capture(ctx context.Context, names, include []string) (*layout, error) {
	if err := t.programs(ctx, names); err != nil {
		return nil, err
	}
	for _, p := range []string{"/bin/sh", "/usr/bin/env"} { // system(3), and "#!/usr/bin/env"
		if t.runnable(p) {
			if err := t.program(p, false); err != nil {
				return nil, err
			}
		}
	}
	if err := t.linker.drain(); err != nil {
		return nil, err
	}
	for _, p := range []string{"/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"} {
		if err := ignoreAbsent(t.host.take(p, takeOptions{lenient: true})); err != nil {
			return nil, err
		}
	}
	// What was taken for one rule may call for another, until nothing new comes.
	for more := true; more; {
		var err error
		if more, err = t.families(ctx); err != nil {
			return nil, err
		}
		owned, err := t.fromPackages(ctx)
		if err != nil {
			return nil, err
		}
		if err := t.drainLate(); err != nil {
			return nil, err
		}
		more = more || owned
	}
	if err := t.include(ctx, include); err != nil {
		return nil, err
	}
	if err := t.drainLate(); err != nil {
		return nil, err
	}
	return t.host.layout, t.host.layout.complete()
}

// drainLate takes the libraries of what rules took whole, which need not all work: a module of
// Python may be for a library that is not installed.
func (t *tools) drainLate() error {
	for ; t.late < len(t.host.added); t.late++ {
		file := t.host.added[t.late]
		if name := path.Base(file); (strings.Contains(name, ".so") || t.executable(file)) && !t.linker.done[file] && t.host.isELF(file) {
			t.linker.todo = append(t.linker.todo, object{path: file, file: file, optional: true})
		}
	}
	return t.linker.drain()
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
	if t.needsPath(p) {
		return t.host.layout.put(link, &node{kind: wire.Exec, text: "#!/bin/sh\nexec '" + strings.ReplaceAll(p, "'", `'\''`) + "' \"$@\"\n"})
	}
	return t.host.layout.put(link, &node{kind: wire.Symlink, target: p})
}

// needsPath reports whether a program finds its parts by the path that it was started by, so that
// a link to it would not do: scripts, and the Python of a virtual environment.
func (t *tools) needsPath(p string) bool {
	if _, err := t.host.stat(path.Join(path.Dir(path.Dir(p)), "pyvenv.cfg")); err == nil {
		return true
	}
	head, err := t.host.readFile(p, 2)
	return err == nil && string(head) == "#!"
}

// program takes the program at p with what it takes to start it: libraries for a binary, the
// interpreter for a script. What an optional one needs may be missing.
func (t *tools) program(p string, optional bool) error {
	file, _, err := t.host.add(p)
	if err != nil {
		return wire.Errorf(wire.CauseInvalid, "give a root, or make it readable", "taking program %s: %v", p, err)
	}
	if err := hidden(file); err != nil {
		return err
	}
	if t.seen[p] {
		return nil
	}
	t.seen[p] = true
	t.order = append(t.order, called{p, file})
	if p != file && t.seen[file] {
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

// hidden refuses what a thunk could not see: the sandbox mounts its own there.
func hidden(p string) error {
	switch top, _, _ := strings.Cut(p[1:], "/"); top {
	case "tmp", "job", "proc", "dev":
		return wire.Errorf(wire.CauseInvalid, "put it elsewhere, or make it an input", "%s cannot be in a root: the sandbox has its own /%s", p, top)
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
			if err := hidden(p); err != nil {
				return err
			}
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
