package graph

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"gaggle/wire"
)

// parentOf is a resolved thunk that wrote a graph.
func parentOf(t *testing.T) Parent {
	t.Helper()
	file := func(s string) wire.Object {
		return wire.FileObject(wire.BlobID(wire.Sum([]byte(s))), 10, true)
	}
	th, err := wire.NewThunk(wire.Thunk{
		Command: []string{"./fib.sh", "40"}, Env: []wire.EnvVar{{Name: "KEEP", Value: "1"}, {Name: "LEVEL", Value: "up"}},
		Root: wire.TreeID(wire.Sum([]byte("root"))), Platform: "linux/arm64", ABI: wire.ABI,
		Inputs:  []wire.Input{{Path: "fib.sh", Object: file("fib.sh")}, {Path: "data", Object: wire.DirObject(wire.TreeID(wire.Sum([]byte("data"))), 99)}},
		Outputs: []wire.Output{{Path: "value", Kind: wire.File, Graph: "next.json"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Parent{Name: "fib/a", Thunk: th, Hints: wire.Hints{MemBytes: 64 << 20, Priority: 7, Labels: map[string]string{"disk": "ssd"}}, RootSize: 5}
}

func expandSub(t *testing.T, text string) (*Plan, error) {
	t.Helper()
	f, err := Decode(strings.NewReader(text), "fib/a")
	if err != nil {
		return nil, err
	}
	p := parentOf(t)
	return Expand(context.Background(), f, Env{Parent: &p})
}

func TestSubGraph(t *testing.T) {
	p, err := expandSub(t, subExample)
	if err != nil {
		t.Fatal(err)
	}
	checkPlan(t, p)
	par := parentOf(t)
	var names []string
	for i, task := range p.Tasks {
		names = append(names, task.Name)
		th := p.Thunks[i]
		if th.Root != par.Thunk.Root || th.Platform != par.Thunk.Platform || task.RootSize != par.RootSize {
			t.Errorf("%s: root and platform are not the parent's", task.Name)
		}
		if len(th.Env) != 2 || th.Env[0].Value != "1" || task.Hints.Priority != 7 || task.Hints.MemBytes != 64<<20 {
			t.Errorf("%s: env %v and hints %v are not the parent's", task.Name, th.Env, task.Hints)
		}
	}
	if got, want := strings.Join(names, " "), "fib/a/a fib/a/b fib/a/sum"; got != want {
		t.Errorf("tasks are %s, want %s", got, want)
	}
	if th := p.Thunks[0]; th.Inputs[0].Path != "fib.sh" || th.Inputs[0].Object != par.Thunk.Inputs[1].Object {
		t.Errorf("@parent/fib.sh is %v, want the parent's input", th.Inputs)
	}
	if len(p.Targets) != 1 || p.Targets[0].Thunk != p.IDs[2] {
		t.Errorf("target is %v, want the sum", p.Targets)
	}
}

// The same number asked for twice, from wherever, is one thunk.
func TestSubGraphsShare(t *testing.T) {
	p, err := expandSub(t, strings.Replace(subExample, `"39"`, `"38"`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if p.IDs[0] != p.IDs[1] {
		t.Errorf("a and b are equal, their thunks are not")
	}
}

func TestSubGraphOverrides(t *testing.T) {
	_, err := expandSub(t, `{"gaggle":1,"params":{"k":3},
"defaults":{"env":{"LEVEL":"down"},"memory":"128MiB","labels":{"gpu":"no"}},
"tasks":{
 "x":{"for":{"i":{"range":[0,"{{k}}"]}},"inputs":["@parent/data//part/{{i}}", "@parent/data"],"run":["cat","{{i}}"],"outputs":["stdout"]},
 "y":{"inputs":{"in":"@x/stdout"},"root":{"tree":"bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},"shell":"cat in/*","outputs":["stdout"]}},
"targets":{"v":"@y/stdout"}}`)
	if err == nil {
		t.Fatal("an input below an input is accepted")
	}
	p, err := expandSub(t, `{"gaggle":1,"params":{"k":3},
"defaults":{"env":{"LEVEL":"down"},"memory":"128MiB","labels":{"gpu":"no"}},
"tasks":{
 "x":{"for":{"i":{"range":[0,"{{k}}"]}},"inputs":["@parent/data//part/{{i}}"],"run":["cat","{{i}}"],"outputs":["stdout"]},
 "y":{"inputs":{"in":"@x/stdout"},"root":{"tree":"bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},"shell":"cat in/*","outputs":["stdout"]}},
"targets":{"v":"@y/stdout"}}`)
	if err != nil {
		t.Fatal(err)
	}
	checkPlan(t, p)
	if len(p.Tasks) != 7 || p.Tasks[0].Name != "fib/a/@parent[data//part/0]" || p.Tasks[1].Name != "fib/a/x[0]" {
		t.Errorf("%d tasks, first %q and %q", len(p.Tasks), p.Tasks[0].Name, p.Tasks[1].Name)
	}
	if th, h := p.Thunks[1], p.Tasks[1].Hints; len(th.Env) != 3 || th.Env[1].Value != "down" || h.MemBytes != 128<<20 ||
		h.Priority != 7 || h.Labels["gpu"] != "no" || h.Labels["disk"] != "ssd" {
		t.Errorf("env %v, hints %+v: want the parent's under those of the graph", th.Env, h)
	}
	if parentOf(t).Hints.Labels["gpu"] != "" {
		t.Errorf("the parent's labels were written to")
	}
}

func TestBadSubGraphs(t *testing.T) {
	task := func(s string) string {
		return `{"gaggle":1,"tasks":{"t":{"run":["a"],"outputs":["o"],` + s + `}},"targets":{"o":"@t/o"}}`
	}
	for _, c := range []struct{ name, text, want string }{
		{"local file", task(`"inputs":["x"]`), `fib/a:1: tasks.t.inputs[0]: "x": a sub-graph has no local files: its inputs are the parent's, "@parent/path", and outputs of its own tasks, "@task/output"`},
		{"local pattern", task(`"inputs":[{"glob":"*"}]`), `fib/a:1: tasks.t.inputs[0]: a sub-graph has no local files: name inputs of the parent, "@parent/path"`},
		{"gang", task(`"gang":"g"`), `fib/a:1: tasks.t: a sub-graph has no gangs and no networks: have the whole in the graph that is submitted`},
		{"network", task(`"network":"overlay"`), `fib/a:1: tasks.t: a sub-graph has no gangs and no networks: have the whole in the graph that is submitted`},
		{"tools", task(`"tools":["sh"]`), `fib/a:1: tasks.t: a sub-graph has the root of its parent, and cannot take programs from a machine: remove tools, include and root, and give the parent what its sub-graph needs`},
		{"directory root", task(`"root":{"dir":"/"}`), `fib/a:1: tasks.t.root: a sub-graph has the root of its parent, and cannot take programs from a machine: remove tools, include and root, and give the parent what its sub-graph needs`},
		{"glob", task(`"for":{"x":{"glob":"*"}}`), `fib/a:1: tasks.t.for.x: for over local files: a sub-graph has no local files: use a list, a range or count`},
		{"csv", task(`"for":{"x":{"csv":"s"}}`), `fib/a:1: tasks.t.for.x: for over local files: a sub-graph has no local files: use a list, a range or count`},
		{"text", task(`"stdin":{"text":"x"}`), `fib/a:1: tasks.t.stdin: a sub-graph cannot hold text: pass it as an argument or in env`},
		{"cid without size", task(`"inputs":{"x":{"cid":"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"}}`), `fib/a:1: tasks.t.inputs.x: a cid in a sub-graph needs its size: add size: N, its length in bytes`},
		{"no such input", task(`"inputs":["@parent/fib.hs"]`), `fib/a:1: tasks.t.inputs[0]: the parent has no input "fib.hs": did you mean "fib.sh"?`},
		{"part of a directory", task(`"inputs":["@parent/data/x"]`), `fib/a:1: tasks.t.inputs[0]: the parent has no input "data/x": a part of a directory is written "@parent/data//x"`},
		{"part of a file", task(`"inputs":["@parent/fib.sh//x"]`), `fib/a:1: tasks.t.inputs[0]: input "fib.sh" of the parent is a file: leave // and what is behind it out`},
		{"two targets", `{"gaggle":1,"tasks":{"t":{"run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o","p":"@t/o"}}`, `fib/a: targets: a sub-graph with 2 targets: keep one: it becomes the parent's output; combine the others in a task`},
		{"target of the parent", `{"gaggle":1,"tasks":{"t":{"run":["a"],"outputs":["o"]}},"targets":{"o":"@parent/fib.sh"}}`, `fib/a:1: targets.o: a target is what a task makes: let a task copy it: run: [cat], stdin: "@parent/path", outputs: [stdout]`},
		{"cycle", task(`"inputs":["@t/o"]`), `fib/a:1: tasks.t: tasks wait for each other: t -> t: each of them needs the next; remove one of the references`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := expandSub(t, c.text)
			if err == nil {
				t.Fatal("accepted")
			}
			if e := mustErr(t, err); e.Error() != c.want || e.Cause != wire.CauseGraph {
				t.Errorf("error (%v) =\n%s\nwant\n%s", e.Cause, e, c.want)
			}
		})
	}
}

// A small sub-graph cannot make the coordinator hold much.
func TestSubGraphIsBounded(t *testing.T) {
	_, err := expandSub(t, `{"gaggle":1,"tasks":{"t":{"for":{"i":{"range":[0,100000]}},"run":["a","`+strings.Repeat("x", 100_000)+`"],"outputs":["o"]},
"u":{"inputs":{"in":"@t/o"},"run":["a"],"outputs":["o"]}},"targets":{"o":"@u/o"}}`)
	if e := mustErr(t, err); e.Cause != wire.CauseTooLarge || !strings.Contains(e.Message, "256 MiB") {
		t.Errorf("error (%v) = %v, want it too large", e.Cause, e)
	}
	_, err = expandSub(t, `{"gaggle":1,"tasks":{"t":{"count":200001,"run":["a"],"outputs":["o"]}},"targets":{"o":"@t/o"}}`)
	if e := mustErr(t, err); e.Cause != wire.CauseTooLarge || !strings.Contains(e.Message, "200000") {
		t.Errorf("error (%v) = %v, want it too large", e.Cause, e)
	}
	var b strings.Builder
	b.WriteString(`{"gaggle":1,"tasks":{"t0":{"run":["a"],"outputs":["o"]}`)
	for i := 1; i < 20_000; i++ { // a chain, which must not be walked by recursion
		b.WriteString(`,"t` + strconv.Itoa(i) + `":{"inputs":["@t` + strconv.Itoa(i-1) + `/o"],"run":["a"],"outputs":["o"]}`)
	}
	b.WriteString(`},"targets":{"o":"@t19999/o"}}`)
	p, err := expandSub(t, b.String())
	if err != nil || len(p.Tasks) != 20_000 {
		t.Fatalf("a chain of 20,000: %v", err)
	}
}
