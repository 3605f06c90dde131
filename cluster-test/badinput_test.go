package clustertest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A node whose disk is full says so and takes no work; the job waits for one that has room:
//
//	hub   small (state on 48 MiB)   anna      later: large
//	 |      |                        |          |
//	 +------+---------br0------------+----------+
func TestFullDiskDrainsTheNode(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	h := m.Lab.Host("small")
	state := filepath.Join(h.Dir, "node")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("gaggle-test", state, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(state, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	small := m.StartNode(h, 1, "--store-max", "1GiB") // more than there is
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"big.yaml": `
gaggle: 1
defaults: {tools: [sh, head, cat, cksum]}
tasks:
  little: {shell: "echo a little > out", outputs: [out]}
  big: {for: {n: {range: [0, 3]}}, inputs: {in: "@little/out"}, shell: "{ cat in; head -c 30000000 /dev/zero; } > out; echo {{n}} >> out", outputs: [out]}
  sum: {inputs: {big: "@big/out"}, shell: "cat big/* | cksum > sum", outputs: [sum]}
targets: {sum: "@sum/sum", little: "@little/out"}
`})
	job := anna.Start("env", "-C", dir, "coord", "submit", "--json", "big.yaml", "--out", "out")
	small.WaitLog("disk")
	m.AddNode("large", 1)
	if code := job.WaitExit(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, job.Log())
	}
	sum, events := ParseEvents(t, job.Log())
	t.Logf("%+v, shares %v; the node said:\n%sthe job:\n%s", sum, Shares(events), small.Log(), job.Log())
	if got := readFile(t, filepath.Join(dir, "out/little")); got != "a little\n" {
		t.Errorf("little = %q", got)
	}
}

// The output of a task is spoilt on the only disk that has it. The node that needs it finds out
// and it is made again:
//
//	hub   node1 (a, spoilt)   node2 (b)   anna
//	 |      |                   |           |
//	 +------+--------br0--------+-----------+
func TestSpoiltBlobIsMadeAgain(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	a, _ := m.AddNode("node1", 1, "--label", "at=a")
	m.AddNode("node2", 1, "--label", "at=b")
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	graph := func(at string) string {
		return fmt.Sprintf(`
gaggle: 1
defaults: {tools: [sh, cat, cksum]}
tasks:
  make: {labels: {at: a}, shell: "echo to be spoilt > out", outputs: [out]}
  use: {labels: {at: %s}, inputs: {in: "@make/out"}, shell: "cat in > sum; echo at %[1]s >> sum", outputs: [sum]}
targets: {sum: "@use/sum"}
`, at)
	}
	WriteFiles(t, dir, map[string]string{"a.yaml": graph("a"), "b.yaml": graph("b")})
	anna.Submit(dir, "a.yaml", "--out", "a")
	if n := spoil(t, filepath.Join(a.Dir, "node", "store"), "to be spoilt\n"); n != 1 {
		t.Fatalf("spoilt %d files, want one", n)
	}
	anna.Submit(dir, "b.yaml", "--out", "b")
	if got, want := readFile(t, filepath.Join(dir, "b/sum")), "to be spoilt\nat b\n"; got != want {
		t.Errorf("sum = %q, want %q", got, want)
	}
}

// spoil changes a byte of every file below dir whose content is text, as a bad disk would: its
// times stay. It returns how many there were.
func spoil(t *testing.T, dir, text string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(b, []byte(text)) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n++
		b[len(b)/2] ^= 1
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // root writes read-only files
		if err != nil {
			return err
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return os.Chtimes(path, info.ModTime(), info.ModTime())
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A directory of 10^5 files made on one node, counted on another, and written by the submitter:
//
//	hub   node1 (makes)   node2 (counts)   anna
//	 |      |               |                |
//	 +------+------br0------+----------------+
func TestHundredThousandFiles(t *testing.T) {
	m := NewMesh(t, bin, 0, 0)
	m.AddNode("node1", 1, "--label", "at=a")
	m.AddNode("node2", 1, "--label", "at=b")
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"tree.yaml": `
gaggle: 1
defaults: {tools: [sh, mkdir, find, wc, cat, seq, awk]}
tasks:
  make:
    labels: {at: a}
    shell: |
      mkdir tree && cd tree
      mkdir $(seq 100)
      seq 0 99999 | awk '{f = $1 % 100 + 1 "/" $1; print $1 % 1000 > f; close(f)}'
    outputs: [tree/]
  count: {labels: {at: b}, inputs: {tree: "@make/tree"}, shell: "find tree -type f | wc -l > n; cat tree/7/45606 >> n", outputs: [n]}
targets: {n: "@count/n", tree: "@make/tree"}
`})
	sum, _ := anna.Submit(dir, "tree.yaml", "--out", "out")
	t.Logf("%+v", sum)
	if got := strings.Fields(readFile(t, filepath.Join(dir, "out/n"))); fmt.Sprint(got) != "[100000 606]" {
		t.Errorf("counted %v, want 100000 files, the one looked at with 606", got)
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(dir, "out/tree"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
		}
		return err
	})
	if err != nil || files != 100_000 {
		t.Errorf("%d files were written (%v), want 100000", files, err)
	}
}

// The coordinator cannot be reached: the command says so, offers to work on its own, and does
// that only when asked:
//
//	hub   anna
//	 |  X  |
//	 +-br0-+
func TestUnreachableCoordinator(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"g.yaml": `
gaggle: 1
tasks: {t: {tools: [sh], shell: "echo here > out", outputs: [out]}}
targets: {out: "@t/out"}
`})
	m.coord.Kill()
	o := anna.Try("env", "-C", dir, "coord", "submit", "g.yaml", "--out", "out")
	if o.Exit != 3 || !strings.Contains(o.Stderr, "cannot be reached") || !strings.Contains(o.Stderr, "--local") {
		t.Errorf("coordinator gone: exit %d after %v\n%s", o.Exit, o.Took, o.Stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		t.Error("the command fell back to this machine by itself")
	}
	anna.Cut()
	o = anna.Try("env", "-C", dir, "coord", "status")
	t.Logf("link cut: exit %d after %v\n%s", o.Exit, o.Took, o.Stderr)
	if o.Exit != 3 || !strings.Contains(o.Stderr, "--local") {
		t.Errorf("link cut: exit %d after %v\n%s", o.Exit, o.Took, o.Stderr)
	}
	anna.Run("env", "-C", dir, "coord", "submit", "g.yaml", "--out", "out", "--local")
	if got := readFile(t, filepath.Join(dir, "out/out")); got != "here\n" {
		t.Errorf("out = %q", got)
	}
}
