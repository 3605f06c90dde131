package clustertest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const shoutGraph = `
gaggle: 1
params: {round: 0}
tasks:
  shout:
    for: {n: {range: [0, 40]}}
    tools: [sh, tr, cat, head]
    shell: "echo hello {{n}} {{round}} | tr a-z A-Z > out"
    outputs: [out]
  all: {inputs: {parts: "@shout/out"}, tools: [sh, cat], shell: "cat parts/* > out", outputs: [out]}
targets: {all.txt: "@all/out"}
`

// One of four nodes of four owners has a tool whose bytes have changed on its disk, so that it gives
// other values than the rest and does not notice:
//
//	hub   node1   node2   node3   node4   anna
//	      anna    bert    carl    dora
//	              (tr does not shout)
//
// A job that wants its tasks verified finds out, says which node it is, and ends with what the others
// give.
func TestNodeWithWrongValuesIsFoundOut(t *testing.T) {
	m := NewMesh(t, bin, 0, 0)
	for i, owner := range []string{"anna", "bert", "carl", "dora"} {
		m.AddNodeOf(owner, "node"+itoa(i+1), 1)
	}
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"shout.yaml": shoutGraph})
	_, events := anna.Submit(dir, "shout.yaml", "--out", "out")
	honest := readFile(t, filepath.Join(dir, "out/all.txt"))
	if Shares(events)["node2"] == 0 {
		t.Fatalf("node2 ran nothing: %v", Shares(events))
	}
	changeTool(t, m.Nodes[1].Dir, "tr", "#!/bin/sh\nexec head -c 1000\n")

	// Without verification the lie goes unnoticed, which shows that it is one.
	anna.Submit(dir, "shout.yaml", "--out", "out1", "-p", "round=1")
	want := strings.ReplaceAll(honest, " 0\n", " 1\n")
	if got := readFile(t, filepath.Join(dir, "out1/all.txt")); got == want {
		t.Fatal("the changed tool changed nothing")
	}

	start := time.Now()
	job := anna.Start("env", "-C", dir, "coord", "submit", "shout.yaml", "--verify", "50%", "--out", "out2", "-p", "round=2")
	if code := job.WaitExit(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, job.Log())
	}
	t.Logf("found out and made good in %.1f s", time.Since(start).Seconds())
	if got := readFile(t, filepath.Join(dir, "out2/all.txt")); got != strings.ReplaceAll(honest, " 0\n", " 2\n") {
		t.Errorf("the values are not those of honest nodes:\n%s", got)
	}
	if !strings.Contains(job.Log(), "node2 is quarantined: it gave a value of task") {
		t.Errorf("the submitter is not told:\n%s", job.Log())
	}
	nodes := anna.Run("coord", "nodes")
	if strings.Count(nodes, "quarantined") != 2 || !strings.Contains(nodes, "node2 is quarantined: it gave a value of task") {
		t.Errorf("coord nodes does not show node2, and only that, as quarantined:\n%s", nodes)
	}

	// Nothing that it claimed before is believed any more.
	anna.Submit(dir, "shout.yaml", "--out", "out3", "-p", "round=1")
	if got := readFile(t, filepath.Join(dir, "out3/all.txt")); got != want {
		t.Errorf("a value of the liar's is still believed:\n%s", got)
	}
}

// changeTool overwrites a program in all roots that a node has laid out, as a bad disk might:
// length, times and mode stay.
func changeTool(t *testing.T, dir, name, script string) {
	t.Helper()
	changed := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != name || !e.Type().IsRegular() || !strings.Contains(path, "/resident/") {
			return nil // some directories go while we look
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		text := append([]byte(script), bytes.Repeat([]byte("\n"), int(fi.Size())-len(script))...)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(text); err != nil {
			return err
		}
		changed++
		return os.Chtimes(path, fi.ModTime(), fi.ModTime())
	})
	if err != nil || changed == 0 {
		t.Fatalf("changed %d copies of %s below %s: %v", changed, name, dir, err)
	}
}
