package clustertest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/capture/programs"
)

// Programs run on a host that has none, not even a shell, from what was captured on another:
//
//	hub   bare (the node's binary alone)   other (this machine)   anna (this machine, submits)
//	 |      |                                |                      |
//	 +------+-------------------br0----------+----------------------+
func TestCapturedProgramsRunOnABareHost(t *testing.T) {
	disksInMemory(t)
	m := NewMesh(t, bin, 0, 0)
	bare := m.Lab.BareHost("bare", "node")
	node := m.StartNode(bare, 2, "--label", "bare=yes")
	m.AddNode("other", 1)
	anna := m.Client("anna")
	if doctor := bare.Run("node", "doctor"); !strings.Contains(doctor, "ran in a real slot") {
		t.Errorf("node doctor ran no thunk on the bare host:\n%s", doctor)
	}

	root := fmt.Sprintf("/proc/%d/root", node.cmd.Process.Pid)
	if got, want := names(t, root), []string{"dev", "node", "proc", "state", "sys", "tmp"}; !slices.Equal(got, want) {
		t.Fatalf("the bare host has %q in its root, want %q", got, want)
	}
	var plain []*programs.Program
	var own []job
	for _, p := range programs.All() {
		if slices.Contains(large, p.Name) {
			continue
		}
		dir := machineDir(t)
		why, err := p.Prepare(dir)
		switch {
		case err != nil:
			t.Fatal(err)
		case why != "":
			t.Logf("not run: %s: %s", p.Name, why)
			continue
		}
		for _, tool := range p.Tools {
			if _, err := os.Stat(root + p.Where(dir, tool)); !os.IsNotExist(err) {
				t.Fatalf("%s on the bare host: %v, want that it is not there", tool, err)
			}
		}
		if p.Plain() {
			plain = append(plain, p)
			continue
		}
		own = append(own, job{dir, []*programs.Program{p}})
	}
	ran, begun := 0, time.Now()
	for _, j := range append([]job{{machineDir(t), plain}}, own...) {
		ran += j.run(t, anna)
	}
	t.Logf("%d programs, %s", ran, time.Since(begun).Round(time.Second))
	if got := m.ran(anna); got["bare"] != ran || got["other"] != 0 {
		t.Errorf("the nodes ran %v, want %d on bare", got, ran)
	}
}

// large are programs that would move another gigabyte. They run in the sandbox with their capture
// alone in a test of package capture, as do all of the table.
var large = []string{"clang", "go", "R"}

// disksInMemory puts the hosts' disks into memory where there is much: the stores of two of them
// get a gigabyte each.
func disksInMemory(t *testing.T) {
	t.Helper()
	var fs unix.Statfs_t
	if unix.Statfs("/dev/shm", &fs) == nil && fs.Flags&unix.ST_NOEXEC == 0 && fs.Bavail*uint64(fs.Bsize) > 6<<30 {
		t.Setenv("TMPDIR", "/dev/shm")
	}
}

// machineDir makes a directory that a root may have.
func machineDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "gaggle-captured-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// A job is one graph of programs that were prepared in dir and have their search path in common.
type job struct {
	dir      string
	programs []*programs.Program
}

// run submits the job, checks what each of its programs printed, and returns how many there are.
func (j job) run(t *testing.T, from *Host) int {
	t.Helper()
	type task struct {
		Tools   []string `json:"tools"`
		Shell   string   `json:"shell"`
		Outputs []string `json:"outputs"`
	}
	tasks, targets := map[string]task{}, map[string]string{}
	for i, p := range j.programs {
		name := fmt.Sprintf("p%d", i)
		tasks[name] = task{p.Tools, p.Run, []string{"stdout"}}
		targets[name] = "@" + name + "/stdout"
	}
	graph, err := json.Marshal(map[string]any{"gaggle": 1, "tasks": tasks, "targets": targets,
		"defaults": map[string]any{"labels": map[string]string{"bare": "yes"}, "memory": "2GiB", "timeout": "2m"}})
	if err != nil {
		t.Fatal(err)
	}
	p, out := j.programs[0], filepath.Join(from.Dir, "out", filepath.Base(j.dir))
	file := filepath.Join(p.Dir(j.dir), "graph.json")
	if err := os.WriteFile(file, graph, 0o600); err != nil {
		t.Fatal(err)
	}
	o := from.Try("env", "PATH="+bin+":"+p.Path(j.dir), "coord", "submit", "-k", "--json", "--out", out, file)
	if o.Exit != 0 {
		t.Errorf("exit %d\n%s%s", o.Exit, o.Stdout, o.Stderr)
	}
	_, events := ParseEvents(t, o.Stdout)
	for _, e := range events {
		if e.Event == "captured" {
			t.Logf("%6.1f MB %6.1f s to capture %s", float64(e.Bytes)/1e6, e.Took, e.What)
		}
	}
	for i, p := range j.programs {
		if got := readFile(t, filepath.Join(out, fmt.Sprintf("p%d", i))); got != p.Want {
			t.Errorf("%s printed %q, want %q", p.Name, got, p.Want)
		}
	}
	return len(j.programs)
}
