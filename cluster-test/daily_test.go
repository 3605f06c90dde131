package clustertest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// killAgent ends the host's background process as kill -9 does.
func (h *Host) killAgent(t *testing.T) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, filepath.Join(h.Dir, "coord", "agent.lock"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the background process is gone", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// One machine is a node of a mesh and works on its own beside it; another looks on:
//
//	hub   both (node, and coord submit, --local too)   ben
//	 |      |                                           |
//	 +------+-------------------br0---------------------+
func TestNodeBesideALocalRun(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	both, _ := m.AddNode("both", 1)
	m.Login(both)
	ben := m.Client("ben")
	dir := filepath.Join(both.Dir, "work")
	WriteFiles(t, dir, map[string]string{"talk.yaml": `
gaggle: 1
params: {word: hello}
tasks:
  talk: {tools: [sh], shell: "echo {{word}} there; echo aside >&2; echo {{word}} > out", outputs: [out]}
targets: {out: "@talk/out"}
`})
	mesh := both.Start("env", "-C", dir, "coord", "submit", "--json", "talk.yaml", "--out", "mesh")
	local := both.Start("env", "-C", dir, "coord", "submit", "--json", "talk.yaml", "--out", "local", "--local", "-p", "word=bye")
	if code := mesh.WaitExit() + local.WaitExit(); code != 0 {
		t.Fatalf("the runs failed:\n%s\n%s", mesh.Log(), local.Log())
	}
	if got := readFile(t, filepath.Join(dir, "mesh/out")) + readFile(t, filepath.Join(dir, "local/out")); got != "hello\nbye\n" {
		t.Errorf("the runs gave %q, want hello and bye", got)
	}

	// Afterwards there is what its task printed, also of the local one. Another member sees the
	// mesh's job, and is told who knows more.
	if out := ben.Run("coord", "status"); strings.Count(out, "talk.yaml") != 1 || !strings.Contains(out, "done") {
		t.Errorf("status elsewhere:\n%s", out)
	}
	if o := ben.Try("coord", "logs", "talk"); o.Exit != 2 || !strings.Contains(o.Stderr, "known on both, which submitted it") {
		t.Errorf("logs elsewhere: exit %d, %q, %q", o.Exit, o.Stdout, o.Stderr)
	}
	if o := both.Try("coord", "logs", "talk"); o.Exit != 0 || o.Stdout != "hello there\n" || !strings.Contains(o.Stderr, "aside") {
		t.Errorf("logs of the run: exit %d, %q, %q", o.Exit, o.Stdout, o.Stderr)
	}
	if o := both.Try("coord", "logs", "talk", "--local"); o.Exit != 0 || o.Stdout != "bye there\n" {
		t.Errorf("logs of the local run: exit %d, %q, %q", o.Exit, o.Stdout, o.Stderr)
	}
}

// The owner of the submitter's state is killed in the middle of a job. The next command starts
// another, which follows the job; what had ended is in the memo:
//
//	hub   node1   anna (background process killed)
//	 |      |       |
//	 +------+-br0---+
func TestKilledAgentLosesNothing(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 1, 2)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	want := slowJob(t, dir)
	job := anna.Start("env", "-C", dir, "coord", "submit", "--json", "slow.yaml", "--out", "out")
	job.WaitLog(`"how":"ran"`)
	_, id, _ := strings.Cut(job.Log(), `"job":"`)
	id, _, _ = strings.Cut(id, `"`)
	anna.killAgent(t)
	if code := job.WaitExit(); code != 3 || !strings.Contains(job.Log(), "background process was ended") {
		t.Errorf("the command without its background process: exit %d\n%s", code, job.Log())
	}
	if out := anna.Run("coord", "status"); !strings.Contains(out, "slow.yaml") {
		t.Errorf("status after the kill:\n%s", out)
	}
	anna.Run("coord", "attach", id, "--out", filepath.Join(dir, "attached"))
	if got := readFile(t, filepath.Join(dir, "attached/all.txt")); got != want {
		t.Errorf("all.txt = %q, want %q", got, want)
	}
	again, _ := anna.Submit(dir, "slow.yaml", "--out", "again")
	if again.Ran != 0 || again.Memo != again.Tasks {
		t.Errorf("again: %+v, want all from the memo", again)
	}
}

// Ctrl-C ends the work on the node, which is free for other work at once, and the command says
// so:
//
//	hub   node1 (1 slot)   anna
//	 |      |                |
//	 +------+------br0-------+
func TestInterruptCancelsRemoteWork(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 1, 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"long.yaml": `
gaggle: 1
defaults: {tools: [sh, sleep]}
tasks:
  quick: {shell: "echo q > out", outputs: [out]}
  long: {inputs: {q: "@quick/out"}, shell: "echo begun; sleep 3600; echo 1 > out", outputs: [out]}
targets: {long: "@long/out"}
`, "quick.yaml": `
gaggle: 1
defaults: {tools: [sh, sleep]}
tasks:
  quick: {shell: "echo q > out", outputs: [out]}
  other: {inputs: {q: "@quick/out"}, shell: "echo o > out", outputs: [out]}
targets: {out: "@other/out"}
`})
	job := anna.Start("env", "-C", dir, "coord", "submit", "long.yaml", "--out", "out")
	job.WaitLog("job j")
	Eventually(t, "a task of the job runs", func() bool {
		return strings.Contains(anna.Try("coord", "logs", "long").Stdout, "begun")
	})
	job.Signal(syscall.SIGINT)
	if code := job.WaitExit(); code != 130 {
		t.Errorf("exit %d after Ctrl-C, want 130", code)
	}
	for _, want := range []string{"cancelling the job; what has finished stays in the memo", "interrupt again to leave at once"} {
		if !strings.Contains(job.Log(), want) {
			t.Errorf("Ctrl-C did not say %q:\n%s", want, job.Log())
		}
	}
	if out := anna.Run("coord", "status"); !strings.Contains(out, "cancelled") {
		t.Errorf("status after Ctrl-C:\n%s", out)
	}
	// The one slot takes other work, and what was finished is known.
	sum, _ := anna.Submit(dir, "quick.yaml", "--out", "out")
	if sum.Ran != 1 || sum.Memo != 1 {
		t.Errorf("the next job: %+v, want one run and one from the memo", sum)
	}
	if _, err := os.Stat(filepath.Join(dir, "out/long")); err == nil {
		t.Error("the cancelled job wrote its target")
	}
}

// A node is stopped and started again without flags, and a second machine joins with the ticket
// that the first one used:
//
//	hub   node1 (started twice)   node2 (later)   anna
//	 |      |                       |               |
//	 +------+-----------br0---------+---------------+
func TestNodeStartsAgainWithoutFlags(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	h, p := m.AddNode("node1", 2, "--label", "disk=ssd")
	anna := m.Client("anna")
	p.Signal(syscall.SIGTERM)
	if code := p.WaitExit(); code != 0 {
		t.Errorf("the node ended with %d when asked to, want 0", code)
	}
	Eventually(t, "the coordinator has taken leave of it", func() bool {
		return strings.Contains(m.coord.Log(), "node node1 left\n")
	})
	h.Start("node").WaitLog("as node1: 2 slots")
	m.AddNode("node2", 1)
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"ssd.yaml": `
gaggle: 1
defaults: {tools: [sh, sleep]}
tasks:
  ssd: {for: {n: {range: [0, 4]}}, labels: {disk: ssd}, shell: "echo {{n}} > out", outputs: [out]}
targets: {"all/": "@ssd/out"}
`})
	_, events := anna.Submit(dir, "ssd.yaml", "--out", "out")
	if shares := Shares(events); shares["node1"] != 4 {
		t.Errorf("shares %v, want all on node1, whose label was kept", shares)
	}
	nodes := anna.Run("coord", "nodes")
	for _, name := range []string{"node1", "node2", "anna"} {
		if !strings.Contains(nodes, name) {
			t.Errorf("coord nodes lacks %s:\n%s", name, nodes)
		}
	}
}
