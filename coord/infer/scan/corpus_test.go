package scan

import (
	"context"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeDeps returns what the compiler's own -M lists, folded as a Result's paths are, without the
// unit's target; ok is false if the unit does not compile.
func makeDeps(t testing.TB, u Unit, more ...string) (files map[string]bool, ok bool) {
	t.Helper()
	args := slices.Concat(u.Flags, more, []string{"-M", "-x", u.Language, u.Source})
	for _, m := range u.Macros {
		args = append(args, map[bool]string{false: "-D", true: "-U"}[m.Undefine]+m.Text)
	}
	for flag, list := range map[string][]string{"-iquote": u.Quote, "-I": u.Include, "-isystem": u.System, "-idirafter": u.After, "-imacros": u.Imacros, "-include": u.Forced} {
		for _, d := range list {
			args = append(args, flag, d)
		}
	}
	c := exec.Command(u.Compiler, args...)
	c.Dir, c.Env = u.Dir, u.Env
	out, err := c.Output()
	if err != nil {
		return nil, false
	}
	_, list, _ := strings.Cut(string(out), ":")
	files = map[string]bool{}
	for _, f := range strings.Fields(strings.ReplaceAll(list, "\\\n", " ")) {
		if !filepath.IsAbs(f) {
			f = u.Dir + "/" + f
		}
		files[physical(t, f)] = true
	}
	return files, true
}

// physical is a path without "..", the directories before which are resolved.
func physical(t testing.TB, path string) string {
	t.Helper()
	if i := strings.LastIndex(path, "/../"); i >= 0 {
		dir, err := filepath.EvalSymlinks(path[:i+3])
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Clean(dir + path[i+3:])
	}
	return filepath.Clean(path)
}

// compare scans a unit and reports how the files differ from the compiler's list.
func compare(t testing.TB, s *Scanner, u Unit) (why string, refused bool) {
	t.Helper()
	r, err := s.Scan(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	want, ok := makeDeps(t, u)
	if !ok {
		return "", true
	}
	if r.Refused != "" {
		return r.Refused, true
	}
	for _, f := range r.Files {
		if !want[f] {
			why += " extra " + f
		}
		delete(want, f)
	}
	for _, f := range slices.Sorted(maps.Keys(want)) {
		why += " missing " + f
	}
	return why, false
}

// TestHeaders compares units of one public header each with what the compiler lists.
func TestHeaders(t *testing.T) {
	dir := t.TempDir()
	s := New(Options{})
	compared := 0
	for _, header := range strings.Fields("stdio.h unistd.h sys/socket.h pthread.h math.h linux/if.h") {
		write(t, dir, map[string]string{"main.c": "#include <" + header + ">\n"})
		why, refused := compare(t, s, unitIn(t, dir))
		if why != "" {
			t.Errorf("%s: %s", header, why)
		}
		if !refused {
			compared++
		}
	}
	if compared == 0 {
		t.Skip("no headers of the C library here")
	}
}
