//go:build linux

// Package main stands for a compiler, assembler, archiver or linker in a build, and has each call done
// twice, by the tool itself and through coord cc: every file that either wrote, its permissions, what was
// printed and the exit code are compared, and the build goes on with what coord cc made.
//
//	agree DIR MASQUERADE    makes DIR/tools, which goes first on PATH: links to this program, named as
//	                        those in MASQUERADE (coord cc --print-dir), which are asked
//
// Called by such a name it does the call, if GAGGLE_AGREE is DIR; compilers are given the words of
// GAGGLE_AGREE_ADD, too. What became of it is a line of JSON in DIR/log, see entry; scripts/agree sums
// those up. Calls are made one at a time. Files are looked for in the working directory and in those of
// all words of a call. When there is a difference the tool is called once more, to see whether it makes
// the same each time.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	name := filepath.Base(os.Args[0])
	var err error
	code := 0
	switch dir := os.Getenv("GAGGLE_AGREE"); {
	case name == "agree" && len(os.Args) == 3:
		err = link(os.Args[1], os.Args[2])
	case name == "agree" || dir == "":
		err = fmt.Errorf("usage: agree DIR MASQUERADE")
	default:
		code, err = twice(dir, name, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agree:", err)
		code = 2
	}
	os.Exit(code)
}

// link makes the links.
func link(dir, masquerade string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "tools"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(masquerade, filepath.Join(dir, "masquerade")); err != nil {
		return err
	}
	names, err := os.ReadDir(masquerade)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".") {
			continue
		}
		if err := os.Symlink(self, filepath.Join(dir, "tools", n.Name())); err != nil {
			return err
		}
	}
	return nil
}

// An entry is a line of the log.
type entry struct {
	Call   []string `json:"call"`
	In     string   `json:"in"`
	Files  int      `json:"files"`  // that the tool wrote
	Bytes  int64    `json:"bytes"`  // in them
	Failed bool     `json:"failed"` // by the tool itself
	How    []string `json:"how"`    // the two differ
	Itself bool     `json:"itself"` // the tool differs from itself, too
}

// inPlace are tools that change files which are there.
var inPlace = regexp.MustCompile(`(^|-)(ar|ranlib|strip|objcopy)(-[0-9.]+)?$`)

// twice has a call done twice, and returns the exit code of the second time.
func twice(dir, name string, args []string) (code int, err error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	tools := filepath.Join(dir, "tools")
	c := &call{work: filepath.Join(dir, "call"), args: slices.Clone(args), places: places(args), path: without(os.Getenv("PATH"), tools)}
	for i, a := range c.args { // what ccache is to call: it would wait for us, and we for it
		if name, ok := strings.CutPrefix(a, tools+"/"); ok {
			c.args[i] = lookFor(name, c.path)
		}
	}
	if slices.Contains(args, "-c") && !inPlace.MatchString(name) {
		c.args = append(c.args, strings.Fields(os.Getenv("GAGGLE_AGREE_ADD"))...)
	}
	if slices.Contains(args, "-") || slices.Contains(args, "-M") && inPlace.MatchString(name) {
		if c.stdin, err = io.ReadAll(os.Stdin); err != nil {
			return 0, err
		}
	}
	if err := unix.Flock(int(log.Fd()), unix.LOCK_EX); err != nil {
		return 0, err
	}
	if err := c.keep(name); err != nil {
		return 0, err
	}
	tool, masquerade := lookFor(name, c.path), filepath.Join(dir, "masquerade")
	real, err := c.run(tool, name, c.path, "real")
	if err != nil {
		return 0, err
	}
	ours, err := c.run(filepath.Join(masquerade, name), name, masquerade+string(filepath.ListSeparator)+c.path, "ours")
	if err != nil {
		return 0, err
	}
	e := entry{Call: append([]string{name}, c.args...), Files: len(real.wrote), Failed: real.code != 0}
	e.In, _ = os.Getwd() // it is for people
	for _, f := range real.wrote {
		e.Bytes += f.size
	}
	if e.How, err = ours.differs(real); err != nil {
		return 0, err
	}
	if len(e.How) > 0 {
		again, err := c.run(tool, name, c.path, "again")
		if err != nil {
			return 0, err
		}
		how, err := again.differs(real)
		if err != nil {
			return 0, err
		}
		e.Itself = len(how) > 0
	}
	line, err := json.Marshal(&e)
	if err == nil {
		_, err = log.Write(append(line, '\n'))
	}
	if err == nil {
		err = ours.deliver()
	}
	return ours.code, err
}

// without takes a directory off a search path.
func without(path, dir string) string {
	dirs := slices.DeleteFunc(filepath.SplitList(path), func(d string) bool { return d == dir })
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// lookFor finds a program along a search path.
func lookFor(name, path string) string {
	for _, d := range filepath.SplitList(path) {
		file := filepath.Join(d, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return name // which says that it is not there
}

// places are the directories that a call may write to, without links.
func places(args []string) (dirs []string) {
	words := slices.Clone(args)
	for _, a := range args {
		if strings.HasPrefix(a, "@") {
			text, _ := os.ReadFile(a[1:]) // or it is no file of words
			words = append(words, strings.Fields(string(text))...)
		}
	}
	add := func(d string) {
		real, err := filepath.EvalSymlinks(d)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		system := strings.HasPrefix(real, "/usr/") || strings.HasPrefix(real, "/dev") || strings.HasPrefix(real, "/proc") || strings.HasPrefix(real, "/lib")
		if err == nil && !system && !slices.Contains(dirs, real) {
			dirs = append(dirs, real)
		}
	}
	add(".")
	for _, w := range words {
		for _, piece := range strings.FieldsFunc(w, func(r rune) bool { return r == ',' || r == '=' }) {
			if !strings.Contains(piece, "/") {
				continue
			}
			add(filepath.Dir(piece))
			if len(piece) > 2 && piece[0] == '-' { // -I, -o, -L with the name in one word
				add(filepath.Dir(piece[2:]))
			}
		}
	}
	return dirs
}

// A call is done more than once, each time with the same files.
type call struct {
	work   string // a directory of its own
	args   []string
	path   string // $PATH of the tool
	stdin  []byte // nil is none
	places []string
	kept   map[string]string // files that may be changed in place, and copies of them
}

// keep makes the call's directory, and copies what it may change in place.
func (c *call) keep(name string) error {
	if err := os.RemoveAll(c.work); err != nil {
		return err
	}
	if err := os.Mkdir(c.work, 0o755); err != nil {
		return err
	}
	c.kept = map[string]string{}
	if !inPlace.MatchString(name) {
		return nil
	}
	for i, a := range c.args {
		if info, err := os.Stat(a); err != nil || !info.Mode().IsRegular() {
			continue
		}
		c.kept[a] = filepath.Join(c.work, fmt.Sprint("kept", i))
		if err := copyFile(a, c.kept[a]); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies contents, permissions and time.
func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		return err
	}
	if err := os.Chmod(to, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// A mark tells a file apart from others of its name.
type mark struct {
	inode         uint64
	size, changed int64
}

// seen are the files in directories.
func seen(dirs []string) (map[string]mark, error) {
	files := map[string]mark{}
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			var s unix.Stat_t
			file := filepath.Join(d, e.Name())
			if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".ninja") || unix.Lstat(file, &s) != nil {
				continue
			}
			files[file] = mark{s.Ino, s.Size, s.Ctim.Nano()}
		}
	}
	return files, nil
}

// A done is what a call has printed, and the files that it wrote, put aside, or removed.
type done struct {
	code     int
	out, err bytes.Buffer
	wrote    []file
	removed  []string
}

// A file was written.
type file struct {
	path, aside string
	size        int64
	mode        fs.FileMode
}

// run runs a program and puts aside what it wrote.
func (c *call) run(program, name, path, aside string) (*done, error) {
	before, err := seen(c.places)
	if err != nil {
		return nil, err
	}
	d := new(done)
	cmd := exec.Command(program, c.args...)
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), "PATH="+path)
	cmd.Stdout, cmd.Stderr = &d.out, &d.err
	if c.stdin != nil {
		cmd.Stdin = bytes.NewReader(c.stdin)
	}
	if err := cmd.Run(); cmd.ProcessState == nil {
		return nil, err
	}
	if d.code = cmd.ProcessState.ExitCode(); d.code < 0 {
		d.code = 1 // by a signal
	}
	after, err := seen(c.places)
	if err != nil {
		return nil, err
	}
	for path, m := range after {
		if before[path] == m {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		d.wrote = append(d.wrote, file{path: path, size: info.Size(), mode: info.Mode()})
	}
	for path := range before {
		if _, ok := after[path]; !ok && c.names(path) { // ninja removes files of other calls
			d.removed = append(d.removed, path)
		}
	}
	slices.SortFunc(d.wrote, func(a, b file) int { return strings.Compare(a.path, b.path) })
	slices.Sort(d.removed)
	for i := range d.wrote {
		f := &d.wrote[i]
		f.aside = filepath.Join(c.work, fmt.Sprint(aside, i))
		if err := copyFile(f.path, f.aside); err != nil {
			return nil, err
		}
		if err := os.Remove(f.path); err != nil {
			return nil, err
		}
	}
	for path, copied := range c.kept {
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if err := copyFile(copied, path); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// names reports whether a file is one of a call's words.
func (c *call) names(path string) bool {
	return slices.ContainsFunc(c.args, func(a string) bool {
		abs, err := filepath.Abs(a)
		return err == nil && abs == path
	})
}

// temporary are names of gcc's own files, in messages, and its own name, which is always its path under
// coord cc.
var temporary = regexp.MustCompile(`/tmp/cc\w{6}|COLLECT_GCC=\S*`)

// differs says how a call differs from another time.
func (d *done) differs(other *done) (how []string, err error) {
	if d.code != other.code {
		how = append(how, fmt.Sprintf("exit code %d, %d", d.code, other.code))
	}
	for i, b := range [][2]*bytes.Buffer{{&d.out, &other.out}, {&d.err, &other.err}} {
		a, o := temporary.ReplaceAll(b[0].Bytes(), nil), temporary.ReplaceAll(b[1].Bytes(), nil)
		if !bytes.Equal(a, o) {
			how = append(how, fmt.Sprintf("stream %d: %.300q, %.300q", i+1, a, o))
		}
	}
	names := func(d *done) (all []string) {
		for _, f := range d.wrote {
			all = append(all, f.path)
		}
		return append(all, d.removed...)
	}
	if a, o := names(d), names(other); !slices.Equal(a, o) {
		return append(how, fmt.Sprintf("files %q, %q", a, o)), nil
	}
	for i, f := range d.wrote {
		o := other.wrote[i]
		a, err := os.ReadFile(f.aside)
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(o.aside)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(a, b) {
			at := 0
			for at < min(len(a), len(b)) && a[at] == b[at] {
				at++
			}
			how = append(how, fmt.Sprintf("%s: %d and %d bytes, from byte %d on", f.path, len(a), len(b), at))
		}
		if f.mode != o.mode {
			how = append(how, fmt.Sprintf("%s: %v, %v", f.path, f.mode, o.mode))
		}
	}
	return how, nil
}

// deliver puts what the call made where it belongs, and prints what it has printed.
func (d *done) deliver() error {
	for _, path := range d.removed {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	for _, f := range d.wrote {
		if err := copyFile(f.aside, f.path); err != nil {
			return err
		}
	}
	_, err := os.Stdout.Write(d.out.Bytes())
	if err == nil {
		_, err = os.Stderr.Write(d.err.Bytes())
	}
	return err
}
