package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/wire"
)

func TestInputs(t *testing.T) {
	b := newBench(t, 1)
	dir := t.TempDir()
	small := writeFile(t, filepath.Join(dir, "small"), "small", 0o444)
	empty := writeFile(t, filepath.Join(dir, "empty"), "", 0o444)
	large := writeFile(t, filepath.Join(dir, "large"), strings.Repeat("x", 1<<20), 0o444)
	script := writeFile(t, filepath.Join(dir, "script"), "#!/bin/sh\necho ran\n"+strings.Repeat("#\n", inlineMax), 0o555)
	tree := filepath.Join(dir, "tree")
	writeFile(t, filepath.Join(tree, "a/b"), "deep", 0o444)
	writeFile(t, filepath.Join(tree, "run"), "#!/bin/sh\necho x\n", 0o555)
	if err := os.Symlink("a/b", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		inputs       []Input
		script, want string
	}{
		"none":          {nil, "ls -A", ""},
		"small":         {[]Input{{Path: "x/y/z", Source: small}}, "cat x/y/z; find . | sort", "small.\n./x\n./x/y\n./x/y/z"},
		"empty":         {[]Input{{Path: "e", Source: empty}}, "wc -c <e", "0"},
		"large":         {[]Input{{Path: "d/l", Source: large}}, "wc -c <d/l", "1048576"},
		"large program": {[]Input{{Path: "s", Source: script, Exec: true}}, "./s", "ran"},
		"directory": {[]Input{{Path: "in/t", Source: tree, Dir: true}}, "cat in/t/a/b; cat in/t/link; in/t/run",
			"deepdeepx"},
		"read-only": {[]Input{{Path: "t", Source: tree, Dir: true}}, "(echo >t/new) 2>/dev/null || echo no", "no"},
		"writable":  {[]Input{{Path: "s", Source: small, Writable: true}}, "echo more >>s; cat s", "smallmore"},
		"writable large": {[]Input{{Path: "l", Source: large, Writable: true}}, "echo more >>l; wc -c <l; stat -c %a l",
			"1048581\n644"},
		"writable program": {[]Input{{Path: "s", Source: script, Exec: true, Writable: true}}, "./s; stat -c %a s", "ran\n755"},
		"writable tree": {[]Input{{Path: "t", Source: tree, Dir: true, Writable: true}},
			"echo x >>t/a/b; cat t/link; touch t/new; readlink t/link; t/run; stat -c %a t/a t/a/b t/run", "deepx\na/b\nx\n755\n644\n755"},
		"unsorted": {[]Input{{Path: "b", Source: small}, {Path: "a/c", Source: small}, {Path: "a/b", Source: small}},
			"echo * a/*", "a b a/b a/c"},
		"odd names": {[]Input{{Path: "a b\nc/'$x", Source: small}}, `cat "a b
c/'\$x"`, "small"},
		"same twice": {[]Input{{Path: "a", Source: large}, {Path: "b", Source: large}},
			"wc -c <a; wc -c <b", "1048576\n1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			if got := b.sh(c.script, Spec{Inputs: c.inputs}); got != c.want {
				t.Errorf("sh %q = %q, want %q", c.script, got, c.want)
			}
		})
	}
	t.Run("many", func(t *testing.T) {
		var inputs []Input
		for i := range 3000 {
			in := Input{Path: fmt.Sprintf("in/%04d", i), Source: small}
			if i%10 == 0 {
				in.Source = large
			}
			inputs = append(inputs, in)
		}
		b := *b
		b.t = t
		if got := b.sh("cat in/* | wc -c; ls in | wc -l", Spec{Inputs: inputs}); got != fmt.Sprintf("%d\n3000", 300<<20+2700*5) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("bad", func(t *testing.T) {
		for _, inputs := range [][]Input{
			{{Path: "../x", Source: small}}, {{Path: "/x", Source: small}}, {{Path: "a", Source: filepath.Join(dir, "nowhere")}},
			{{Path: "a", Source: small}, {Path: "a/b", Source: small}}, {{Path: "a", Source: small}, {Path: "a", Source: small}},
			{{Path: "t", Source: tree, Dir: true}, {Path: "t/new", Source: small}}, {{Path: "t", Source: small,
				Dir: true}}, {{Path: "t", Source: tree}},
		} {
			if r, err := b.e.Run(context.Background(), Spec{Root: b.root, Argv: []string{"true"}, Inputs: inputs,
				Sink: b.sink}); err == nil {
				t.Errorf("%+v: %+v", inputs, r.Failure)
			}
		}
		b.sh("true", Spec{})
	})
}

// TestStoreStaysClean: whatever a command does to its inputs, its standard input and its root,
// the files they come from do not change.
func TestStoreStaysClean(t *testing.T) {
	b := newBench(t, 1)
	dir := t.TempDir()
	small, large := "small", strings.Repeat("x", 100_000)
	files := map[string]string{"small": small, "large": large, "stdin": large, "tree/f": small, "tree/d/g": large,
		"wtree/f": small, "wsmall": small, "wlarge": large}
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text, 0o444)
	}
	src := func(name string) string { return filepath.Join(dir, name) }
	inputs := []Input{
		{Path: "small", Source: src("small")}, {Path: "large", Source: src("large")}, {Path: "stdin", Source: src("stdin")},
		{Path: "tree", Source: src("tree"), Dir: true}, {Path: "wtree", Source: src("wtree"), Dir: true, Writable: true},
		{Path: "wsmall", Source: src("wsmall"), Writable: true}, {Path: "wlarge", Source: src("wlarge"), Writable: true},
	}
	argv := []string{"probe", "deface", "tree/f", "tree/d/g", "tree/d", "tree", "wtree/f", "wtree", "small", "large", "stdin",
		"wsmall", "wlarge", "/bin/sh", "/bin", "/"}
	if r := b.run(Spec{Argv: argv, Inputs: inputs}); r.Failure != nil {
		t.Errorf("%s\n%s", r.Failure.Message, r.Stderr)
	}
	if r := b.run(Spec{Argv: []string{"probe", "stdin"}, Inputs: inputs,
		Stdin: src("stdin")}); r.Failure != nil || len(r.Stdout) != len(large) && len(r.Stdout) < wire.MaxTail-100 {
		t.Errorf("%+v: %d bytes", r.Failure, len(r.Stdout))
	}
	for name, text := range files {
		got, err := os.ReadFile(src(name))
		info, e := os.Lstat(src(name))
		if err != nil || e != nil || string(got) != text || info.Mode() != 0o444 {
			t.Errorf("%s: %d bytes %.20q, mode %v, %v", name, len(got), got, info.Mode(), errors.Join(err, e))
		}
	}
	for _, d := range []string{"tree", "tree/d", "wtree"} {
		if list, err := os.ReadDir(src(d)); err != nil || len(list) != strings.Count(fmt.Sprint(list), "/")+1 && len(list) > 2 {
			t.Errorf("%s: %v, %v", d, list, err)
		}
		if _, err := os.Lstat(src(d + "/new")); err == nil {
			t.Errorf("%s/new was made", d)
		}
	}
}

func TestOutputs(t *testing.T) {
	b := newBench(t, 1)
	file := func(p string) wire.Output { return wire.Output{Path: p, Kind: wire.File} }
	tree := func(p string) wire.Output { return wire.Output{Path: p, Kind: wire.Dir} }
	for name, c := range map[string]struct {
		script string
		outs   []wire.Output
		want   string
	}{
		"file":  {"echo x >f", []wire.Output{file("f")}, "x\n"},
		"empty": {"touch f; mkdir d", []wire.Output{file("f"), tree("d")}, "|"},
		"deep":  {"mkdir -p a/b; echo x >a/b/c", []wire.Output{file("a/b/c")}, "x\n"},
		"order": {"echo 1 >z; echo 2 >a", []wire.Output{file("z"), file("a")}, "1\n|2\n"},
		"directory": {"mkdir -p d/e/f; echo x >d/a; echo y >d/e/b; chmod +x d/e/b", []wire.Output{tree("d")},
			"a=x\n e/{b*=y\n f/{}}"},
		"symlinks": {"mkdir -p d/e; echo x >d/a; ln -s ../a d/e/l; ln -s e d/m; ln -s nowhere d/n", []wire.Output{tree("d")},
			"a=x\n e/{l->../a} m->e n->nowhere"},
		"hard link": {"mkdir d; echo x >d/a; ln d/a d/b", []wire.Output{tree("d")}, "a=x\n b=x\n"},
		"no access": {"mkdir -p d/e; echo x >d/e/f; chmod 0 d/e/f d/e d; echo y >g; chmod 0 g", []wire.Output{tree("d"),
			file("g")}, "e/{f=x\n}|y\n"},
		"both":       {"echo x; echo y >f", []wire.Output{file("stdout"), file("f")}, "x\n|y\n"},
		"graph":      {"echo g >next.json", []wire.Output{{Path: "v", Kind: wire.File, Graph: "next.json"}}, "g\n"},
		"value":      {"echo v >v", []wire.Output{{Path: "v", Kind: wire.File, Graph: "next.json"}}, "v\n"},
		"background": {"(sleep 1000; echo late >f) & echo early >f", []wire.Output{file("f")}, "early\n"},
		"sparse": {"dd if=/dev/zero of=f bs=1 count=0 seek=10000 2>/dev/null", []wire.Output{file("f")},
			strings.Repeat("\x00", 10000)},
		"odd names": {"mkdir d; echo x >'d/a b'; echo y >d/-; echo z >d/\u00e9", []wire.Output{tree("d")},
			"-=y\n a b=x\n \u00e9=z\n"},
		"whole job":   {"mkdir -p x; echo 1 >x/y", []wire.Output{tree("x")}, "y=1\n"},
		"closed dirs": {"mkdir d; chmod 700 d; echo x >d/f; chmod 600 d/f", []wire.Output{tree("d")}, "f=x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			r := b.run(Spec{Argv: []string{"sh", "-eu", "-c", c.script}, Outputs: c.outs})
			if r.Failure != nil {
				t.Fatalf("%+v\n%s", r.Failure, r.Stderr)
			}
			var got []string
			for _, o := range r.Outputs {
				got = append(got, b.sink.text(o))
			}
			if g := strings.Join(got, "|"); g != c.want {
				t.Errorf("outputs %q, want %q", g, c.want)
			}
			if want := name == "graph"; (r.Outputs[0].Kind == wire.Graph) != want {
				t.Errorf("kind is %s", r.Outputs[0].Kind)
			}
		})
	}
	t.Run("executable", func(t *testing.T) {
		r := b.run(Spec{Argv: []string{"sh", "-c", "touch a b; chmod +x a"}, Outputs: []wire.Output{file("a"), file("b")}})
		if r.Outputs[0].Kind != wire.Exec || r.Outputs[1].Kind != wire.File {
			t.Errorf("%v", r.Outputs)
		}
	})
	t.Run("inputs among outputs", func(t *testing.T) {
		dir := t.TempDir()
		src := writeFile(t, filepath.Join(dir, "d/x"), strings.Repeat("x", 100_000), 0o444)
		r := b.run(Spec{Argv: []string{"sh", "-eu", "-c", "echo new >d/y; echo n >e/new; rm f/x"},
			Outputs: []wire.Output{tree("d"), file("e/new"), tree("f")},
			Inputs: []Input{{Path: "d/x", Source: src}, {Path: "e", Source: filepath.Dir(src), Dir: true}, {Path: "f",
				Source: filepath.Dir(src), Dir: true}}})
		if r.Failure != nil {
			t.Fatalf("%+v\n%s", r.Failure, r.Stderr)
		}
		if d, f := b.sink.text(r.Outputs[0]), b.sink.text(r.Outputs[2]); len(d) != 100_000+len("x= y=new\n") || f != "" {
			t.Errorf("%d bytes, %q", len(d), f)
		}
	})
	t.Run("in place", func(t *testing.T) {
		src := writeFile(t, filepath.Join(t.TempDir(), "x"), "one", 0o444)
		r := b.run(Spec{Argv: []string{"sh", "-c", "echo two >>x"}, Outputs: []wire.Output{file("x")}, Inputs: []Input{{Path: "x",
			Source: src, Writable: true}}})
		if got := b.sink.text(r.Outputs[0]); got != "onetwo\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestBadOutputs(t *testing.T) {
	b := newBench(t, 1)
	src := writeFile(t, filepath.Join(t.TempDir(), "x"), strings.Repeat("x", 100_000), 0o444)
	file := []wire.Output{{Path: "out", Kind: wire.File}}
	dir := []wire.Output{{Path: "out", Kind: wire.Dir}}
	deep := []wire.Output{{Path: "d/e/out", Kind: wire.File}}
	for _, c := range []struct {
		script string
		outs   []wire.Output
		cause  wire.Cause
		say    string
	}{
		{"touch a b c", file, wire.CauseOutputMissing, `no output "out"; its directory holds "a" "b" "c"`},
		{"true", file, wire.CauseOutputMissing, `its directory holds "in"`},
		{"for i in $(seq 50); do touch $i; done", deep, wire.CauseOutputMissing, `and 31 more`},
		{"mkdir out", file, wire.CauseOutputInvalid, `"out" is a directory`},
		{"touch out", dir, wire.CauseOutputInvalid, `"out" is not a directory`},
		{"ln -s /etc/passwd out", file, wire.CauseOutputInvalid, `"out" is a symbolic link`},
		{"ln -s / out", dir, wire.CauseOutputInvalid, `"out" is a symbolic link`},
		{"ln -s /etc d; mkdir -p x/e; touch x/e/out", deep, wire.CauseOutputInvalid, `"d/e/out" lies below a symbolic link`},
		{"mkdir x x/e; touch x/e/out; ln -s x d", deep, wire.CauseOutputInvalid, `"d/e/out" lies below a symbolic link`},
		{"touch d", deep, wire.CauseOutputInvalid, `"d/e/out" lies below a symbolic link or a file`},
		{"mkdir out; ln -s /etc/passwd out/l", dir, wire.CauseOutputInvalid, `"out/l" points to the absolute path "/etc/passwd"`},
		{"mkdir out; ln -s ../x out/l", dir, wire.CauseOutputInvalid, `"out/l" points out of its output`},
		{"mkdir -p out/d; ln -s d/../../x out/l", dir, wire.CauseOutputInvalid, `"out/l" points out of its output`},
		{"mkdir out; ln -s . out/d; ln -s d/../x out/l", dir, wire.CauseOutputInvalid, `"out/l" points out of its output`},
		{"probe hostile fifo", file, wire.CauseOutputInvalid, `"out" is a named pipe`},
		{"probe hostile socket", file, wire.CauseOutputInvalid, `"out" is a socket`},
		{"mkdir out; mkfifo out/p", dir, wire.CauseOutputInvalid, `"out/p" is a named pipe`},
		{"probe hostile non-utf8", dir, wire.CauseOutputInvalid, `not UTF-8`},
		{"probe hostile 'non-utf8 link'", dir, wire.CauseOutputInvalid, `not UTF-8`},
		{"probe hostile deep", dir, wire.CauseOutputInvalid, `deeper than 256`},
		{"probe hostile sparse", file, wire.CauseOutputBound, `exceed their bound`},
		{"mkdir out; cd out; seq 500 | while read i; do echo >$i; done", dir, wire.CauseOutputBound, `filled /job or /tmp`},
		{"touch out; exit 3", file, wire.CauseExit, `exit code 3`},
	} {
		t.Run(c.script, func(t *testing.T) {
			b := *b
			b.t = t
			r := b.run(Spec{Argv: []string{"sh", "-eu", "-c", c.script}, Outputs: c.outs, Inputs: []Input{{Path: "in/x",
				Source: src}}, Limits: Limits{OutputFiles: 400}})
			if f := r.Failure; f == nil || f.Cause != c.cause || !strings.Contains(f.Message,
				c.say) || f.Hint == "" && c.cause != wire.CauseExit || r.Outputs != nil {
				t.Errorf("%+v", f)
			}
		})
	}
	b.run(Spec{Argv: []string{"probe", "confined"}})
}

func TestManyOutputs(t *testing.T) {
	b := newBench(t, 1)
	r := b.run(Spec{Argv: []string{"probe", "many", "20", "1000"}, Outputs: []wire.Output{{Path: "out", Kind: wire.Dir}},
		Limits: Limits{MemBytes: 2 << 30}}) // a page for each file
	if r.Failure != nil {
		t.Fatalf("%+v", r.Failure)
	}
	if r.Outputs[0].Size != 20_000 || len(b.sink.files) != 10 {
		t.Errorf("%+v, %d files", r.Outputs, len(b.sink.files))
	}
}

// A fullSink has no room.
type fullSink struct{ *memorySink }

func (fullSink) PutFile(context.Context, *os.File, int64) (wire.BlobID, error) {
	return wire.BlobID{}, wire.Errorf(wire.CauseDiskFull, "", "no room")
}

func TestSinkError(t *testing.T) {
	b := newBench(t, 1)
	_, err := b.e.Run(context.Background(), Spec{Root: b.root, Argv: []string{"touch", "f"}, Outputs: []wire.Output{{Path: "f",
		Kind: wire.File}}, Sink: fullSink{b.sink}})
	if wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("Run = %v", err)
	}
}
