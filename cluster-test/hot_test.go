package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A hot is one input that a task on each node reads.
type hot struct {
	files, size int // one file of this size, or a tree of so many
}

// A star is a mesh in which one machine has what all nodes need.
type star struct {
	*Mesh
	anna  *Host
	dir   string // hers
	nodes int
	mbit  int
}

// newStar makes a mesh and has a job run on each node, so that what tasks need besides is there.
func newStar(t testing.TB, nodes, mbit int) *star {
	t.Helper()
	m := &star{Mesh: NewMesh(t, bin, 0, 0), nodes: nodes, mbit: mbit}
	m.anna = m.Client("anna")
	m.dir = filepath.Join(m.anna.Dir, "hot")
	for i := range nodes {
		node, _ := m.AddNode(m.node(i), 1, "--label", "at="+m.node(i))
		node.Rate(mbit)
	}
	WriteFiles(t, m.dir, map[string]string{"warm.json": m.graph(t, "seed"), "seed": "warm\n"})
	if sum, _ := m.anna.Submit(m.dir, "--out", "warm", "warm.json"); sum.Ran != nodes {
		t.Fatalf("to begin with %d tasks ran, want %d", sum.Ran, nodes)
	}
	m.anna.Rate(mbit)
	return m
}

// run has every node read an input that only anna has. It returns how long that took in times of one
// link, and what left her machine meanwhile in multiples of the input.
func (m *star) run(t testing.TB, name string, h hot) (slower, sent float64) {
	t.Helper()
	want := h.input(t, filepath.Join(m.dir, name))
	slower, sent = m.read(t, name, h.files*h.size)
	for i := range m.nodes {
		if got := readFile(t, filepath.Join(m.dir, name+".out", m.node(i))); got != want {
			t.Errorf("%s read %q, want %q", m.node(i), got, want)
		}
	}
	return slower, sent
}

// read is run for an input of so many bytes that is there.
func (m *star) read(t testing.TB, name string, size int) (slower, sent float64) {
	t.Helper()
	WriteFiles(t, m.dir, map[string]string{name + ".json": m.graph(t, name)})
	before, begun := m.anna.sent(), time.Now()
	if sum, _ := m.anna.Submit(m.dir, "--out", name+".out", name+".json"); sum.Ran != m.nodes {
		t.Fatalf("%d tasks ran, want %d", sum.Ran, m.nodes)
	}
	took := time.Since(begun)
	bytes := float64(size)
	slower, sent = took.Seconds()*float64(m.mbit)*1e6/8/bytes, float64(m.anna.sent()-before)/bytes
	t.Logf("%s of %.1f MiB to %d nodes at %d Mbit/s: %s, %.2fx the time of one link; its holder sent %.2fx", name, bytes/(1<<20), m.nodes, m.mbit, took.Round(100*time.Millisecond), slower, sent)
	return slower, sent
}

func (m *star) node(i int) string { return fmt.Sprintf("n%d", i+1) }

// graph has a task on each node that makes a checksum of the input, or of all files in it in order.
func (m *star) graph(t testing.TB, input string) string {
	tasks, targets := map[string]any{}, map[string]string{}
	for i := range m.nodes {
		n := m.node(i)
		tasks[n] = map[string]any{"labels": map[string]string{"at": n}, "inputs": map[string]string{"in": input}, "outputs": []string{"out"},
			"shell": ": " + n + "; if test -d in; then cat in/*; else cat in; fi | cksum > out"}
		targets[n] = "@" + n + "/out"
	}
	text, err := json.Marshal(map[string]any{"gaggle": 1, "tasks": tasks, "targets": targets,
		"defaults": map[string]any{"tools": []string{"sh", "cat", "cksum", "test"}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// input writes what is to be read, and returns its checksum.
func (h *hot) input(t testing.TB, path string) string {
	t.Helper()
	noise := rand.NewChaCha8([32]byte{byte(h.files)})
	data := make([]byte, h.size)
	all, err := os.Create(path + ".all")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	for i := range h.files {
		noise.Read(data)
		if _, err := all.Write(data); err != nil {
			t.Fatal(err)
		}
		if h.files > 1 {
			WriteFiles(t, path, map[string]string{fmt.Sprintf("%05d", i): string(data)})
		}
	}
	if h.files == 1 {
		WriteFiles(t, filepath.Dir(path), map[string]string{filepath.Base(path): string(data)})
	}
	if _, err := all.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("cksum")
	c.Stdin = all
	sum, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(sum)
}

// sent returns the bytes that have left the host by its first interface.
func (h *Host) sent() int64 { return h.sentBy("eth0") }

func (h *Host) sentBy(dev string) int64 {
	h.lab.t.Helper()
	var links []struct {
		Stats struct {
			TX struct {
				Bytes int64 `json:"bytes"`
			} `json:"tx"`
		} `json:"stats64"`
	}
	out := h.lab.output("ip", "-n", h.ns, "-s", "-j", "link", "show", "dev", dev)
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		h.lab.t.Fatalf("ip -s link: %v: %s", err, out)
	}
	return links[0].Stats.TX.Bytes
}

// What one machine has goes to six nodes, each of which needs it:
//
//	hub   anna (has it)   n1  n2  n3  n4  n5  n6     40 Mbit/s each
//	 |      |             |   |   |   |   |   |
//	 +------+-------------+---+--br0--+---+---+
//
// Were anna to send it to each, she would send it six times.
func TestHotInputLeavesItsHolderFewTimes(t *testing.T) {
	m := newStar(t, 6, 40)
	if _, sent := m.run(t, "blob", hot{1, 12 << 20}); sent > 5 {
		t.Errorf("the blob's holder sent it %.2f times, want 5 at most", sent)
	}
	if _, sent := m.run(t, "tree", hot{300, 16 << 10}); sent > 5 {
		t.Errorf("the tree's holder sent it %.2f times, want 5 at most", sent)
	}
}

// BenchmarkHotInput is the same at the size of GAGGLE_HOT, "NODES MBIT MIB" (16 20 64): a blob, and a tree
// of 2,000 files. The star is the same bytes from anna to every node over TCP at once, an eighth of them.
func BenchmarkHotInput(b *testing.B) {
	num := [3]int{16, 20, 64}
	for i, text := range strings.Fields(os.Getenv("GAGGLE_HOT")) {
		n, err := strconv.Atoi(text)
		if err != nil || i >= len(num) {
			b.Fatalf("GAGGLE_HOT: %q", text)
		}
		num[i] = n
	}
	for range b.N {
		m := newStar(b, num[0], num[1])
		// Whatever takes longer than a star has nothing to show.
		m.anna.limit = commandLimit + time.Duration(num[0]*num[2]*8<<20/num[1])*time.Microsecond
		for _, h := range []struct {
			name  string
			files int
		}{{"blob", 1}, {"tree", 2000}} {
			slower, sent := m.run(b, h.name, hot{h.files, num[2] << 20 / h.files})
			b.ReportMetric(slower, "x-one-link-"+h.name)
			b.ReportMetric(sent, "x-sent-"+h.name)
		}
		b.ReportMetric(m.star(b, num[2]<<20/8), "x-one-link-star")
	}
}

// star sends so many bytes from anna to every node over TCP at once, and returns how long that takes in
// times of one link.
func (m *star) star(t testing.TB, size int) float64 {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("the star is served by python3: apt-get install python3")
	}
	if err := os.Truncate(filepath.Join(m.dir, "seed"), int64(size)); err != nil {
		t.Fatal(err)
	}
	m.anna.Start("python3", "-m", "http.server", "--directory", m.dir, "8000")
	get := fmt.Sprintf("import urllib.request as u; print(len(u.urlopen('http://%s:8000/seed').read()))", m.anna.Addr)
	Eventually(t, "the server answers", func() bool {
		return m.anna.Try("python3", "-c", strings.Replace(get, "/seed", "/warm.json", 1)).Exit == 0
	})
	begun := time.Now()
	var all sync.WaitGroup
	for _, n := range m.Nodes {
		all.Go(func() {
			if got := strings.TrimSpace(n.Run("python3", "-c", get)); got != fmt.Sprint(size) {
				t.Errorf("%s got %s bytes", n.Name, got)
			}
		})
	}
	all.Wait()
	return time.Since(begun).Seconds() * float64(m.mbit) * 1e6 / 8 / float64(size)
}
