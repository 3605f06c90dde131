package infer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestUnwrapped: a call of ccache is one of the compiler, by whatever name that is called.
func TestUnwrapped(t *testing.T) {
	top := t.TempDir()
	shims, bin := filepath.Join(top, "shims"), filepath.Join(top, "bin")
	for _, dir := range []string{shims, bin} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{filepath.Join(top, ShimName), filepath.Join(bin, "gcc"), filepath.Join(bin, "ccache")} {
		if err := os.WriteFile(p, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"gcc", "clang"} {
		if err := os.Symlink(filepath.Join(top, ShimName), filepath.Join(shims, name)); err != nil {
			t.Fatal(err)
		}
	}
	gcc, words := filepath.Join(bin, "gcc"), []string{"-c", "a.c"}
	for _, c := range []struct {
		name, tool, first, want string
	}{
		{"by its name", "ccache", "gcc", gcc},
		{"by its path", "ccache", gcc, gcc},
		{"by a relative path", "ccache", "bin/gcc", gcc},
		{"by the stand-in's path", "ccache", filepath.Join(shims, "gcc"), gcc},
		{"one that is not there", "ccache", "clang", ""},
		{"a question", "ccache", "-s", ""},
		{"another program", "ccache", "echo", ""},
		{"another tool", "gcc", "gcc", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, rest, ok := Unwrapped(filepath.Join(bin, c.tool), append([]string{c.first}, words...), top, shims+":"+bin)
			if ok != (c.want != "") || ok && (got != c.want || !slices.Equal(rest, words)) {
				t.Errorf("Unwrapped(%s %s) = %q, %q, %v, want %q", c.tool, c.first, got, rest, ok, c.want)
			}
		})
	}
	if _, _, ok := Unwrapped(filepath.Join(bin, "ccache"), nil, top, bin); ok {
		t.Error("ccache without words is a call of a compiler")
	}
}
