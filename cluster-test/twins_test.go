package clustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The state directory of a node is copied to another machine, and both run:
//
//	hub  node1  node2  copy  anna
//	 |     |      |     |      |       node1 and copy have one key
//	 +-----+-br0--+-----+------+
func TestTwoNodesWithOneKey(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 2, 1)
	job := m.Client("anna").StartWork(&Work{Seed: "twins", Layers: 8, Width: 3, Sleep: 0.8, Pad: 20_000})
	job.WaitLog(`"node":"node1","run_s"`)
	copied := m.Lab.Host("copy")
	if err := os.Mkdir(filepath.Join(copied.Dir, "node"), 0o711); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"node/key", "node/config.json"} {
		text := readFile(t, filepath.Join(m.Nodes[0].Dir, name))
		if err := os.WriteFile(filepath.Join(copied.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	twin := copied.Start("node")
	for _, p := range []*Process{m.nodes[0], twin} {
		if code := p.WaitExit(); code == 0 || !strings.Contains(p.Log(), "two processes use the key of node1") {
			t.Errorf("a node whose key another one uses ended with %d:\n%s", code, p.Log())
		}
	}
	ended := time.Now()
	t.Logf("both are told after %v:\n%s", ended.Sub(begun).Round(10*time.Millisecond), twin.Log())
	if m.eye == nil {
		m.eye = m.Client("eye")
	}
	if nodes := m.eye.Run("coord", "nodes"); !strings.Contains(nodes, "two processes use the key of node1") {
		t.Errorf("coord nodes does not name them:\n%s", nodes)
	}
	job.WaitLog("two processes use the key of node1")
	// The copy is gone: one of them may work again.
	Eventually(t, "node1 alone is welcome", func() bool {
		m.nodes[0] = m.Nodes[0].Start("node")
		return m.nodes[0].out.wait("joined")
	})
	back := time.Now()
	t.Logf("one of them is welcome after %v", back.Sub(begun).Round(10*time.Millisecond))
	job.Check()
	job.Recovered("two nodes have one key", "node1", begun, back)
}
