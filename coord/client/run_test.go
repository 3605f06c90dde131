package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gaggle/coord/graph"
	"gaggle/wire"
)

func TestSeek(t *testing.T) {
	r := &record{Job: "j1", Local: true}
	for text, want := range map[string]string{
		"cat: x: No such file or directory\n": "coord shell --local 'j1/a[b c]' --trace", "No module named 'x'": "coord shell --local 'j1/a[b c]' --trace",
		"sh: 1: conver: not found": "coord shell --local 'j1/a[b c]' --trace", "segmentation fault": "", "": "",
	} {
		f := &wire.FailedTask{Task: "a[b c]", Failure: wire.Failure{Cause: wire.CauseExit, Exit: 1, Stderr: []byte(text)}}
		if got := r.seek(f); got != want {
			t.Errorf("seek after %q = %q, want %q", text, got, want)
		}
		if f.Failure.Cause = wire.CauseMemory; r.seek(f) != "" {
			t.Errorf("seek after a lack of memory = %q", r.seek(f))
		}
	}
}

func TestRunLine(t *testing.T) {
	for _, c := range []struct {
		name  string
		words []string
		arg   string
		want  string
	}{
		{"whole line", []string{"convert {} {.}.png"}, "img/a.jpg", "convert img/a.jpg img/a.png"},
		{"last element", []string{"cp {} /tmp/{/} && echo {/.}"}, "img/a.tar.gz", "cp img/a.tar.gz /tmp/a.tar.gz && echo a.tar"},
		{"number", []string{"echo {#} {}"}, "x", "echo 1 x"},
		{"nothing to fill", []string{"wc -l"}, "a b", "wc -l 'a b'"},
		{"quoted argument", []string{"wc -l {}"}, "it's", `wc -l 'it'\''s'`},
		{"words", []string{"sed", "s/a b/c/", "{}"}, "x y", "sed 's/a b/c/' 'x y'"},
		{"no extension", []string{"echo {.}"}, "dir.d/name", "echo dir.d/name"},
		{"hidden file", []string{"echo {.}"}, ".profile", "echo .profile"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Run{Words: c.words, Args: []string{c.arg}}
			if got := r.line(0); got != c.want {
				t.Errorf("line(%q, %q) = %q, want %q", c.words, c.arg, got, c.want)
			}
		})
	}
}

// searchPath makes a directory of programs.
func searchPath(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCommandWords(t *testing.T) {
	path := searchPath(t, "sh", "convert", "sort", "find", "xargs", "wc", "env", "grep")
	for _, c := range []struct {
		line         string
		tools, files []string
	}{
		{"convert a.jpg a.png", []string{"convert", "sh"}, []string{"a.jpg", "a.png"}},
		{"sort < in.txt | wc -l", []string{"sort", "wc", "sh"}, []string{"-l", "in.txt"}},
		{"X=1 env Y=2 sort 'a b'", []string{"env", "sort", "sh"}, []string{"Y=2", "a b"}},
		{"find . -name '*.c' | xargs grep -l x", []string{"find", "xargs", "grep", "sh"}, []string{".", "-name", "*.c", "-l", "x"}},
		{"if true; then sort f; fi", []string{"sort", "sh"}, []string{"f"}},
		{`echo "$HOME" $(wc -c g)`, []string{"wc", "sh"}, []string{"-c", "g"}},
		{"./script.sh arg", []string{"sh"}, []string{"./script.sh", "arg"}},
	} {
		t.Run(c.line, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "script.sh"), nil, 0o700); err != nil {
				t.Fatal(err)
			}
			w, err := commandWords(c.line, dir, path)
			if err != nil {
				t.Fatal(err)
			}
			files := slices.DeleteFunc(w.files, func(s string) bool { return s == "echo" || s == "true" })
			if d := cmp.Diff(c.tools, w.tools); d != "" {
				t.Errorf("tools (-want +got):\n%s", d)
			}
			slices.Sort(files)
			slices.Sort(c.files)
			if d := cmp.Diff(c.files, files); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
	if _, err := commandWords("echo 'unfinished", t.TempDir(), path); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("an unfinished quote gives %v, want an invalid command", err)
	}
}

// A program that the line starts in any case is looked for, though it is not there.
func TestMissingPrograms(t *testing.T) {
	path := searchPath(t, "sh", "sort")
	for _, c := range []struct {
		line string
		want []string
	}{
		{"convrt a b", []string{"convrt"}},
		{"sort a | uniqq; (lst)", []string{"uniqq", "lst"}},
		{"nosuch && sort || true", nil},
		{"command -v nosuch && nosuch", nil},
		{"if test -e a; then nosuch; fi", nil},
		{"f() { sort; }; f", nil},
		{"PATH=$PATH:. ; nosuch", nil},
		{"sort a -o x; ./x", nil},
		{"/usr/bin/nosuch", []string{"/usr/bin/nosuch"}},
		{"cd d && sort a; $PROG a; [ -e a ]", nil},
		{". ./lib.sh; build", nil},
		{"export PATH=$PWD/bin:$PATH; mine", nil},
		{"eval 'f() { sort; }'; f", nil},
		{"alias ll=ls; ll", nil},
		{"exit 0; nosuch", nil},
		{"sort a && exit; nosuch", nil},
		{"nosuch; exit", []string{"nosuch"}},
	} {
		w, err := commandWords(c.line, t.TempDir(), path)
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		missing := slices.DeleteFunc(w.tools, func(name string) bool { return lookPath(name, path) != "" })
		if !slices.Equal(missing, c.want) {
			t.Errorf("%s: looks for %q, want %q", c.line, missing, c.want)
		}
	}
	if _, err := commandWords("./nosuch.sh a", t.TempDir(), path); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("a script that is not there gives %v", err)
	}
}

func TestRunGraph(t *testing.T) {
	path := searchPath(t, "sh", "convert")
	dir := t.TempDir()
	for _, f := range []string{"a.jpg", "b.jpg", "conf"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	type task struct {
		Inputs  map[string]any
		Tools   []string
		Run     []string
		Outputs []string
	}
	graphOf := func(t *testing.T, r *Run) (g struct {
		Tasks   map[string]task
		Targets map[string]string
	}) {
		t.Helper()
		b, err := r.graph(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &g); err != nil {
			t.Fatal(err)
		}
		return g
	}
	t.Run("with a template of the output", func(t *testing.T) {
		g := graphOf(t, &Run{Words: []string{"convert -c conf {} {.}.png"}, Args: []string{"a.jpg", "b.jpg"}, Out: "{.}.png"})
		want := task{
			Inputs: map[string]any{"b.jpg": "./b.jpg", "conf": "./conf"}, Tools: []string{"convert", "sh"},
			Run: []string{"sh", "-c", "convert -c conf b.jpg b.png"}, Outputs: []string{"stdout", "b.png"},
		}
		if d := cmp.Diff(want, g.Tasks["2"]); d != "" {
			t.Errorf("second task (-want +got):\n%s", d)
		}
		if got := g.Targets["1/a.png"]; got != "@1/a.png" {
			t.Errorf("target 1/a.png = %q, want @1/a.png; all: %v", got, g.Targets)
		}
	})
	t.Run("bringing back what is new", func(t *testing.T) {
		g := graphOf(t, &Run{Words: []string{"convert {} {.}.png"}, Args: []string{"a.jpg"}})
		got := g.Tasks["1"]
		if !slices.Equal(got.Outputs, []string{"stdout", "work/"}) || got.Inputs["work/a.jpg"] != "./a.jpg" ||
			!strings.HasPrefix(got.Run[2], "cd work\n") {
			t.Errorf("task %+v: want its input and the command in work/", got)
		}
	})
	t.Run("outside the directory", func(t *testing.T) {
		outside := filepath.Join(t.TempDir(), "x.jpg")
		if err := os.WriteFile(outside, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := (&Run{Words: []string{"convert"}, Args: []string{outside}}).graph(dir, path)
		if wire.CauseOf(err) != wire.CauseInvalid {
			t.Errorf("an argument elsewhere gives %v, want it refused", err)
		}
		_, err = (&Run{Words: []string{"convert"}, Args: []string{"a.jpg"}, Out: "../{}"}).graph(dir, path)
		if wire.CauseOf(err) != wire.CauseInvalid {
			t.Errorf("an output elsewhere gives %v, want it refused", err)
		}
	})
	t.Run("together", func(t *testing.T) {
		r := &Run{Words: []string{"convert {}"}, Args: []string{"a.jpg", "b.jpg"}, Out: "{}.png", Gang: 3, Network: true}
		b, err := r.graph(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := graph.Decode(bytes.NewReader(b), "")
		if err != nil {
			t.Fatal(err)
		}
		plan, err := graph.Expand(t.Context(), f, graph.Env{Dir: dir, Files: anyFiles{}, Roots: anyFiles{}})
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Tasks) != 6 || len(plan.Targets) != 12 {
			t.Fatalf("%d tasks and %d targets, want 6 and 12", len(plan.Tasks), len(plan.Targets))
		}
		var paths []string
		for _, x := range plan.Targets {
			paths = append(paths, x.Path)
		}
		if !slices.Contains(paths, "2/b.jpg.png/1") || !slices.Contains(paths, "1/stdout/0") {
			t.Errorf("targets %v", paths)
		}
		x := plan.Tasks[4]
		if g := x.Gang; x.Name != "peer2[1]" || g.Size != 6 || g.Task != "peer2" || g.Index != 1 || g.Count != 3 || !g.Network || peerNumber(x.Name) != "2" {
			t.Errorf("task %s is of the gang %+v", x.Name, g)
		}
		if got := peerNumber("peer[3]"); got != "0" {
			t.Errorf("the task without an argument has number %s", got)
		}
	})
	t.Run("too many together", func(t *testing.T) {
		for _, r := range []Run{{Gang: 1025}, {Gang: 600, Args: []string{"a.jpg", "b.jpg"}}, {Gang: -1}, {Gang: 2, Twice: true}, {Network: true, Verify: 10}} {
			r.Words = []string{"convert"}
			if wire.CauseOf(r.check()) != wire.CauseInvalid {
				t.Errorf("check of %+v = %v, want it refused", r, r.check())
			}
		}
	})
	t.Run("two that write the same file", func(t *testing.T) {
		_, err := (&Run{Words: []string{"convert"}, Args: []string{"a.jpg", "b.jpg"}, Out: "out.png"}).graph(dir, path)
		if wire.CauseOf(err) != wire.CauseInvalid {
			t.Errorf("got %v, want it refused", err)
		}
	})
}

// anyFiles has every file and root.
type anyFiles struct{}

func (anyFiles) Add(_ context.Context, path string) (wire.Object, error) {
	return wire.FileObject(wire.BlobID(wire.Sum([]byte(path))), 1, false), nil
}

func (anyFiles) Put(_ context.Context, data []byte) (wire.Object, error) {
	return wire.FileObject(wire.BlobID(wire.Sum(data)), uint64(len(data)), false), nil
}

func (anyFiles) Find(_ context.Context, o wire.Object) (wire.Object, error) { return o, nil }

func (anyFiles) Root(_ context.Context, s graph.RootSpec) (wire.Object, error) {
	return wire.DirObject(wire.TreeID(wire.Sum(fmt.Append(nil, s))), 1), nil
}

// One task of a gang is nothing without the others.
func TestOnlyAMemberOfAGang(t *testing.T) {
	const text = `{"gaggle":1,"tasks":{
 "in":{"run":["true"],"outputs":["stdout"]},
 "more":{"run":["true","more"],"outputs":["stdout"]},
 "db":{"gang":"g","network":"overlay","service":true,"run":["db"],"inputs":["@in/stdout"]},
 "load":{"gang":"g","network":"overlay","count":2,"run":["load"],"outputs":["stdout"]}},
 "targets":{"l/":"@load/stdout","m":"@more/stdout"}}`
	plan := func() *graph.Plan {
		f, err := graph.Decode(strings.NewReader(text), "g.json")
		if err != nil {
			t.Fatal(err)
		}
		p, err := graph.Expand(t.Context(), f, graph.Env{Dir: t.TempDir(), Files: anyFiles{}, Roots: anyFiles{}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := plan()
	if err := keepOnly(p, "load[1]"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range p.Tasks {
		names = append(names, x.Name)
	}
	if want := []string{"in", "db", "load[0]", "load[1]"}; !slices.Equal(names, want) || len(p.Targets) != 1 || p.Targets[0].Path != "load[1]/stdout" {
		t.Errorf("keeps %v with targets %v, want %v", names, p.Targets, want)
	}
	p = plan()
	if err := keepOnly(p, "db"); err != nil || len(p.Tasks) != 4 || len(p.Targets) != 2 || p.Targets[1].Path != "load[1]/stdout" {
		t.Errorf("a service is kept with %d tasks and targets %v, %v, want those of its gang", len(p.Tasks), p.Targets, err)
	}
}

func TestAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		rec  record
		task string
		want string
	}{
		{"graph", record{Dir: "/w", Graph: "g.yaml", Params: map[string]string{"b": "x y", "a": "1"}}, "count[a.go]",
			"cd /w && coord submit g.yaml -p a=1 -p 'b=x y' --only 'count[a.go]'"},
		{"standard input", record{Dir: "/w", Copy: "/s/jobs/j1.graph"}, "t", "cd /w && coord submit --dir /w /s/jobs/j1.graph --only t"},
		{"other places", record{Dir: "/w", Graph: "g.yaml", GraphDir: "/src", Out: "/w/out"}, "t",
			"cd /w && coord submit --dir /src g.yaml --out out --only t"},
		{"mesh", record{Dir: "/w", Out: "/w", Graph: "g.yaml", Mesh: "lab"}, "t", "cd /w && coord submit --mesh lab g.yaml --only t"},
		{"policies", record{Dir: "/w", Out: "/w", Graph: "g.yaml", Verify: 10, Trust: 2}, "t", "cd /w && coord submit --verify 10% --trust 2 g.yaml --only t"},
		{"run together", record{Dir: "/w", Run: &Run{Words: []string{"nc {}"}, Args: []string{"a", "b c"}, Gang: 2, Network: true}}, "peer2[1]",
			"cd /w && coord run --gang 2 --network 'nc {}' ::: a 'b c'"},
		{"run", record{Dir: "/w", Run: &Run{Words: []string{"wc -l {}"}, Args: []string{"a", "b c"}, Out: "{}.n"}}, "wc[b c]",
			"cd /w && coord run --out '{}.n' 'wc -l {}' ::: 'b c'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.rec.again(c.task); got != c.want {
				t.Errorf("again(%q) = %q, want %q", c.task, got, c.want)
			}
		})
	}
}

// FuzzQuote checks that whatever is put into a command line is one word there, and the same.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"a", "", "it's", "a b", "$(x) `y` \\ \"z\"", "-n", "\n", "{}", "~", "é#!"} {
		f.Add(s)
	}
	path := f.TempDir()
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || strings.ContainsAny(s, "\x00\r") || !utf8.ValidString(s) {
			t.Skip("no argument of a command, or none that the shell's parser keeps as it is")
		}
		r := &Run{Words: []string{"cat {} > x"}, Args: []string{s}}
		w, err := commandWords(r.line(0), t.TempDir(), path)
		if err != nil {
			t.Fatalf("line %q: %v", r.line(0), err)
		}
		if len(w.files) != 2 || w.files[1] != s {
			t.Errorf("line %q has the words %q, want cat and %q", r.line(0), w.files, s)
		}
	})
}

func TestInterpreter(t *testing.T) {
	for text, want := range map[string]string{
		"#!/bin/sh\necho":                       "/bin/sh",
		"#! /usr/bin/awk -f\n":                  "/usr/bin/awk",
		"#!/usr/bin/env python3\n":              "/usr/bin/env python3",
		"#!/usr/bin/env -S LANG=C bash -e\n":    "/usr/bin/env bash",
		"#!/usr/bin/env":                        "/usr/bin/env",
		"#!":                                    "",
		"":                                      "",
		"\x7fELF":                               "",
		"#!" + strings.Repeat(" ", 300) + "x\n": "",
	} {
		name := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(interpreter(name), " "); got != want {
			t.Errorf("interpreter of %q = %q, want %q", text, got, want)
		}
	}
}
