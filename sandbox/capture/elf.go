package capture

import (
	"bytes"
	"debug/elf"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"gaggle/wire"
)

// A linker finds shared libraries as the dynamic linker will inside the root (ld.so(8)), where
// there is no ld.so.cache: first the object's own paths, then directories of the system. It
// reads files and runs nothing: ldd runs the program it is asked about.
type linker struct {
	host *host
	dirs []string // of /etc/ld.so.conf, then defaultDirs

	done  map[string]bool // canonical paths of objects that were looked at
	order []string        // those, in that order
	todo  []object
	heads map[string]head // of candidates, by path
}

// A head is what tells whether a library fits; the zero one is of no ELF file.
type head struct {
	class   elf.Class
	machine elf.Machine
	kind    elf.Type
}

// An object is an ELF file whose needs are not known yet.
type object struct {
	path     string   // as the dynamic linker will call it, of which $ORIGIN is the directory
	file     string   // canonical
	rpath    []string // DT_RPATH of those that need it, nearest first
	optional bool     // what it needs may be missing: nobody asked for it by name
	linked   bool     // reached by a link in a system directory, so that $ORIGIN is that
}

// defaultDirs are searched by some dynamic linker or other without being told: glibc's, with
// Debian's directories, and musl's.
var defaultDirs = []string{
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib",
}

const (
	maxConf = 64 << 10 // bytes of one file of ld.so.conf.d; real ones have a few lines
	maxELF  = 50_000   // objects in one root
)

func newLinker(h *host) *linker {
	l := &linker{host: h, done: map[string]bool{}, heads: map[string]head{}}
	l.dirs = append(l.conf("/etc/ld.so.conf", 0), defaultDirs...)
	return l
}

// conf returns the directories that a file in the format of ld.so.conf names. A file that cannot
// be read names none.
func (l *linker) conf(file string, depth int) (dirs []string) {
	text, err := l.host.readFile(file, maxConf)
	if err != nil || depth > 4 {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "hwcap":
		case words[0] == "include":
			for _, pattern := range words[1:] {
				if !path.IsAbs(pattern) {
					pattern = path.Join(path.Dir(file), pattern)
				}
				files, _ := l.host.glob(pattern)
				for _, f := range files {
					dirs = append(dirs, l.conf(f, depth+1)...)
				}
			}
		case path.IsAbs(words[0]):
			dirs = append(dirs, path.Clean(words[0]))
		}
	}
	return dirs
}

// isELF reports whether the canonical path is of an ELF file.
func (h *host) isELF(p string) bool {
	f, err := os.Open(h.prefix + p)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	_, err = io.ReadFull(f, magic)
	return err == nil && bytes.Equal(magic, []byte(elf.ELFMAG))
}

// drain takes all that the objects in todo need, and what that needs.
func (l *linker) drain() error {
	for len(l.todo) > 0 {
		o := l.todo[len(l.todo)-1]
		l.todo = l.todo[:len(l.todo)-1]
		if l.done[o.file] {
			continue
		}
		l.done[o.file] = true
		l.order = append(l.order, o.file)
		if len(l.done) > maxELF {
			return wire.Errorf(wire.CauseTooLarge, "take in less", "a root of more than %d programs and libraries", maxELF)
		}
		if err := l.needs(o); err != nil && !o.optional {
			return err
		}
	}
	return nil
}

// needs takes the dynamic linker and the libraries that o names.
func (l *linker) needs(o object) error {
	f, err := elf.Open(l.host.prefix + o.file)
	if err != nil {
		return wire.Errorf(wire.CauseInvalid, "install it again", "reading program %s: %v", o.path, err)
	}
	defer f.Close()
	if err := l.interpreter(f, o); err != nil {
		return err
	}
	needed, err := f.DynString(elf.DT_NEEDED)
	if err != nil {
		return nil // static
	}
	runpath, own := searchPath(f, elf.DT_RUNPATH, o), searchPath(f, elf.DT_RPATH, o)
	search, inherited := runpath, o.rpath
	if len(runpath) == 0 {
		inherited = slices.Concat(own, o.rpath)
		search = inherited
	}
	for _, name := range needed {
		lib, err := l.library(f, name, search, o)
		switch {
		case err == nil:
			lib.rpath, lib.optional = inherited, o.optional
			l.todo = append(l.todo, lib)
		case !o.optional:
			return err
		}
	}
	return nil
}

// interpreter takes the dynamic linker of a program.
func (l *linker) interpreter(f *elf.File, o object) error {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(p.Open(), wire.MaxPath))
		if err != nil {
			return wire.Errorf(wire.CauseInvalid, "install it again", "reading program %s: %v", o.path, err)
		}
		name := strings.TrimRight(string(text), "\x00")
		file, _, err := l.host.add(name)
		if err != nil {
			return wire.Errorf(wire.CauseInvalid, "install the C library it was built for",
				"program %s needs the dynamic linker %s, which is not here", o.path, name)
		}
		l.companions(f, path.Dir(file))
	}
	return nil
}

// companions takes what glibc loads by name when a program ends a thread or looks up a user:
// libraries that no DT_NEEDED names. dir is where the dynamic linker, and so the library, is.
func (l *linker) companions(f *elf.File, dir string) {
	for _, name := range []string{"libgcc_s.so.1", "libnss_files.so.2"} {
		for _, d := range []string{dir, "/usr/lib" + strings.TrimPrefix(dir, "/lib")} {
			p := path.Join(d, name)
			if l.fits(f, p) {
				if file, _, err := l.host.add(p); err == nil {
					l.todo = append(l.todo, object{path: p, file: file, optional: true})
				}
				break
			}
		}
	}
}

// library takes the library that f calls name, and returns it to be looked at. If the dynamic
// linker would find it only with ld.so.cache, a link to it is put beside the C library.
func (l *linker) library(f *elf.File, name string, search []string, o object) (object, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = candidates[:0]
		for _, dir := range slices.Concat(search, l.dirs) {
			candidates = append(candidates, path.Join(dir, name))
		}
	}
	for i, p := range candidates {
		if !path.IsAbs(p) || !l.fits(f, p) {
			continue
		}
		file, _, err := l.host.add(p)
		if err != nil {
			return object{}, err
		}
		lib := object{path: p, file: file}
		cached := i >= len(search) && !strings.Contains(name, "/")
		if dir := path.Dir(p); (cached || o.linked) && !l.system(dir) {
			lib.linked = true
			if err := l.host.layout.put(path.Join(l.systemDir(), name), &node{kind: wire.Symlink, target: p}); err != nil {
				return object{}, err
			}
		}
		return lib, nil
	}
	return object{}, wire.Errorf(wire.CauseInvalid, "install the package that has it, or give a root",
		"%s needs the library %s, which is not here", o.path, name)
}

// fits reports whether p is a library that f can be linked with: of its class and machine.
func (l *linker) fits(f *elf.File, p string) bool {
	h, known := l.heads[p]
	if !known {
		h = l.head(p)
		l.heads[p] = h
	}
	return h == head{f.Class, f.Machine, elf.ET_DYN}
}

func (l *linker) head(p string) head {
	if fi, err := l.host.stat(p); err != nil || !fi.Mode().IsRegular() {
		return head{}
	}
	lib, err := elf.Open(l.host.prefix + p)
	if err != nil {
		return head{}
	}
	defer lib.Close()
	return head{lib.Class, lib.Machine, lib.Type}
}

// system reports whether the dynamic linker searches dir by itself.
func (l *linker) system(dir string) bool {
	real, _, err := l.host.layout.find(dir, true)
	return err == nil && real != "/usr/local/lib" && (slices.Contains(defaultDirs, real) || real == l.systemDir())
}

// systemDir returns the directory of the root that the C library is in, as far as is known.
func (l *linker) systemDir() string {
	for _, dir := range defaultDirs {
		for _, libc := range []string{"libc.so.6", "libc.so"} {
			if p, n, err := l.host.layout.find(path.Join(dir, libc), false); err == nil && n != nil {
				return path.Dir(p)
			}
		}
	}
	return "/usr/lib"
}

// searchPath returns the directories of a DT_RPATH or DT_RUNPATH. $ORIGIN is the directory of
// the object as it is called, or, for a program, of the file itself: both are searched.
func searchPath(f *elf.File, tag elf.DynTag, o object) (dirs []string) {
	values, err := f.DynString(tag)
	if err != nil {
		return nil
	}
	for _, value := range values {
		for dir := range strings.SplitSeq(value, ":") {
			for _, lib := range []string{"lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"} {
				for _, origin := range []string{path.Dir(o.path), path.Dir(o.file)} {
					d := replacer(origin, lib).Replace(dir)
					if path.IsAbs(d) && !strings.Contains(d, "$") && !slices.Contains(dirs, path.Clean(d)) {
						dirs = append(dirs, path.Clean(d))
					}
				}
			}
		}
	}
	return dirs
}

func replacer(origin, lib string) *strings.Replacer {
	return strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin, "$LIB", lib, "${LIB}", lib)
}
