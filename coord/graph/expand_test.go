package graph

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/wire"
)

var update = flag.Bool("update", false, "write what was got into testdata")

// Each file of testdata/expand is a graph file, the local files it sees in its first line, and
// what comes of it.
func TestExpandGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/expand/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in testdata/expand: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text, want, ok := strings.Cut(string(b), "\n----\n")
			if !ok {
				t.Fatal("no line ----")
			}
			first, _, _ := strings.Cut(text, "\n")
			m := files(strings.Fields(unescape(strings.TrimPrefix(first, "# files:")))...)
			p, err := m.expandText(text)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, p)
			got := m.listing(p)
			if *update {
				if err := os.WriteFile(name, []byte(text+"\n----\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("expansion =\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// unescape lets a file of one line have lines: "\n" and "\r" in it, "_" being kept.
func unescape(s string) string {
	return strings.NewReplacer(`\n`, "\x01", `\r`, "\x02").Replace(s)
}

// checkPlan checks what every plan promises.
func checkPlan(t *testing.T, p *Plan) {
	t.Helper()
	have := map[wire.ThunkID]*wire.Thunk{}
	leaves := map[wire.Object]bool{}
	for _, l := range p.Leaves {
		if leaves[l] || !l.Final() {
			t.Errorf("leaf %v is there twice, or not final", l)
		}
		leaves[l] = true
	}
	names := map[string]bool{}
	for i, task := range p.Tasks {
		th, err := wire.DecodeThunk(task.Thunk)
		if err != nil {
			t.Fatalf("%s: %v", task.Name, err)
		}
		if id, _ := th.Encode(); id != p.IDs[i] {
			t.Errorf("%s: id is not of the thunk", task.Name)
		}
		for _, in := range th.Inputs {
			if in.Object.Kind != wire.Pending {
				if !leaves[in.Object] {
					t.Errorf("%s: input %q is no leaf", task.Name, in.Path)
				}
				continue
			}
			from := have[wire.ThunkID(in.Object.Digest)]
			if from == nil {
				t.Errorf("%s stands before what it depends on", task.Name)
			} else if _, ok := from.OutputIndex(in.Output); !ok {
				t.Errorf("%s: input %q is of no output", task.Name, in.Path)
			}
		}
		if names[task.Name] {
			t.Errorf("two tasks %q", task.Name)
		}
		names[task.Name] = true
		have[p.IDs[i]] = th
	}
	for _, target := range p.Targets {
		from := have[target.Thunk]
		if from == nil {
			t.Errorf("target %q is of no task", target.Path)
		} else if _, ok := from.OutputIndex(target.Output); !ok {
			t.Errorf("target %q is of no output", target.Path)
		}
	}
}

// Equal local files are hashed once, equal roots made once, whatever refers to them.
func TestExpandAsksOnce(t *testing.T) {
	m := files("a", "b")
	p, err := m.expandText(`
gaggle: 1
tasks:
  x: {count: 50, inputs: [a, b], stdin: a, tools: [cat], run: [cat, a], outputs: [stdout]}
  y: {inputs: {c: ./a}, tools: [cat], run: [cat, c], outputs: [stdout]}
targets: {x/: "@x/stdout", y: "@y/stdout"}
`)
	if err != nil {
		t.Fatal(err)
	}
	if m.added["a"] != 1 || m.added["b"] != 1 || len(m.added) != 2 {
		t.Errorf("hashed %v, want a and b once", m.added)
	}
	if len(m.roots) != 1 || m.roots["cat"] != 1 {
		t.Errorf("made roots %v, want one of cat", m.roots)
	}
	if len(p.Leaves) != 3 {
		t.Errorf("%d leaves, want two files and a root", len(p.Leaves))
	}
}

func TestExpandStopsWhenCancelled(t *testing.T) {
	m := files("a")
	f, err := Decode(strings.NewReader(`{"gaggle":1,"tasks":{"t":{"count":1000,"run":["seq","1"],"outputs":["stdout"]}},"targets":{"o":"@t/stdout"}}`), "-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Expand(ctx, f, m.env()); wire.AsError(err).Cause != wire.CauseCancelled {
		t.Errorf("Expand of a cancelled context = %v, want it cancelled", err)
	}
}
