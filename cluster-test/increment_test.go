package clustertest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// partsGraph makes eight parts of local files and joins them.
const partsGraph = `
gaggle: 1
params: {word: first}
defaults: {tools: [sh, sleep, cat]}
tasks:
  part: {for: {n: {range: [0, 8]}}, inputs: {in: "data/{{n}}"}, shell: "sleep 0.2; cat in > out; echo part >> out", outputs: [out]}
  all: {inputs: {parts: "@part/out"}, shell: "cat parts/* > out; echo {{word}} >> out", outputs: [out]}
targets: {all.txt: "@all/out"}
`

// wipe ends a node, removes all that its store holds and starts it again without flags.
func wipe(m *Mesh, i int) {
	m.Lab.t.Helper()
	m.nodes[i].Kill()
	store := filepath.Join(m.Nodes[i].Dir, "node", "store")
	if _, err := os.Stat(store); err != nil {
		m.Lab.t.Fatalf("the node's store: %v", err)
	}
	if err := removeAll(store); err != nil {
		m.Lab.t.Fatal(err)
	}
	m.nodes[i] = m.Nodes[i].Start("node")
	m.nodes[i].WaitLog("joined")
}

// removeAll is os.RemoveAll for trees with read-only directories.
func removeAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// The stores of nodes are lost, one and then all:
//
//	hub   node1   node2   anna
//	 |      X       X      |
//	 +------+--br0--+------+
func TestWipedStoresAreFilledAgain(t *testing.T) {
	m := NewMesh(t, bin, 2, 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	files := map[string]string{"parts.yaml": partsGraph}
	want := ""
	for n := range 8 {
		files["data/"+itoa(n)] = itoa(n) + "\n"
		want += itoa(n) + "\npart\n"
	}
	WriteFiles(t, dir, files)
	submit := func(word string) (Summary, []Event) {
		t.Helper()
		sum, events := anna.Submit(dir, "parts.yaml", "--out", "out", "-p", "word="+word)
		if got := readFile(t, filepath.Join(dir, "out/all.txt")); got != want+word+"\n" {
			t.Errorf("all.txt = %q, want %q", got, want+word+"\n")
		}
		return sum, events
	}

	// Each part is made by one node; the node that joins them fetches those of the other.
	_, events := submit("first")
	made, joiner := Shares(events), 0
	for _, e := range events {
		if e.Task == "all" && e.State == "done" {
			if e.Node == m.Nodes[1].Name {
				joiner = 1
			}
			made[e.Node]--
		}
	}
	// The other node holds its own parts, and the submitter the target.
	wipe(m, joiner)
	sum, again := submit("first")
	if want := made[m.Nodes[joiner].Name]; sum.Ran == 0 || sum.Ran > want || sum.Memo != sum.Tasks-sum.Ran {
		t.Errorf("with the parts gone that %s made, of %v: %+v, want %d runs, less what both nodes made", m.Nodes[joiner].Name, made, sum, want)
	}
	for _, e := range again {
		if e.Task == "all" && e.How == "ran" {
			t.Error("the target, which the submitter holds, was made again")
		}
	}

	wipe(m, 0)
	wipe(m, 1)
	sum, _ = submit("second")
	if sum.Ran != sum.Tasks {
		t.Errorf("with all parts gone: %+v, want every task run", sum)
	}
}

// Two submitters wait for one run; one of them gives up:
//
//	hub   node1   anna   ben
//	 |      |       X     |
//	 +------+--br0--+-----+
func TestOneOfTwoJobsGivesUp(t *testing.T) {
	m := NewMesh(t, bin, 1, 2)
	anna, ben := m.Client("anna"), m.Client("ben")
	graph := func(timeout string) map[string]string {
		return map[string]string{"slow.yaml": `
gaggle: 1
defaults: {tools: [sh, sleep]}
tasks:
  slow: {shell: "sleep 5; echo done > out", outputs: [out], timeout: ` + timeout + `}
targets: {slow.txt: "@slow/out"}
`}
	}
	start := func(h *Host, timeout string) *Process {
		dir := filepath.Join(h.Dir, "work")
		WriteFiles(t, dir, graph(timeout))
		p := h.Start("env", "-C", dir, "coord", "submit", "--json", "slow.yaml", "--out", "out")
		p.WaitLog(`"running"`)
		return p
	}
	// A shorter timeout ends a job, not the run that another waits for.
	long, short := start(ben, "1h"), start(anna, "1s")
	if code := short.WaitExit(); code != 1 || !strings.Contains(short.Log(), `"cause":"timeout"`) {
		t.Errorf("the job with a timeout of 1 s: exit %d\n%s", code, short.Log())
	}
	if code := long.WaitExit(); code != 0 {
		t.Errorf("the other: exit %d\n%s", code, long.Log())
	}
	if nodes := ben.Run("coord", "nodes"); !regexp.MustCompile(`B +1 +[0-9.]+ [kMG]?B`).MatchString(nodes) {
		t.Errorf("not one thunk ran for two jobs with one thunk:\n%s", nodes)
	}
}
