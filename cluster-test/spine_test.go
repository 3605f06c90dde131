package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// wordCount is the map-reduce of the README with chunks of few files.
const wordCount = `
gaggle: 1
defaults: {tools: [sh, cat, tr, sort, uniq, awk, head], memory: 256MiB, timeout: 60s}
tasks:
  count:
    for: {src: {glob: "src/**/*.go", chunk: 10}}
    inputs: ["{{src}}"]
    shell: cat {{src}} | tr -cs 'A-Za-z_' '\n' | sort | uniq -c > counts
    outputs: [counts]
  merge:
    reduce: {from: "@count/counts", by: 8}
    shell: awk '{n[$2]+=$1} END {for (w in n) print n[w], w}' in/* > counts
    outputs: [counts]
  top:
    inputs: {counts: "@merge/counts"}
    shell: sort -k1,1nr -k2 counts | head -n 20 > top.txt
    outputs: [top.txt]
targets: {top.txt: "@top/top.txt"}
`

// copySources puts the .go files of some packages of GOROOT below dir/src.
func copySources(t *testing.T, dir string, packages ...string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		from := filepath.Join(strings.TrimSpace(string(root)), "src", p)
		if err := os.CopyFS(filepath.Join(dir, "src", p), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
}

// serialTop is what the word count must give, computed without gaggle.
func serialTop(t *testing.T, dir string) string {
	t.Helper()
	c := exec.Command("sh", "-c", `find src -name '*.go' -print0 | xargs -0 cat | tr -cs 'A-Za-z_' '\n' |
		sort | uniq -c | awk '{n[$2]+=$1} END {for (w in n) print n[w], w}' | sort -k1,1nr -k2 | head -n 20`)
	c.Dir, c.Env = dir, append(os.Environ(), "LC_ALL=C")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// One coordinator, four nodes, one submitter:
//
//	hub   node1..node4   anna
//	 |      |    |         |
//	 +------+-br0+---------+
func TestMeshGivesTheValuesOfASerialRun(t *testing.T) {
	m := NewMesh(t, bin, 4, 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	copySources(t, dir, "net", "crypto", "encoding", "go", "os")
	WriteFiles(t, dir, map[string]string{"wc.yaml": wordCount})
	want := serialTop(t, dir)

	sum, events := anna.Submit(dir, "wc.yaml", "--out", "out")
	if got := readFile(t, filepath.Join(dir, "out/top.txt")); got != want {
		t.Errorf("top.txt from the mesh:\n%s\nserially:\n%s", got, want)
	}
	if sum.Ran != sum.Tasks || sum.Failed != 0 {
		t.Errorf("first run: %+v, want every task run", sum)
	}
	t.Logf("%d tasks in %.1f s, %d bytes moved, shares %v", sum.Tasks, sum.Wall, sum.Moved, Shares(events))
	for name, n := range Shares(events) {
		if n == 0 {
			t.Errorf("%s ran nothing", name)
		}
	}

	again, _ := anna.Submit(dir, "wc.yaml", "--out", "out2")
	if again.Memo != again.Tasks || again.Ran != 0 {
		t.Errorf("second run: %+v, want all from the memo", again)
	}
	if nodes := anna.Run("coord", "nodes"); !strings.Contains(nodes, "blobs through the coordinator: 0 bytes") {
		t.Errorf("coord nodes does not say that no blob passed the coordinator:\n%s", nodes)
	}
}

// As above, every thunk being half a second of computing: the coordinator spreads it.
func TestFastLinksSpreadComputing(t *testing.T) {
	m := NewMesh(t, bin, 3, 1)
	anna := m.Client("anna")
	m.Nodes, m.nodes = append(m.Nodes, anna), append(m.nodes, m.StartNode(anna, 2))
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"spin.yaml": `
gaggle: 1
defaults: {tools: [sh, sleep, cat]}
tasks:
  spin: {for: {n: {range: [0, 60]}}, inputs: [data], shell: "sleep 0.5; cat data > out; echo {{n}} >> out", outputs: [out]}
targets: {"all/": "@spin/out"}
`, "data": strings.Repeat("x", 100_000)})
	sum, events := anna.Submit(dir, "spin.yaml", "--out", "out")
	shares := Shares(events)
	t.Logf("%d tasks in %.1f s, %d bytes moved, shares %v", sum.Tasks, sum.Wall, sum.Moved, shares)
	for _, h := range m.Nodes {
		if 100*shares[h.Name] < 15*sum.Tasks {
			t.Errorf("%s ran %d of %d thunks, want at least 15 %%", h.Name, shares[h.Name], sum.Tasks)
		}
	}
}

// Links of 10 Mbit/s and inputs of 256 MiB on the submitter: no thunk is worth the journey.
//
//	hub   node1   node2   anna (2 slots, the data)
//	 |      |10M    |10M    |10M
//	 +------+-br0---+-------+
func TestSlowLinksKeepLargeInputsAtHome(t *testing.T) {
	m := NewMesh(t, bin, 2, 2)
	anna := m.Client("anna")
	m.StartNode(anna, 2)
	for _, h := range append(m.Nodes, anna) {
		h.Rate(10)
	}
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"sum.yaml": `
gaggle: 1
defaults: {tools: [sh, cksum]}
tasks:
  sum: {for: {n: {range: [0, 6]}}, inputs: [big], shell: "cksum big > out; echo {{n}} >> out", outputs: [out]}
targets: {"all/": "@sum/out"}
`})
	big, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := big.Truncate(256 << 20); err != nil {
		t.Fatal(err)
	}
	big.Close()
	sum, events := anna.Submit(dir, "sum.yaml", "--out", "out")
	shares := Shares(events)
	t.Logf("%d tasks in %.1f s, %d bytes moved, shares %v", sum.Tasks, sum.Wall, sum.Moved, shares)
	if shares["anna"] != sum.Tasks {
		t.Errorf("shares %v: want all %d at anna", shares, sum.Tasks)
	}
}

func TestTwoJobsShareWhatTheyHaveInCommon(t *testing.T) {
	m := NewMesh(t, bin, 2, 2)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	graph := func(tail string) string {
		return fmt.Sprintf(`
gaggle: 1
defaults: {tools: [sh, sleep, date, cat]}
tasks:
  slow: {shell: "sleep 4; echo done > out", outputs: [out]}
  own: {inputs: {in: "@slow/out"}, shell: "cat in > out; echo %s >> out", outputs: [out]}
targets: {%s.txt: "@own/out"}
`, tail, tail)
	}
	WriteFiles(t, dir, map[string]string{"a.yaml": graph("a"), "b.yaml": graph("b")})
	a := anna.Start("env", "-C", dir, "coord", "submit", "--json", "a.yaml", "--out", "out")
	a.WaitLog(`"running"`)
	b := anna.Start("env", "-C", dir, "coord", "submit", "--json", "b.yaml", "--out", "out")
	if code := a.WaitExit() + b.WaitExit(); code != 0 {
		t.Fatalf("the jobs failed:\n%s\n%s", a.Log(), b.Log())
	}
	first, _ := ParseEvents(t, a.Log())
	second, _ := ParseEvents(t, b.Log())
	if first.Ran+second.Ran != 3 {
		t.Errorf("ran %d and %d thunks, want 3 in all: the slow one once", first.Ran, second.Ran)
	}
}
