package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// peersGraph has programs that need nothing but themselves meet.
const peersGraph = `
gaggle: 1
params: {count: 5}
tasks:
  peer: {network: overlay, count: "{{count}}", inputs: [meet], tools: [sh], run: [./meet], outputs: [stdout]}
targets: {met/: "@peer/stdout"}
`

// Tasks on three machines reach each other by name, over TCP and UDP, two of them on one machine at the
// same port:
//
//	hub   n1 (2 slots)   n2 (2 slots)   n3 (1 slot)   anna
//	 |      |              |              |             |
//	 +------+--------------+------br0-----+-------------+
func TestTenantNetwork(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	m.AddNode("n1", 2, "--trusted-cidr", "10.77.0.0/16") // packets between these two go by the kernel
	m.AddNode("n2", 2, "--trusted-cidr", "10.77.0.0/16")
	m.AddNode("n3", 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"peers.yaml": peersGraph, "redis.yaml": `
gaggle: 1
tasks:
  db: {gang: g, network: overlay, service: true, ready: {tcp: 6379}, tools: [redis-server], run: [redis-server, --bind, 0.0.0.0, --protected-mode, "no", --save, ""]}
  load: {gang: g, network: overlay, count: 4, tools: [redis-cli, sh, seq], shell: "for i in $(seq 25); do redis-cli -h db incr n; done > out", outputs: [out]}
targets: {all/: "@load/out"}
`})
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "meet"), "./meet")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sum, events := anna.Submit(dir, "peers.yaml", "--out", "out")
	t.Logf("%d members in %.1f s, shares %v", sum.Tasks, sum.Wall, Shares(events))
	for i := range 5 {
		others := slices.DeleteFunc([]int{0, 1, 2, 3, 4}, func(j int) bool { return j == i })
		want := fmt.Sprintln(i, "met", others)
		if got := readFile(t, filepath.Join(dir, "out/met", itoa(i))); got != want {
			t.Errorf("member %d says %q, want %q", i, got, want)
		}
	}

	// A server is waited for, and ends when its clients have.
	sum, events = anna.Submit(dir, "redis.yaml", "--out", "redis")
	t.Logf("redis and four clients in %.1f s, shares %v", sum.Wall, Shares(events))
	seen := map[string]bool{}
	for i := range 4 {
		for line := range strings.Lines(readFile(t, filepath.Join(dir, "redis/all", itoa(i)))) {
			seen[strings.TrimSpace(line)] = true
		}
	}
	for n := range 100 {
		if !seen[itoa(n+1)] {
			t.Fatalf("no client was told %d; all of them were told %d numbers", n+1, len(seen))
		}
	}
	if again, _ := anna.Submit(dir, "peers.yaml", "--out", "again"); again.Ran == 0 {
		t.Errorf("again: %+v, want that tasks on a network run each time", again)
	}
}
