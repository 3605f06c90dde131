package sdk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/coord/graph"
	"gaggle/coord/sdk"
)

// everything says all that a graph file can.
func everything(g *sdk.Graph) {
	split := g.Task("split", sdk.Task{
		Bash: "mkdir parts && split <<<'a & b < c' - parts/", Inputs: append(sdk.Files("src"), sdk.Glob("*.h")), Outputs: []string{"parts/"},
		Settings: sdk.Settings{Root: sdk.Root{OCI: "image.tar"}, Env: map[string]string{"MODE": "fast"}, Labels: map[string]string{"arch": "new"},
			CPU: 1.5, Memory: 1 << 28, Timeout: 90 * time.Second, Retries: 2, Priority: -3},
	})
	count := g.Task("count", sdk.Task{
		For:   []sdk.Loop{{"z", sdk.Matches("src/**/*.go").Chunk(25).Optional()}, {"a", sdk.Values("x", "y")}, {"i", sdk.Range(0, 10, 2)}},
		Shell: "wc -l {{z}} > {{a}}", At: map[string]sdk.Ref{"in": split.Output("parts").Part("aa/"), "run": sdk.Text("#!/bin/sh\n").Executable()},
		Outputs: []string{"{{a}}"}, Stdin: sdk.Parent("p"),
	})
	g.Task("sum", sdk.Task{Run: []string{"cat", "in/0"}, Reduce: &sdk.Reduce{From: count.Output("x"), By: 4}, Outputs: []string{"stdout"},
		Settings: sdk.Settings{Root: sdk.Root{Tree: "bafyrei"}}})
	g.Task("lines", sdk.Task{Run: []string{"cat"}, For: []sdk.Loop{{"l", sdk.Lines("l.txt")}, {"c", sdk.CSV("c.csv")}},
		Stdin: count.Instance("a,x,0", "x"), Outputs: []string{"value", "stdout"}, Graphs: map[string]string{"value": "next.json"},
		Settings: sdk.Settings{Root: sdk.Root{Dir: "root"}}})
	g.Task("db", sdk.Task{Run: []string{"db"}, Gang: "g", Overlay: true, Service: true, Ready: 6379, Settings: sdk.Settings{Tools: []string{"db"}, Include: []string{"/etc/db*"}}})
	g.Task("load", sdk.Task{Run: []string{"load"}, Gang: "g", Count: 8, Deterministic: true, Inputs: []sdk.Ref{sdk.CID("bafkrei", 12)}, Outputs: []string{"stdout"}})
	g.Target("sum.txt", sdk.Name("sum").Output("stdout"))
}

// emit returns what a program prints.
func emit(t *testing.T, h sdk.Header, program func(*sdk.Graph)) string {
	t.Helper()
	var b bytes.Buffer
	g := sdk.New(&b, h)
	program(g)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const everythingText = `{"gaggle":1,"params":{"n":"3"},"defaults":{"tools":["sh"],"timeout":"1m0s"},"tasks":{
"split":{"bash":"mkdir parts && split <<<'a & b < c' - parts/","inputs":["src",{"glob":"*.h"}],"outputs":["parts/"],"root":{"oci":"image.tar"},"env":{"MODE":"fast"},"labels":{"arch":"new"},"cpu":1.5,"memory":268435456,"timeout":"1m30s","retries":2,"priority":-3},
"count":{"shell":"wc -l {{z}} > {{a}}","inputs":{"in":"@split/parts//aa/","run":{"text":"#!/bin/sh\n","executable":true}},"stdin":"@parent/p","outputs":["{{a}}"],"for":{"z":{"glob":["src/**/*.go"],"chunk":25,"optional":true},"a":["x","y"],"i":{"range":[0,10,2]}}},
"sum":{"run":["cat","in/0"],"outputs":["stdout"],"reduce":{"from":"@count/x","by":4},"root":{"tree":"bafyrei"}},
"lines":{"run":["cat"],"stdin":"@count[a,x,0]/x","outputs":[{"path":"value","graph":"next.json"},"stdout"],"for":{"l":{"lines":"l.txt"},"c":{"csv":"c.csv"}},"root":{"dir":"root"}},
"db":{"run":["db"],"tools":["db"],"include":["/etc/db*"],"gang":"g","network":"overlay","service":true,"ready":{"tcp":6379}},
"load":{"run":["load"],"inputs":[{"cid":"bafkrei","size":12}],"outputs":["stdout"],"count":8,"gang":"g","deterministic":true}
},"targets":{
"sum.txt":"@sum/stdout"
}}
`

func TestGraphBytes(t *testing.T) {
	got := emit(t, sdk.Header{Params: map[string]string{"n": "3"}, Defaults: sdk.Settings{Tools: []string{"sh"}, Timeout: time.Minute}}, everything)
	if got != everythingText {
		t.Errorf("printed\n%s\nwant\n%s", got, everythingText)
	}
	if _, err := graph.Decode(strings.NewReader(got), "sdk.json"); err != nil {
		t.Errorf("coord does not take it: %v", err)
	}
}

// TestEveryKeyCanBeSaid goes through the schema: what it has must be in the file above.
func TestEveryKeyCanBeSaid(t *testing.T) {
	said := map[string]bool{}
	var file any
	if err := json.Unmarshal([]byte(everythingText), &file); err != nil {
		t.Fatal(err)
	}
	eachKey(file, func(key string, _ any) { said[key] = true })
	said["$schema"] = true // for editors
	said["tools"] = true   // of root: Settings.Tools says the same
	var schema any
	if err := json.Unmarshal(graph.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	keys := 0
	eachKey(schema, func(key string, value any) {
		props, ok := value.(map[string]any)
		if key != "properties" || !ok {
			return
		}
		for name := range props {
			keys++
			if !said[name] {
				t.Errorf("the package cannot say %q", name)
			}
		}
	})
	if keys < 50 {
		t.Errorf("the schema has %d keys, which cannot be all", keys)
	}
}

func eachKey(v any, f func(string, any)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			f(key, value)
			eachKey(value, f)
		}
	case []any:
		for _, value := range v {
			eachKey(value, f)
		}
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	good := sdk.Task{Run: []string{"true"}, Outputs: []string{"stdout"}}
	with := func(change func(*sdk.Task)) func(*sdk.Graph) {
		task := good
		change(&task)
		return func(g *sdk.Graph) { g.Task("bad", task); g.Task("good", good) }
	}
	for _, c := range []struct {
		name, want string
		program    func(*sdk.Graph)
	}{
		{"two commands", "one of Run, Shell and Bash", with(func(t *sdk.Task) { t.Shell = "true" })},
		{"no command", "one of Run, Shell and Bash", with(func(t *sdk.Task) { t.Run = nil })},
		{"two forms of inputs", "Inputs and At", with(func(t *sdk.Task) { t.Inputs = sdk.Files("a"); t.At = map[string]sdk.Ref{"b": sdk.File("b")} })},
		{"a graph for no output", "does not have", with(func(t *sdk.Task) { t.Graphs = map[string]string{"value": "next.json"} })},
		{"an input that is nothing", "reference to nothing", with(func(t *sdk.Task) { t.Inputs = make([]sdk.Ref, 1) })},
		{"a part of a text", "has parts", with(func(t *sdk.Task) { t.Stdin = sdk.Text("a").Part("b") })},
		{"an executable path", "made executable", with(func(t *sdk.Task) { t.Stdin = sdk.File("a").Executable() })},
		{"an argument that is no text", "not UTF-8", with(func(t *sdk.Task) { t.Run = []string{"cat", "a\xff"} })},
		{"a content that is no text", "not UTF-8", with(func(t *sdk.Task) { t.Stdin = sdk.Text("\xff") })},
		{"a target that is nothing", `target "t": `, func(g *sdk.Graph) { g.Target("t", sdk.Ref{}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			g := sdk.New(&b, sdk.Header{})
			c.program(g)
			err := g.Close()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Close() = %v, want %q", err, c.want)
			}
			if _, err := graph.Decode(&b, "cut.json"); err == nil {
				t.Error("coord takes what was printed before the error")
			}
		})
	}
}

type fullDisk struct{ left int }

var errFull = errors.New("disk full")

func (d *fullDisk) Write(b []byte) (int, error) {
	if d.left -= len(b); d.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestErrorsOfTheWriter(t *testing.T) {
	for _, left := range []int{0, 100_000} {
		g := sdk.New(&fullDisk{left}, sdk.Header{})
		for i := range 10_000 {
			g.Task(fmt.Sprintf("t%d", i), sdk.Task{Run: []string{"true"}, Outputs: []string{"stdout"}})
		}
		if err := g.Close(); !errors.Is(err, errFull) {
			t.Errorf("Close() = %v with room for %d bytes", err, left)
		}
	}
}

// A tap tells how much has come through.
type tap struct{ n int }

func (w *tap) Write(b []byte) (int, error) { w.n += len(b); return len(b), nil }

// TestTasksStream writes 10^5 tasks: nearly all are out before the graph is closed.
func TestTasksStream(t *testing.T) {
	var w tap
	g := sdk.New(&w, sdk.Header{})
	for i := range 100_000 {
		name := g.Task(fmt.Sprintf("task-%d", i), sdk.Task{Shell: "echo some words > out", Inputs: sdk.Files("in.txt"), Outputs: []string{"out"}})
		if i == 0 {
			g.Target("out", name.Output("out"))
		}
	}
	before := w.n
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if late := w.n - before; late > 128<<10 {
		t.Errorf("%d of %d bytes came with the end", late, w.n)
	}
}

func BenchmarkTask(b *testing.B) {
	b.ReportAllocs()
	g := sdk.New(new(tap), sdk.Header{})
	for b.Loop() {
		g.Task("task", sdk.Task{Shell: "echo some words > out", Inputs: sdk.Files("in.txt"), Outputs: []string{"out"}})
	}
}

// python3 is the machine's own: one that comes first on PATH may need files of a home directory.
func python3(t *testing.T) string {
	for _, dir := range append([]string{"/usr/bin"}, filepath.SplitList(os.Getenv("PATH"))...) {
		if p, err := exec.LookPath(filepath.Join(dir, "python3")); err == nil {
			return p
		}
	}
	t.Skip("python3 is missing: scripts/needs installs it")
	return ""
}

// TestWordsInTwoLanguages runs the example's programs: what they print is equal, and coord takes it.
func TestWordsInTwoLanguages(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("looks for python3 as a Unix has it")
	}
	dir, program := "../../examples/words", filepath.Join(t.TempDir(), "words")
	if out, err := exec.Command("go", "build", "-o", program, "gaggle/examples/words").CombinedOutput(); err != nil {
		t.Fatalf("building words: %v\n%s", err, out)
	}
	args := []string{"a.txt", "b c.txt", `"é<&>".txt`}
	var values []any
	for _, command := range [][]string{{program}, {python3(t), filepath.Join(dir, "words.py")}} {
		out, err := exec.Command(command[0], slices.Concat(command[1:], args)...).Output()
		if err != nil {
			t.Fatalf("%v: %v", command, err)
		}
		if _, err := graph.Decode(bytes.NewReader(out), "words.json"); err != nil {
			t.Errorf("%v printed what coord does not take: %v\n%s", command, err, out)
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	if !reflect.DeepEqual(values[0], values[1]) {
		t.Errorf("the Go program says\n%v\nthe Python script\n%v", values[0], values[1])
	}
}
