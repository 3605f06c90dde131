package scan

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// counted returns a unit whose compiler is a script that notes each of its runs in a file.
func counted(t *testing.T, dir string) (u Unit, runs func() int) {
	t.Helper()
	real := compiler(t, "gcc")
	log := filepath.Join(t.TempDir(), "runs")
	write(t, dir, map[string]string{"bin/cc": "#!/bin/sh\necho >>" + log + "\nexec " + real + " \"$@\"\n"})
	if err := os.Chmod(filepath.Join(dir, "bin/cc"), 0o755); err != nil {
		t.Fatal(err)
	}
	u = unitIn(t, dir)
	u.Compiler = filepath.Join(dir, "bin/cc")
	return u, func() int {
		b, _ := os.ReadFile(log)
		return bytes.Count(b, []byte("\n"))
	}
}

// TestProbesAreKept: the compiler is asked once for each set of flags and each question, in this
// process and later ones, until it changes or what is kept is damaged.
func TestProbesAreKept(t *testing.T) {
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "probes")
	write(t, dir, map[string]string{"main.c": "#define HAS(x) __has_builtin(x)\n#if __has_attribute(noreturn) && !HAS(nope)\n#include \"a.h\"\n#endif\n", "a.h": ""})
	u, runs := counted(t, dir)
	s := New(Options{Dir: kept})
	expect := func(what string, s *Scanner, want int) {
		t.Helper()
		if got := read(t, s, u); got != "a.h main.c" {
			t.Errorf("%s: read %q", what, got)
		}
		if got := runs(); got != want {
			t.Errorf("%s: the compiler has run %d times, want %d", what, got, want)
		}
	}
	expect("the first unit", s, 3) // macros, and each question
	expect("the second unit", s, 3)
	expect("another process", New(Options{Dir: kept}), 3)
	u.Flags = []string{"-O2", "-ffile-prefix-map=/a=/b"}
	expect("other flags", s, 4) // macros and both questions at once
	u.Flags = []string{"-ffile-prefix-map=/a=/c", "-O2"}
	expect("flags that differ in vain", s, 4)

	files, err := filepath.Glob(filepath.Join(kept, "*.probe"))
	if err != nil || len(files) != 2 {
		t.Fatalf("kept %v (%v), want two files", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect("a damaged file", New(Options{Dir: kept}), 7)
	expect("mended", New(Options{Dir: kept}), 7)
	later := time.Now().Add(-time.Hour)
	if err := os.Chtimes(u.Compiler, later, later); err != nil {
		t.Fatal(err)
	}
	expect("another compiler", s, 8)
	expect("another compiler in another process", New(Options{Dir: kept}), 8)
}

func TestStoreIsBounded(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for i := range maxStored + 5 {
		name := filepath.Join(dir, string(rune('a'+i%26))+time.Duration(i).String())
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	s := store{dir}
	p := &probe{key: "k"}
	if err := s.save(p); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != maxStored {
		t.Errorf("kept %d files (%v), want %d", len(entries), err, maxStored)
	}
	if _, err := os.Stat(s.path("k")); err != nil {
		t.Errorf("the newest is gone: %v", err)
	}
}

// TestScanEnds: a context that ended ends a scan.
func TestScanEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	u := unitIn(t, t.TempDir())
	write(t, u.Dir, map[string]string{"main.c": ""})
	if _, err := New(Options{}).Scan(ctx, u); err != context.Canceled {
		t.Errorf("Scan after the end: %v, want %v", err, context.Canceled)
	}
}
