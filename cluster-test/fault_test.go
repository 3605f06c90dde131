package clustertest

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slowGraph is a job of some seconds whose tasks each need an input of the submitter's.
const slowGraph = `
gaggle: 1
defaults: {tools: [sh, sleep, cat]}
tasks:
  step: {for: {n: {range: [0, 12]}}, inputs: {in: "data/{{n}}"}, shell: "sleep 1; cat in > out", outputs: [out]}
  all: {inputs: {parts: "@step/out"}, shell: "cat parts/* > out", outputs: [out]}
targets: {all.txt: "@all/out"}
`

func slowJob(t *testing.T, dir string) (want string) {
	files := map[string]string{"slow.yaml": slowGraph}
	for n := range 12 {
		name := string(rune('a' + n))
		files["data/"+itoa(n)] = name + "\n"
	}
	WriteFiles(t, dir, files)
	// The parts are in the order of their keys as text.
	for _, n := range []int{0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9} {
		want += string(rune('a'+n)) + "\n"
	}
	return want
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// The submitter's link is cut for 20 s in the middle of its job:
//
//	hub   node1   node2      anna
//	 |      |       |    X     |
//	 +------+-br0---+----------+
func TestAttachedJobWaitsForItsSubmitter(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 2, 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	want := slowJob(t, dir)
	job := anna.Start("env", "-C", dir, "coord", "submit", "slow.yaml", "--out", "out", "--json")
	job.WaitLog(`"running"`)
	anna.Cut()
	time.AfterFunc(20*time.Second, anna.Heal)
	if code := job.WaitExit(); code != 0 {
		t.Fatalf("exit %d after the cut:\n%s", code, job.Log())
	}
	if got := readFile(t, filepath.Join(dir, "out/all.txt")); got != want {
		t.Errorf("all.txt = %q, want %q", got, want)
	}
}

// A detached job outlives its submitter; another machine gets the result.
func TestDetachedJobNeedsNoSubmitter(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 3, 1)
	anna, ben := m.Client("anna"), m.Client("ben")
	dir := filepath.Join(anna.Dir, "work")
	want := slowJob(t, dir)
	out := anna.Run("env", "-C", dir, "coord", "submit", "slow.yaml", "--detach", "--json")
	_, events := ParseEvents(t, strings.TrimSpace(out)+"\n"+`{"event":"summary"}`)
	var job string
	for _, line := range strings.Split(out, "\n") {
		var e struct{ Event, Job string }
		if json.Unmarshal([]byte(line), &e) == nil && e.Job != "" {
			job = e.Job
		}
	}
	if job == "" {
		t.Fatalf("no job in %v", events)
	}
	anna.Run("coord", "agent", "--stop")
	anna.Cut()
	Eventually(t, "the job ends", func() bool {
		return strings.Contains(ben.Run("coord", "status", job), "done")
	})
	ben.Run("env", "-C", ben.Dir, "coord", "get", job, "--out", "out")
	if got := readFile(t, filepath.Join(ben.Dir, "out/all.txt")); got != want {
		t.Errorf("all.txt = %q, want %q", got, want)
	}
}

// One of two nodes is killed in the middle of a job, and comes back without flags.
func TestKilledNodeCostsTimeOnly(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 2, 2)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	want := slowJob(t, dir)
	job := anna.Start("env", "-C", dir, "coord", "submit", "slow.yaml", "--out", "out", "--json")
	job.WaitLog(`"how":"ran"`)
	m.nodes[0].Kill()
	again := m.Nodes[0].Start("node")
	again.WaitLog("joined")
	if code := job.WaitExit(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, job.Log())
	}
	if got := readFile(t, filepath.Join(dir, "out/all.txt")); got != want {
		t.Errorf("all.txt = %q, want %q", got, want)
	}
}

// The coordinator is killed in the middle of a job and started again.
func TestKilledCoordinatorGoesOn(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 2, 2)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	want := slowJob(t, dir)
	job := anna.Start("env", "-C", dir, "coord", "submit", "slow.yaml", "--out", "out", "--json")
	job.WaitLog(`"how":"ran"`)
	m.coord.Kill()
	m.coord = m.Coord.Start("coord", "serve", "--state", filepath.Join(m.Coord.Dir, "serve"))
	if code := job.WaitExit(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, job.Log())
	}
	if got := readFile(t, filepath.Join(dir, "out/all.txt")); got != want {
		t.Errorf("all.txt = %q, want %q", got, want)
	}
}
