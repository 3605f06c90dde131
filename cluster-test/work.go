package clustertest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Work is a job in layers, each task of which sleeps and then makes a checksum of two results of the
// layer above, and some bytes of that: whatever goes wrong on the way shows in its one target.
type Work struct {
	Seed   string // what the first layer reads; another one makes another job
	Layers int
	Width  int
	Sleep  float64 // seconds, of each task
	Pad    int     // bytes of each result
}

// body is what a task runs after its sleep, with files a and b.
func (w *Work) body(a, b, out string) string {
	return fmt.Sprintf("cat %s %s | cksum > %s; yes \"$(cat %s)\" | head -c %d >> %s", a, b, out, out, w.Pad, out)
}

// name is that of a task; ups are the names of the two that it reads, "" for the input.
func (w *Work) name(layer, i int) string { return fmt.Sprintf("s%d-%d", layer, i) }

func (w *Work) ups(layer, i int) (a, b string) {
	if layer == 0 {
		return "", ""
	}
	return w.name(layer-1, i), w.name(layer-1, (i*i+layer)%w.Width)
}

// Write puts the graph work.json and its input into a directory.
func (w *Work) Write(t testing.TB, dir string) {
	t.Helper()
	tasks := map[string]any{}
	ref := func(name, own string) string {
		if name == "" {
			return own
		}
		return "@" + name + "/out"
	}
	last := map[string]string{}
	var names []string
	for layer := range w.Layers {
		for i := range w.Width {
			a, b := w.ups(layer, i)
			// The name makes tasks that read the same differ.
			shell := fmt.Sprintf("sleep %g; : %s; %s", w.Sleep, w.name(layer, i), w.body("a", "b", "out"))
			tasks[w.name(layer, i)] = map[string]any{
				"inputs": map[string]string{"a": ref(a, "seed"), "b": ref(b, fmt.Sprintf("seed%d", i))},
				"shell":  shell, "outputs": []string{"out"},
			}
		}
	}
	for i := range w.Width {
		name := w.name(w.Layers-1, i)
		last[name], names = "@"+name+"/out", append(names, name)
	}
	tasks["all"] = map[string]any{"inputs": last, "shell": "cat " + strings.Join(names, " ") + " > out", "outputs": []string{"out"}}
	graph := map[string]any{"gaggle": 1, "defaults": map[string]any{"tools": []string{"sh", "sleep", "cat", "cksum", "yes", "head"}},
		"tasks": tasks, "targets": map[string]string{"all": "@all/out"}}
	text, err := json.Marshal(graph)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"work.json": string(text)}
	for name, text := range w.inputs() {
		files[name] = text
	}
	WriteFiles(t, dir, files)
}

func (w *Work) inputs() map[string]string {
	files := map[string]string{"seed": w.Seed}
	for i := range w.Width {
		files[fmt.Sprintf("seed%d", i)] = fmt.Sprintln(w.Seed, i)
	}
	return files
}

// Serial returns what the target must be, by running every command in turn on this machine.
func (w *Work) Serial(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	WriteFiles(t, dir, w.inputs())
	var script strings.Builder
	for layer := range w.Layers {
		for i := range w.Width {
			a, b := w.ups(layer, i)
			if layer == 0 {
				a, b = "seed", fmt.Sprintf("seed%d", i)
			}
			fmt.Fprintln(&script, w.body(a, b, w.name(layer, i)))
		}
	}
	for i := range w.Width {
		fmt.Fprintf(&script, "cat %s >> all\n", w.name(w.Layers-1, i))
	}
	c := exec.Command("sh", "-eu", "-c", script.String())
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("running %s in turn: %v: %s", w.Seed, err, out)
	}
	return readFile(t, filepath.Join(dir, "all"))
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A Running is a Work that was submitted with --json.
type Running struct {
	*Process
	t    testing.TB
	work *Work
	dir  string
}

// StartWork submits a Work on the host, in a directory of its own.
func (h *Host) StartWork(w *Work, flags ...string) *Running {
	h.lab.t.Helper()
	dir := filepath.Join(h.Dir, w.Seed)
	w.Write(h.lab.t, dir)
	line := append([]string{"-C", dir, "coord", "submit", "work.json", "--out", "out", "--json"}, flags...)
	return &Running{h.Start("env", line...), h.lab.t, w, dir}
}

// Check waits for the end of the job, which must succeed, and compares its target with that of a
// serial run.
func (r *Running) Check() {
	r.t.Helper()
	if code := r.WaitExit(); code != 0 {
		r.t.Fatalf("exit %d:\n%s", code, r.Log())
	}
	if readFile(r.t, filepath.Join(r.dir, "out", "all")) != r.work.Serial(r.t) {
		r.t.Errorf("the target of %s differs from that of a serial run", r.work.Seed)
	}
}

// Unreached reports whether the command, which has ended, found no coordinator to submit the job to.
func (r *Running) Unreached() bool {
	log := r.Log()
	return strings.Contains(log, `"cause":"unreachable"`) && strings.Contains(log, "cannot be reached") && !strings.Contains(log, `"event":"task"`)
}

// Done returns when tasks ended, those of one node or of all if it is "", in order.
func (r *Running) Done(node string) (at []time.Time) {
	for line := range strings.Lines(r.Log()) {
		var e struct {
			Event, State, How, Node string
			At                      float64
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "task" && e.State == "done" && e.How == "ran" && (node == "" || e.Node == node) {
			at = append(at, time.UnixMicro(int64(e.At*1e6)))
		}
	}
	return at
}

// Recovered tells how a job fared with a fault that lasted from one time to another: the longest
// time without an ended task, and how soon after the fault one ended on the node, "" for any.
func (r *Running) Recovered(what, node string, from, to time.Time) {
	r.t.Helper()
	all := r.Done("")
	longest, last := time.Duration(0), from
	for _, at := range all {
		if at.After(from) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	where, after := "", "none"
	if node != "" {
		where = " on " + node
	}
	for _, at := range r.Done(node) {
		if at.After(to) {
			after = at.Sub(to).Round(10 * time.Millisecond).String()
			break
		}
	}
	r.t.Logf("%s for %v: longest time without an ended task %v; first one%s after the fault: %s", what,
		to.Sub(from).Round(10*time.Millisecond), longest.Round(10*time.Millisecond), where, after)
}
