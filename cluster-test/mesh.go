package clustertest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Mesh is a coordinator and its nodes in a lab.
type Mesh struct {
	Lab    *Lab
	Coord  *Host
	Nodes  []*Host
	Ticket string

	coord *Process
	nodes []*Process // of Nodes
	eye   *Host      // that asks how the nodes fare; nil until somebody does
}

// NewMesh starts a coordinator and n nodes of the given slots, each on a host of its own, and
// waits until the coordinator knows them.
func NewMesh(t testing.TB, bin string, n, slots int) *Mesh {
	t.Helper()
	m := newMesh(t, NewLab(t, bin))
	for i := range n {
		m.AddNode(fmt.Sprintf("node%d", i+1), slots)
	}
	return m
}

// NewPublicMesh starts a coordinator without nodes in a lab whose addresses are public ones: hole
// punching is for those only.
func NewPublicMesh(t testing.TB, bin string) *Mesh {
	t.Helper()
	l := NewLab(t, bin)
	l.net = "5.77.0"
	return newMesh(t, l)
}

func newMesh(t testing.TB, l *Lab) *Mesh {
	t.Helper()
	m := &Mesh{Lab: l}
	m.Coord = m.Lab.Host("hub")
	m.coord = m.Coord.Start("coord", "serve", "--state", filepath.Join(m.Coord.Dir, "serve"))
	m.coord.WaitLog("gag1-")
	ticket, err := os.ReadFile(filepath.Join(m.Coord.Dir, "serve", "ticket"))
	if err != nil {
		t.Fatal(err)
	}
	m.Ticket = strings.TrimSpace(string(ticket))
	return m
}

// AddNode starts a node on a new host and waits until it has joined.
func (m *Mesh) AddNode(name string, slots int, flags ...string) (*Host, *Process) {
	m.Lab.t.Helper()
	h := m.Lab.Host(name)
	p := m.StartNode(h, slots, flags...)
	m.Nodes, m.nodes = append(m.Nodes, h), append(m.nodes, p)
	return h, p
}

// StartNode starts a node on a host that is there and waits until it has joined.
func (m *Mesh) StartNode(h *Host, slots int, flags ...string) *Process {
	m.Lab.t.Helper()
	return m.startNode(h, m.Ticket, slots, flags...)
}

// AddNodeOf starts a node on a new host that belongs to somebody, and waits until it has joined.
func (m *Mesh) AddNodeOf(owner, name string, slots int, flags ...string) *Host {
	m.Lab.t.Helper()
	ticket := m.Coord.Run("coord", "ticket", "--owner", owner, "--state", filepath.Join(m.Coord.Dir, "serve"))
	h := m.Lab.Host(name)
	p := m.startNode(h, strings.TrimSpace(ticket), slots, flags...)
	m.Nodes, m.nodes = append(m.Nodes, h), append(m.nodes, p)
	return h
}

func (m *Mesh) startNode(h *Host, ticket string, slots int, flags ...string) *Process {
	m.Lab.t.Helper()
	args := append([]string{"--join", ticket, "--slots", fmt.Sprint(slots)}, flags...)
	p := h.Start("node", args...)
	p.WaitLog("joined")
	return p
}

// Client adds a host that is logged in and only submits.
func (m *Mesh) Client(name string) *Host {
	m.Lab.t.Helper()
	h := m.Lab.Host(name)
	m.Login(h)
	return h
}

// Login logs a host in and sees to it that its background process ends with the test.
func (m *Mesh) Login(h *Host) {
	m.Lab.t.Helper()
	h.Run("coord", "login", m.Ticket)
	m.Lab.t.Cleanup(func() { h.Try("coord", "agent", "--stop") })
}

// A Summary is the last line of coord submit --json.
type Summary struct {
	Event  string  `json:"event"`
	Job    string  `json:"job"`
	Tasks  int     `json:"tasks"`
	Ran    int     `json:"ran"`
	Memo   int     `json:"memo"`
	Failed int     `json:"failed"`
	Wall   float64 `json:"wall_s"`
	Moved  int64   `json:"moved_bytes"`
}

// An Event is a line of coord submit --json, as far as tests look at it.
type Event struct {
	Event string `json:"event"`
	Task  string `json:"task"`
	State string `json:"state"`
	How   string `json:"how"`
	Node  string `json:"node"`

	What  string  `json:"what"`
	Bytes uint64  `json:"bytes"`
	Took  float64 `json:"took_s"`
}

// Submit runs coord submit --json on the host in dir, which must succeed.
func (h *Host) Submit(dir string, args ...string) (Summary, []Event) {
	h.lab.t.Helper()
	line := append([]string{"-C", dir, "coord", "submit", "--json"}, args...)
	out := h.Run("env", line...)
	return ParseEvents(h.lab.t, out)
}

// ParseEvents reads the lines of coord submit --json.
func ParseEvents(t testing.TB, out string) (sum Summary, events []Event) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<24)
	var last string
	for lines.Scan() {
		last = lines.Text()
		var e Event
		if err := json.Unmarshal([]byte(last), &e); err != nil {
			t.Fatalf("line %q of --json: %v", last, err)
		}
		events = append(events, e)
	}
	if err := json.Unmarshal([]byte(last), &sum); err != nil || sum.Event != "summary" {
		t.Fatalf("last line of --json is %q, want the summary", last)
	}
	return sum, events
}

// Shares counts the thunks that each node ran.
func Shares(events []Event) map[string]int {
	shares := map[string]int{}
	for _, e := range events {
		if e.State == "done" && e.How == "ran" {
			shares[e.Node]++
		}
	}
	return shares
}

// WriteFiles writes files below dir, making directories as needed.
func WriteFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Eventually waits until ok holds, looking every tenth of a second.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.After(waitLimit)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// State returns what coord nodes says of a node, "" if it does not know it.
func (m *Mesh) State(name string) string {
	m.Lab.t.Helper()
	if m.eye == nil {
		m.eye = m.Client("eye")
	}
	for line := range strings.Lines(m.eye.Run("coord", "nodes")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return f[1]
		}
	}
	return ""
}

// WaitState waits until coord nodes says so of a node.
func (m *Mesh) WaitState(name, state string) {
	m.Lab.t.Helper()
	Eventually(m.Lab.t, name+" is "+state, func() bool {
		if m.State(name) == state {
			return true
		}
		time.Sleep(200 * time.Millisecond) // each look is a process
		return false
	})
}
