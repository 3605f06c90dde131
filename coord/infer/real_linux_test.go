package infer

import (
	"bytes"
	"encoding/binary"
	goflag "flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"gaggle/coord/infer/scan"
)

// A world is a directory with sources, objects and libraries in which real tools run.
type world struct {
	dir   string
	files map[string][]byte // by path relative to dir
	links map[string]string // likewise
}

// newWorld makes the files of an archive and runs the commands in its comment.
func newWorld(t *testing.T, archive string) *world {
	t.Helper()
	dir := t.TempDir()
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir, files: map[string][]byte{}}
	for _, f := range a.Files {
		w.files[f.Name] = f.Data
	}
	w.lay(t, dir)
	for line := range strings.Lines(string(a.Comment)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	w.files = contents(t, dir)
	w.links = map[string]string{"link.o": "blob.bin"}
	return w
}

// lay writes the files of the world into a directory.
func (w *world) lay(t *testing.T, dir string) {
	t.Helper()
	for name, data := range w.files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if bytes.HasPrefix(data, []byte(elfMagic)) {
			mode = 0o755
		}
		if err := os.WriteFile(p, data, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, longAgo, longAgo); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range w.links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// contents reads all files below a directory.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		all[rel] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A fact is what a real call did in its directory.
type fact struct {
	read, wrote map[string]bool // relative to the directory
	stdout      bool
	err         error
	stderr      string
}

// run lets the real tool do a call and watches which files of the world are opened.
func (w *world) run(t *testing.T, dir string, tool string, argv, env []string) fact {
	t.Helper()
	eyes := watch(t, dir)
	cmd := exec.Command(tool, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C", "PWD="+dir), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	f := fact{read: map[string]bool{}, wrote: map[string]bool{}}
	f.err = cmd.Run()
	f.stdout, f.stderr = stdout.Len() > 0, stderr.String()
	for name := range eyes() {
		if _, before := w.files[name]; before {
			f.read[name] = true
		}
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, dir+"/")
		if _, before := w.files[name]; !before || !i.ModTime().Equal(longAgo) {
			f.wrote[name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// longAgo is the time of files before a call.
var longAgo = time.Unix(1e9, 0)

// watch looks at a directory and those in it by inotify. What it returns tells which files were
// opened until then, and ends it.
func watch(t *testing.T, dir string) func() map[string]bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Skipf("no inotify here: %v", err)
	}
	dirs := map[int]string{}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		wd, err := unix.InotifyAddWatch(fd, p, unix.IN_OPEN)
		dirs[wd] = p
		return err
	})
	if err != nil {
		t.Fatalf("watching: %v", err)
	}
	return func() map[string]bool {
		defer unix.Close(fd)
		all := map[string]bool{}
		buf := make([]byte, 1<<16)
		for {
			n, err := unix.Read(fd, buf)
			if err != nil || n <= 0 {
				return all
			}
			for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
				wd := int(int32(binary.NativeEndian.Uint32(b)))
				mask := binary.NativeEndian.Uint32(b[4:])
				size := int(binary.NativeEndian.Uint32(b[12:]))
				name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
				b = b[unix.SizeofInotifyEvent+size:]
				if mask&unix.IN_Q_OVERFLOW != 0 {
					t.Error("inotify lost events")
				}
				if mask&unix.IN_ISDIR == 0 && name != "" {
					rel, err := filepath.Rel(dir, filepath.Join(dirs[wd], name))
					if err != nil {
						t.Fatal(err)
					}
					all[rel] = true
				}
			}
		}
	}
}

func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, x := range tools {
		if _, err := exec.LookPath(x); err != nil {
			t.Skipf("no %s here", x)
		}
	}
}

// relative relates the names of a call to its directory; others are left out.
func relative(dir string, names []string) map[string]bool {
	all := map[string]bool{}
	for _, n := range names {
		p := n
		if !filepath.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real
		}
		if rel, err := filepath.Rel(dir, p); err == nil && !strings.HasPrefix(rel, "..") {
			all[rel] = true
		}
	}
	return all
}

var header = regexp.MustCompile(`\.(h|hpp|inc|imac)$`)

// compare says where a call and what really happened differ.
func compare(dir string, c *Call, f fact, over bool) []string {
	var wrong []string
	var outputs []string
	maybe := map[string]bool{}
	for _, o := range c.Writes {
		outputs = append(outputs, o.Path)
		if o.Maybe || o.InPlace {
			maybe[filepath.Clean(o.Path)] = true
		}
	}
	writes := relative(dir, outputs)
	for n := range writes {
		if !f.wrote[n] && !maybe[n] {
			wrong = append(wrong, "says that it writes "+n)
		}
	}
	for n := range f.wrote {
		if !writes[n] {
			wrong = append(wrong, "does not say that it writes "+n)
		}
	}
	names := slices.Clone(c.Reads)
	for _, u := range c.Units {
		names = append(names, u.Source)
	}
	says := relative(dir, names)
	for n := range f.read {
		if !says[n] && !writes[n] && !(len(c.Units) > 0 && header.MatchString(n)) {
			wrong = append(wrong, "does not say that it reads "+n)
		}
	}
	for n := range says {
		if !f.read[n] && !over {
			wrong = append(wrong, "says that it reads "+n)
		}
	}
	if f.stdout && !c.Prints {
		wrong = append(wrong, "does not say that it prints")
	}
	slices.Sort(wrong)
	return wrong
}

var everyCall = goflag.Bool("everycall", false, "run all of testdata/calls.txt, not one in eight")

// replay asks the compiler for the headers of a unit, knowing nothing but the unit.
func replay(t *testing.T, dir string, u scan.Unit) map[string]bool {
	t.Helper()
	args := append([]string{"-M"}, u.Flags...)
	for _, m := range u.Macros {
		if m.Undefine {
			args = append(args, "-U"+m.Text)
		} else {
			args = append(args, "-D"+m.Text)
		}
	}
	for flag, names := range map[string][]string{"-iquote": u.Quote, "-I": u.Include, "-isystem": u.System, "-idirafter": u.After, "-imacros": u.Imacros, "-include": u.Forced} {
		for _, n := range names {
			args = append(args, flag, n)
		}
	}
	cmd := exec.Command(u.Compiler, append(args, "-x", u.Language, u.Source)...)
	cmd.Dir, cmd.Env = u.Dir, append(slices.Clone(u.Env), "PATH="+os.Getenv("PATH"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	_, deps, _ := strings.Cut(strings.ReplaceAll(string(out), "\\\n", " "), ":")
	all := relative(dir, strings.Fields(deps))
	for n := range all {
		if !header.MatchString(n) {
			delete(all, n)
		}
	}
	return all
}

// TestModelsAgreeWithTools runs each line of testdata/calls.txt and compares what the tool read
// and wrote with what its model says. The form of a line is in the file.
func TestModelsAgreeWithTools(t *testing.T) {
	needTools(t, "gcc", "g++", "clang", "ar", "ld")
	w := newWorld(t, "testdata/world.txtar")
	text, err := os.ReadFile("testdata/calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	n, modelled := 0, 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		call, reason, local := strings.Cut(line, " => ")
		if !local {
			if modelled++; modelled%8 != 0 && !*everyCall {
				continue
			}
		}
		over := strings.HasPrefix(call, "over ")
		words := strings.Fields(strings.TrimPrefix(call, "over "))
		var env []string
		for strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "-") {
			env, words = append(env, words[0]), words[1:]
		}
		t.Run(fmt.Sprintf("%d %s", n, strings.ReplaceAll(call, "/", "_")), func(t *testing.T) {
			tool, err := exec.LookPath(words[0])
			if err != nil {
				t.Skipf("no %s here", words[0])
			}
			if !local {
				t.Parallel()
			}
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatal(err)
			}
			w.lay(t, dir)
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "$PWD", dir)
			}
			for i := range env {
				env[i] = strings.ReplaceAll(env[i], "$PWD", dir)
			}
			c := Model(tool, words, dir, env, Disk{})
			switch {
			case local && c.Local == "":
				t.Fatalf("is modelled, want local: %s", reason)
			case local && !strings.Contains(c.Local, reason):
				t.Fatalf("is local: %s, want: %s", c.Local, reason)
			case local:
				return
			case c.Local != "":
				t.Fatalf("is local: %s", c.Local)
			}
			f := w.run(t, dir, tool, words, env)
			if f.err != nil {
				t.Fatalf("the real tool fails: %v\n%s", f.err, f.stderr)
			}
			if wrong := compare(dir, c, f, over); len(wrong) > 0 {
				t.Errorf("the model\n\t%s", strings.Join(wrong, "\n\t"))
			}
			headers := map[string]bool{}
			for _, u := range c.Units {
				maps.Copy(headers, replay(t, dir, u))
			}
			for n := range f.read {
				if header.MatchString(n) && !headers[n] && len(c.Units) > 0 && !relative(dir, c.Reads)[n] {
					t.Errorf("by its units it does not read %s", n)
				}
				delete(headers, n)
			}
			if len(headers) > 0 {
				t.Errorf("by its units it reads %v as well", headers)
			}
		})
	}
}
