package clustertest

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each of four nodes is killed in turn, and started again a second later.
//
//	hub  node1  node2  node3  node4  anna
//	 |     X      X      X      X      |
//	 +-----+------+-br0--+------+------+
func TestEveryNodeKilledInTurn(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 4, 1)
	job := m.Client("anna").StartWork(&Work{Seed: "turn", Layers: 6, Width: 8, Sleep: 0.7, Pad: 20_000})
	job.WaitLog(`"how":"ran"`)
	for i, h := range m.Nodes {
		begun := time.Now()
		m.nodes[i].Kill()
		time.Sleep(time.Second)
		m.nodes[i] = h.Start("node")
		m.nodes[i].WaitLog("joined")
		back := time.Now()
		defer job.Recovered("killing "+h.Name, h.Name, begun, back)
	}
	job.Check()
	told := func(what string) bool { return strings.Contains(job.Log(), what) }
	if !told("connected again without what it was given") && !told("is silent; ") && !told("is lost; ") {
		t.Errorf("the submitter was told nothing of the nodes that were killed:\n%s", job.Log())
	}
}

// A node is killed for good: its tasks start again elsewhere, and it is shown to be lost. The submitter is told
// unless copies, begun as of stragglers, are done before it is missed (coord/sched TestNodeLostIsTold).
func TestNodeKilledForGood(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 3, 1)
	job := m.Client("anna").StartWork(&Work{Seed: "good", Layers: 4, Width: 6, Sleep: 0.5, Pad: 20_000})
	job.WaitLog(`"how":"ran"`)
	begun := time.Now()
	m.nodes[0].Kill()
	job.Check()
	job.Recovered("killing node1 for good", "", begun, begun)
	if log := job.Log(); !strings.Contains(log, "node1 is silent; ") && !strings.Contains(log, "node1 is lost; ") {
		t.Log("the job ended before node1 was missed")
	}
	m.WaitState("node1", "lost")
}

// The coordinator is killed three times in one job, and is away for a second each time. A second
// machine follows the job, too.
func TestCoordinatorKilledThreeTimes(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 3, 1)
	anna, ben := m.Client("anna"), m.Client("ben")
	job := anna.StartWork(&Work{Seed: "thrice", Layers: 6, Width: 6, Sleep: 0.7, Pad: 20_000})
	job.WaitLog(`"how":"ran"`)
	attached := ben.Start("env", "-C", ben.Dir, "coord", "attach", jobOf(t, job), "--out", "out")
	for range 3 {
		time.Sleep(1500 * time.Millisecond)
		begun := time.Now()
		m.coord.Kill()
		time.Sleep(time.Second)
		m.coord = m.Coord.Start("coord", "serve", "--state", filepath.Join(m.Coord.Dir, "serve"))
		m.coord.WaitLog("gag1-")
		back := time.Now()
		defer job.Recovered("killing the coordinator", "", begun, back)
	}
	job.Check()
	if code := attached.WaitExit(); code != 0 {
		t.Fatalf("coord attach on another machine: exit %d:\n%s", code, attached.Log())
	}
	if readFile(t, filepath.Join(ben.Dir, "out", "all")) != job.work.Serial(t) {
		t.Error("the target that coord attach brought to another machine differs from that of a serial run")
	}
}

// jobOf returns the id of a job that was accepted.
func jobOf(t *testing.T, job *Running) string {
	t.Helper()
	job.WaitLog(`"accepted"`)
	for line := range strings.Lines(job.Log()) {
		if strings.Contains(line, `"accepted"`) {
			_, rest, _ := strings.Cut(line, `"job":"`)
			id, _, _ := strings.Cut(rest, `"`)
			return id
		}
	}
	return ""
}
