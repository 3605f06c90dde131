package clustertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The disk of one node fills up in the middle of a job, and has room again later.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 1, 2)
	small := m.Lab.Host("small")
	disk := small.SmallDisk(64)
	m.nodes = append(m.nodes, m.StartNode(small, 2))
	job := m.Client("anna").StartWork(&Work{Seed: "disk", Layers: 8, Width: 6, Sleep: 1, Pad: 200_000})
	job.WaitLog(`"node":"small","run_s"`)
	begun := time.Now()
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	m.WaitState("small", "draining")
	t.Logf("the node says after %v that its disk is full", time.Since(begun).Round(10*time.Millisecond))
	time.Sleep(time.Second)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	m.WaitState("small", "up")
	t.Logf("it takes tasks again after %v", time.Since(freed).Round(10*time.Millisecond))
	job.Check()
	job.Recovered("the disk of a node is full", "small", begun, freed)
	if log := m.nodes[1].Log(); !strings.Contains(log, "disk is full") {
		t.Errorf("the node did not say that its disk is full:\n%s", log)
	}
}

// fill writes a file until nothing fits any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); len(chunk) > 0; {
		if _, err = f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}

// Something has written into the files of a node's store; and then a member speaks in the node's
// name that sends wrong bytes:
//
//	hub  node1 (first job)   node2   anna
//	 |   its store, damaged    |       |      second job
//	 |   a liar with its key   |       |      third job
//	 +-----------+----br0------+-------+
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 1, 2)
	anna := m.Client("anna")
	work := Work{Seed: "rot", Layers: 1, Width: 6, Sleep: 0.1, Pad: 150_000}
	anna.StartWork(&work).Check()
	if n := flipAll(t, filepath.Join(m.Nodes[0].Dir, "node", "store")); n < work.Width {
		t.Fatalf("%d blobs damaged, want the results of %d tasks", n, work.Width)
	}
	m.AddNode("node2", 2)
	begun := time.Now()
	work.Layers++
	job := anna.StartWork(&work, "--replace")
	job.Check()
	job.Recovered("blobs were damaged on node1", "", begun, begun)
	if n := strings.Count(m.nodes[0].Log(), "dropped an object"); n == 0 {
		t.Error("node1 did not notice that its blobs are damaged")
	}

	m.nodes[0].Kill()
	liar := m.Nodes[0].Start("liar", filepath.Join(m.Nodes[0].Dir, "node"))
	liar.WaitLog("lying")
	m.nodes[1].Kill() // what only it holds is gone, so that the liar is asked
	if err := os.RemoveAll(filepath.Join(m.Nodes[1].Dir, "node", "store")); err != nil {
		t.Fatal(err)
	}
	m.nodes[1] = m.Nodes[1].Start("node")
	m.nodes[1].WaitLog("joined")
	begun = time.Now()
	work.Layers++
	job = anna.StartWork(&work, "--replace")
	job.Check()
	job.Recovered("a member sends wrong bytes", "", begun, begun)
}

// flipAll inverts a byte in the middle of every blob of 100 kB and more: results, not programs,
// which run from where they are. It returns how many.
func flipAll(t *testing.T, store string) (n int) {
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || !info.Mode().IsRegular() || info.Size() < 100_000 || info.Size() > 250_000 ||
			!strings.Contains(path, "/store/s-") {
			return nil // gone, or none
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil
		}
		defer f.Close()
		var b [1]byte
		if _, err := f.ReadAt(b[:], info.Size()/2); err != nil {
			return err
		}
		b[0] ^= 0xff
		if _, err := f.WriteAt(b[:], info.Size()/2); err != nil {
			return err
		}
		n++
		return nil
	})
	if err != nil {
		t.Errorf("damaging blobs: %v", err)
	}
	return n
}
