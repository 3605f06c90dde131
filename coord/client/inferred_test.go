package client

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// library is of a build that makes two objects, an archive of them, puts an index in, and a program of
// one object, which it renames.
func library() *Inferred {
	files := func(names ...string) (made []InferredFile) {
		for _, n := range names {
			made = append(made, InferredFile{Path: n})
		}
		return made
	}
	call := func(makes []InferredFile, needs ...int) InferredCall {
		c := InferredCall{Tool: "/usr/bin/cc", Dir: "/b", Makes: makes}
		for _, n := range needs {
			c.Needs = append(c.Needs, InferredNeed{n, "/b/" + strings.Repeat("x", n)})
		}
		return c
	}
	return &Inferred{Version: inferredVersion, Dir: "/b", Envs: [][]string{{"A=b"}}, Calls: []InferredCall{
		call(files("/b/a.o")), call(files("/b/b.o", "/b/b.d")), call(files("/b/l.a"), 0, 1), call(files("/b/l.a"), 2),
		call([]InferredFile{{Path: "/b/new", Name: "/b/prog"}, {Path: "/b/tmp", Gone: true}}, 0),
	}}
}

func TestMakers(t *testing.T) {
	for file, want := range map[string][]int{
		"/b/a.o": {0}, "/b/b.d": {1}, "/b/l.a": {0, 1, 2, 3}, "/b/prog": {0, 4}, "/b/new": nil, "/b/tmp": nil, "/b/other": nil, "": {0, 1, 2, 3, 4},
	} {
		if got := library().Makers(file); !slices.Equal(got, want) {
			t.Errorf("%q is made by %v, want %v", file, got, want)
		}
	}
}

// What was made already is made again only for something that needs it.
func TestMadeCallsAreMadeAgain(t *testing.T) {
	in := library()
	in.Calls[0].Made, in.Calls[1].Made = true, true
	in.Calls = append(in.Calls, InferredCall{Made: true})
	if got := in.Makers(""); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("all that is left takes %v", got)
	}
}

// A file that a later call makes anew is not gone, though the first one's is.
func TestReplacedIsNotGone(t *testing.T) {
	in := library()
	in.Calls[2].Makes[0].Gone = true
	in.replaced()
	if in.Calls[2].Makes[0].Gone || !in.Calls[4].Makes[1].Gone {
		t.Errorf("gone: %v, %v", in.Calls[2].Makes, in.Calls[4].Makes)
	}
}

func TestInferredIsKept(t *testing.T) {
	d := stateDir(t.TempDir())
	for i := range keptInferred + 3 {
		in := library()
		in.Dir = filepath.Join("/b", strings.Repeat("x", i))
		if err := in.save(d); err != nil {
			t.Fatal(err)
		}
		for j, path := range inferredFiles(d) { // they may have been written in one tick of the clock
			old := time.Now().Add(-time.Duration(j) * time.Minute)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := AllInferred(string(d))
	if len(all) != keptInferred {
		t.Fatalf("%d are kept, want %d", len(all), keptInferred)
	}
	if got := all[0].Makers("/b/prog"); !slices.Equal(got, []int{0, 4}) {
		t.Errorf("read again: %v", got)
	}
}

func TestReadInferredRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nothing":          ``,
		"another version":  `{"version":2}`,
		"no environment":   `{"version":1,"calls":[{"tool":"/cc","dir":"/"}]}`,
		"a relative tool":  `{"version":1,"environments":[[]],"calls":[{"tool":"cc","dir":"/"}]}`,
		"a later call":     `{"version":1,"environments":[[]],"calls":[{"tool":"/cc","dir":"/","needs":[{"call":0,"path":"/a"}]}]}`,
		"a relative file":  `{"version":1,"environments":[[]],"calls":[{"tool":"/cc","dir":"/","makes":[{"path":"a.o"}]}]}`,
		"before the first": `{"version":1,"environments":[[]],"calls":[{"tool":"/cc","dir":"/","needs":[{"call":-1,"path":"/a"}]}]}`,
	} {
		path := filepath.Join(dir, "calls.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if in, err := ReadInferred(path); err == nil {
			t.Errorf("%s: read as %+v", name, in)
		}
	}
}
