package clustertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The benchmarks run the built coord on this machine alone, with a state directory of their own,
// and report rates by the summary of coord submit --json. Run them with make bench.

// A solo is a state directory without a mesh.
type solo struct {
	b   testing.TB
	dir string
}

func newSolo(b testing.TB) *solo {
	s := &solo{b, b.TempDir()}
	b.Cleanup(func() {
		pid, err := s.agent()
		if err != nil {
			return // none was started
		}
		s.coord("agent", "--stop")
		Eventually(b, "the background process ends", func() bool {
			_, err := os.Stat("/proc/" + pid)
			return err != nil
		})
		if err := removeAll(filepath.Join(s.dir, "state")); err != nil {
			b.Error(err)
		}
	})
	return s
}

// agent returns the process id of the background process.
func (s *solo) agent() (string, error) {
	pid, err := os.ReadFile(filepath.Join(s.dir, "state", "agent.lock"))
	return strings.TrimSpace(string(pid)), err
}

func (s *solo) coord(args ...string) (string, error) {
	c := exec.Command(filepath.Join(bin, "coord"), args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "GAGGLE_STATE="+filepath.Join(s.dir, "state"), "GAGGLE_MESH=")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("coord %s: %w\n%s%s", strings.Join(args, " "), err, tail(stdout.String()), tail(stderr.String()))
	}
	return stdout.String(), nil
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func (s *solo) submit(graph any) Summary {
	s.b.Helper()
	text, err := json.Marshal(graph)
	if err != nil {
		s.b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "graph.json"), text, 0o644); err != nil {
		s.b.Fatal(err)
	}
	out, err := s.coord("submit", "--local", "--json", "--replace", "--out", "out", "graph.json")
	if err != nil {
		s.b.Fatal(err)
	}
	sum, _ := ParseEvents(s.b, out)
	return sum
}

// peakMemory returns the most memory that the background process has held, in MiB.
func (s *solo) peakMemory() float64 {
	s.b.Helper()
	pid, err := s.agent()
	if err != nil {
		s.b.Fatal(err)
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		s.b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	s.b.Fatal("no VmHWM in /proc/pid/status")
	return 0
}

type obj = map[string]any

// flat is a graph of n thunks that do nothing, told apart by salt, and a tree above them that
// does nothing with what they left.
func flat(n int, salt string) obj {
	return obj{"gaggle": 1, "defaults": obj{"tools": []string{"true"}},
		"tasks": obj{
			"nop": obj{"for": obj{"i": obj{"range": []int{0, n}}}, "env": obj{"SALT": salt}, "run": []string{"true"}, "outputs": []string{"stdout"}},
			"end": obj{"reduce": obj{"from": "@nop/stdout", "by": 500}, "env": obj{"SALT": salt}, "run": []string{"true"}, "outputs": []string{"stdout"}},
		},
		"targets": obj{"end": "@end/stdout"}}
}

// chain is a graph of n thunks, each of which reads the one before.
func chain(n int, salt string) obj {
	tasks := obj{"t0": obj{"tools": []string{"sh"}, "shell": "echo " + salt + " > out", "outputs": []string{"out"}}}
	for i := 1; i < n; i++ {
		tasks[fmt.Sprint("t", i)] = obj{"tools": []string{"sh"}, "inputs": obj{"in": fmt.Sprintf("@t%d/out", i-1)},
			"shell": "read x < in; echo $x. > out", "outputs": []string{"out"}}
	}
	return obj{"gaggle": 1, "tasks": tasks, "targets": obj{"end": fmt.Sprintf("@t%d/out", n-1)}}
}

// BenchmarkNoopThunks runs commands that do nothing, then takes all of them from the memo; x-NAME is our rate
// of running them in times of that of NAME, which had its turn in between.
func BenchmarkNoopThunks(b *testing.B) {
	s := newSolo(b)
	const n = 2000
	s.submit(flat(10, "warm"))
	for i := 0; b.Loop(); i++ {
		ran := s.submit(flat(n, fmt.Sprint(i)))
		memo := s.submit(flat(n, fmt.Sprint(i)))
		if ran.Ran < n || memo.Memo < n {
			b.Fatalf("ran %+v, then %+v", ran, memo)
		}
		rate := float64(ran.Ran) / ran.Wall
		b.ReportMetric(rate, "thunks/s")
		b.ReportMetric(float64(memo.Memo)/memo.Wall, "memo/s")
		for _, o := range others() {
			b.ReportMetric(rate*o.flat(b, n).Seconds()/n, "x-"+o.name)
		}
	}
}

// BenchmarkChain runs shells that wait for each other; x-NAME is what NAME takes for a link in times of what
// we take.
func BenchmarkChain(b *testing.B) {
	s := newSolo(b)
	const n = 300
	s.submit(chain(2, "warm"))
	for i := 0; b.Loop(); i++ {
		sum := s.submit(chain(n, fmt.Sprint(i)))
		b.ReportMetric(1000*sum.Wall/n, "ms/link")
		for _, o := range others() {
			if o.chain != nil {
				b.ReportMetric(o.chain(b, n).Seconds()/sum.Wall, "x-"+o.name)
			}
		}
	}
}

// BenchmarkLargeGraph submits 10^5 thunks twice; the second time all are known.
func BenchmarkLargeGraph(b *testing.B) {
	s := newSolo(b)
	const n = 100_000
	for i := 0; b.Loop(); i++ {
		ran := s.submit(flat(n, fmt.Sprint(i)))
		b.ReportMetric(float64(ran.Ran)/ran.Wall, "thunks/s")
		memo := s.submit(flat(n, fmt.Sprint(i)))
		b.ReportMetric(float64(memo.Memo)/memo.Wall, "memo/s")
		b.ReportMetric(s.peakMemory(), "peak-MiB")
	}
}

// BenchmarkTrust submits thunks that do nothing to a mesh of one node, twice each: for a job that
// believes anybody, then for one that believes own nodes and has it shown.
func BenchmarkTrust(b *testing.B) {
	m := NewMesh(b, bin, 0, 0)
	m.AddNodeOf("anna", "node1", 2)
	laptop := m.Lab.Host("laptop")
	m.Ticket = strings.TrimSpace(m.Coord.Run("coord", "ticket", "--owner", "anna", "--state", filepath.Join(m.Coord.Dir, "serve")))
	m.Login(laptop)
	dir := filepath.Join(laptop.Dir, "work")
	const n = 2000
	submit := func(salt, trust string) Summary {
		text, err := json.Marshal(flat(n, salt))
		if err != nil {
			b.Fatal(err)
		}
		WriteFiles(b, dir, map[string]string{"graph.json": string(text)})
		sum, _ := laptop.Submit(dir, "graph.json", "--trust", trust, "--out", "out", "--replace")
		return sum
	}
	submit("warm", "own")
	for i := 0; b.Loop(); i++ {
		for _, trust := range []string{"any", "own"} {
			ran := submit(fmt.Sprint(trust, i), trust)
			memo := submit(fmt.Sprint(trust, i), trust)
			if ran.Ran < n || memo.Memo < n {
				b.Fatalf("ran %+v, then %+v", ran, memo)
			}
			b.ReportMetric(float64(ran.Ran)/ran.Wall, trust+"-thunks/s")
			b.ReportMetric(float64(memo.Memo)/memo.Wall, trust+"-memo/s")
		}
	}
}
