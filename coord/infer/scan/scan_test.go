package scan

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// compiler returns the path of a compiler, or skips the test.
func compiler(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s on this machine", name)
	}
	return path
}

// write makes files below dir.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// unitIn returns a unit for main.c in dir.
func unitIn(t testing.TB, dir string) Unit {
	t.Helper()
	return Unit{Dir: dir, Source: "main.c", Language: "c", Compiler: compiler(t, "gcc"), Env: []string{"PATH=" + os.Getenv("PATH")}}
}

// read scans a unit and returns the files below its directory, or why it is refused.
func read(t testing.TB, s *Scanner, u Unit) string {
	t.Helper()
	r, err := s.Scan(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	if r.Refused != "" {
		return "refused: " + r.Refused
	}
	return below(u.Dir, r.Files)
}

// below returns the paths that lie in dir, sorted and relative to it.
func below(dir string, paths []string) string {
	var in []string
	for _, f := range paths {
		if rel, err := filepath.Rel(dir, f); err == nil && !strings.HasPrefix(rel, "..") {
			in = append(in, rel)
		}
	}
	slices.Sort(in)
	return strings.Join(in, " ")
}

// TestShadow: a header that appears in an earlier directory is found at once.
func TestShadow(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"b/x.h": "#define F(a) <a.h>\n#include F(y)\n", "b/y.h": "",
		"main.c": "#include <x.h>\n#ifdef Z\n#include \"z.h\"\n#endif\n",
	})
	s := New(Options{})
	u := unitIn(t, dir)
	u.Include = []string{"a", "b"}
	for _, step := range []struct{ file, text, want string }{
		{"b/y.h", "", "b/x.h b/y.h main.c"},
		{"a/y.h", "", "a/y.h b/x.h main.c"}, // the directory a was not there before
		{"a/x.h", "#define Z\n", "refused: not found: z.h"},
		{"z.h", "", "a/x.h main.c z.h"},
		{"a/x.h", "int i;\n", "a/x.h main.c"},
	} {
		write(t, dir, map[string]string{step.file: step.text})
		if got := read(t, s, u); got != step.want {
			t.Errorf("after %s: read %q, want %q", step.file, got, step.want)
		}
	}
}
