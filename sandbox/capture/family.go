package capture

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"gaggle/wire"
)

// families takes what belongs to the programs and libraries that were taken since the last call,
// and reports whether that was anything new.
func (t *tools) families(ctx context.Context) (more bool, err error) {
	before := len(t.host.added)
	for ; t.known < len(t.order); t.known++ {
		c := t.order[t.known]
		if err := t.prefixes(c); err != nil {
			return false, err
		}
		if err := t.apply(ctx, c.file, (*family).ofProgram); err != nil {
			return false, err
		}
	}
	for ; t.linked < len(t.linker.order); t.linked++ {
		if err := t.apply(ctx, t.linker.order[t.linked], t.ofObject); err != nil {
			return false, err
		}
	}
	return len(t.host.added) > before || len(t.linker.todo) > 0, nil
}

// apply takes what the families have that match a file.
func (t *tools) apply(ctx context.Context, file string, match func(*family, string) []string) error {
	for i := range families {
		if m := match(&families[i], file); m != nil {
			if err := t.matched(ctx, &families[i], m, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofProgram returns what of a program's name f matches, nil if it is not of the family.
func (f *family) ofProgram(file string) []string {
	if f.program == nil {
		return nil
	}
	return f.program.FindStringSubmatch(path.Base(file))
}

// ofObject does so of a shared library, or of what imports f's function, once.
func (t *tools) ofObject(f *family, file string) []string {
	switch {
	case f.library != nil:
		return f.library.FindStringSubmatch(path.Base(file))
	case f.symbol != "" && !t.applied[f.key("", "")] && t.imports(file, f.symbol):
		return []string{""}
	}
	return nil
}

// key tells the uses of a family apart.
func (f *family) key(dir, version string) string { return f.why + "\x00" + dir + "\x00" + version }

// imports reports whether the shared object or program uses a function of another.
func (t *tools) imports(file, symbol string) bool {
	f, err := elf.Open(t.host.prefix + file)
	if err != nil {
		return false
	}
	defer f.Close()
	s := f.Section(".dynstr")
	if s == nil || strings.HasPrefix(path.Base(file), "libc.") { // which defines it
		return false
	}
	names, err := s.Data()
	return err == nil && bytes.Contains(names, []byte("\x00"+symbol+"\x00"))
}

// matched applies a family to the file that it matched, once for each directory that it is for.
func (t *tools) matched(ctx context.Context, f *family, match []string, file string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	version := ""
	if len(match) > 1 {
		version = match[1]
	}
	dir := path.Dir(file)
	if f.symbol != "" {
		dir = ""
	}
	if t.applied[f.key(dir, version)] {
		return nil
	}
	t.applied[f.key(dir, version)] = true
	fill := strings.NewReplacer("{prefix}", strings.TrimSuffix(path.Dir(dir), "/"), "{dir}", dir, "$1", version)
	if found, err := t.globAll(fill.Replace(f.marker)); f.marker != "" && (err != nil || len(found) == 0) {
		return err
	}
	opt := takeOptions{lenient: true, public: true, tidy: true}
	for _, pattern := range f.skip {
		opt.skip = append(opt.skip, braces(fill.Replace(pattern))...)
	}
	left := f.max
	for _, pattern := range f.paths {
		found, err := t.globAll(fill.Replace(pattern))
		if err != nil {
			return err
		}
		for _, p := range found {
			if err := t.takeWithin(p, opt, f, &left); err != nil {
				return err
			}
		}
	}
	return t.optionalTools(f.tools)
}

// globAll returns what the alternatives of a pattern match.
func (t *tools) globAll(pattern string) ([]string, error) {
	var all []string
	for _, alternative := range braces(pattern) {
		found, err := t.host.glob(alternative)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// takeWithin takes p unless it has more bytes than are left of the family's bound.
func (t *tools) takeWithin(p string, opt takeOptions, f *family, left *int64) error {
	if f.max > 0 {
		at, err := t.host.canonical(p)
		if err != nil || t.host.taken[opt.key(at)] {
			return ignoreAbsent(err)
		}
		size := t.host.sizeOf(at, opt, *left)
		if size > *left {
			t.note(fmt.Sprintf("%s is left out: all of its kind are bound to %d MB; name it in include if it is needed", p, f.max>>20))
			return nil
		}
		*left -= size
	}
	return ignoreAbsent(t.host.take(p, opt))
}

// sizeOf returns the bytes of the files at and below a canonical path; of more than limit, so
// much that it exceeds it.
func (h *host) sizeOf(at string, opt takeOptions, limit int64) int64 {
	fi, err := h.lstat(at)
	switch {
	case err != nil || opt.skips(at):
		return 0
	case fi.Mode().IsRegular():
		return fi.Size()
	case !fi.IsDir():
		return 0
	}
	entries, err := h.readDir(at)
	if err != nil {
		return 0
	}
	var sum int64
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			sum += h.sizeOf(path.Join(at, e.Name()), opt, limit-sum)
		}
		if sum > limit {
			break
		}
	}
	return sum
}

// optionalTools takes programs that a family works with, as far as they are here.
func (t *tools) optionalTools(names []string) error {
	for _, name := range names {
		p, err := t.search(name)
		if err != nil {
			continue // a compiler without an assembler can still check syntax
		}
		if err := t.program(p, true); err != nil && wire.CauseOf(err) != wire.CauseInvalid {
			return err
		}
	}
	return nil
}

// braces returns the patterns that one with {a,b} in it stands for. "{prefix}" and the like are
// none: they have no comma.
func braces(pattern string) []string {
	for from := 0; ; {
		open := strings.IndexByte(pattern[from:], '{')
		if open < 0 {
			return []string{pattern}
		}
		open += from
		size := strings.IndexByte(pattern[open:], '}')
		if size < 0 {
			return []string{pattern}
		}
		list, after := pattern[open+1:open+size], pattern[open+size+1:]
		if !strings.Contains(list, ",") {
			from = open + size
			continue
		}
		var all []string
		for choice := range strings.SplitSeq(list, ",") {
			all = append(all, braces(pattern[:open]+choice+after)...)
		}
		return all
	}
}
