package clustertest

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var jobName = regexp.MustCompile("j[0-9a-f]{16}")

const countGraph = `
gaggle: 1
params: {round: 0}
tasks:
  one:
    for: {n: {range: [0, 8]}}
    tools: [sh, sleep]
    shell: "sleep 0.2; echo {{n}} {{round}} > out"
    outputs: [out]
  all: {inputs: {parts: "@one/out"}, tools: [sh, cat], shell: "cat parts/* > out", outputs: [out]}
targets: {all.txt: "@all/out"}
`

// Two owners' nodes, and a machine of one of the owners that submits:
//
//	hub   node1   node2 (4 slots)   laptop
//	      anna    bert              anna
//
// What bert's node made is made again for a job that believes anna's alone, and once more for one
// that believes what two owners' nodes give alike.
func TestWhomAJobBelieves(t *testing.T) {
	m := NewMesh(t, bin, 0, 0)
	m.AddNodeOf("anna", "node1", 1)
	m.AddNodeOf("bert", "node2", 4)
	laptop := m.Lab.Host("laptop")
	m.Ticket = strings.TrimSpace(m.Coord.Run("coord", "ticket", "--owner", "anna", "--state", filepath.Join(m.Coord.Dir, "serve")))
	m.Login(laptop)
	dir := filepath.Join(laptop.Dir, "work")
	WriteFiles(t, dir, map[string]string{"count.yaml": countGraph})

	_, events := laptop.Submit(dir, "count.yaml", "--out", "any")
	if Shares(events)["node2"] == 0 {
		t.Fatalf("node2 ran nothing: %v", Shares(events))
	}
	want := readFile(t, filepath.Join(dir, "any/all.txt"))
	sum, events := laptop.Submit(dir, "count.yaml", "--trust", "own", "--out", "own")
	if n := Shares(events)["node2"]; n != 0 || sum.Ran == 0 {
		t.Errorf("of a job that believes anna's nodes, node2 ran %d tasks of %+v", n, sum)
	}
	if sum, _ = laptop.Submit(dir, "count.yaml", "--trust", "own", "--out", "own", "--replace"); sum.Memo != sum.Tasks {
		t.Errorf("for the second time: %+v, want all known", sum)
	}
	job := laptop.Start("env", "-C", dir, "coord", "submit", "count.yaml", "--trust", "2", "--out", "two", "-p", "round=1")
	if code := job.WaitExit(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, job.Log())
	}
	if !strings.Contains(job.Log(), " verified") {
		t.Errorf("of what two owners are to give nothing was verified:\n%s", job.Log())
	}
	if !strings.Contains(job.Log(), "checked here: what the targets are made of was signed by nodes of 2 owners (9 tasks)") {
		t.Errorf("nothing was proven:\n%s", job.Log())
	}
	if sum, _ = laptop.Submit(dir, "count.yaml", "--trust", "2", "--out", "two", "-p", "round=1"); sum.Memo != sum.Tasks {
		t.Errorf("for the second time: %+v, want all known", sum)
	}
	whoIsToldWhose(t, m, laptop, dir)
	for out, round := range map[string]string{"own": " 0\n", "two": " 1\n"} {
		if got := readFile(t, filepath.Join(dir, out, "all.txt")); got != strings.ReplaceAll(want, " 0\n", round) {
			t.Errorf("%s/all.txt has\n%s", out, got)
		}
	}
}

// whoIsToldWhose: of a job with sub-graphs, the machine that submitted it sees by itself whose values it
// was given, also later; another one is told that it does not.
func whoIsToldWhose(t *testing.T, m *Mesh, laptop *Host, dir string) {
	desk := m.Lab.Host("desk")
	m.Login(desk)
	says := func(h *Host, want string, line ...string) (log string) {
		t.Helper()
		p := h.Start("env", append([]string{"-C", dir, "coord"}, line...)...)
		if code := p.WaitExit(); code != 0 || !strings.Contains(p.Log(), want) {
			t.Errorf("coord %s on %s: exit %d, want %q in\n%s", strings.Join(line, " "), h.Name, code, want, p.Log())
		}
		return p.Log()
	}
	fib, err := filepath.Abs("../examples/fib/graph.json")
	if err != nil {
		t.Fatal(err)
	}
	const proven = "checked here: what the targets are made of was signed by nodes of anna"
	job := jobName.FindString(says(laptop, proven, "submit", fib, "-p", "n=10", "--trust", "own", "--out", "fib"))
	says(laptop, proven, "get", job, "--out", "got")
	says(desk, "not checked here", "get", job, "--out", "got-there")
	for _, out := range []string{"fib", "got", "got-there"} {
		if got := readFile(t, filepath.Join(dir, out, "fib.txt")); got != "55\n" {
			t.Errorf("%s/fib.txt has %q", out, got)
		}
	}
}
