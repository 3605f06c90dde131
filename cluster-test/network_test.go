package clustertest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// peers.py is one member of a gang: it serves an echo over TCP and UDP at port 80, as any program
// would, and has each other member, found by name, echo what fits no packet and what fits one. It ends
// when all have been served.
const peersPy = `
import os, socket, sys, threading, time
me, count = int(os.environ["GAGGLE_INDEX"]), int(os.environ["GAGGLE_COUNT"])
served, lock = set(), threading.Lock()
def serve(c, a):
    data = b""
    while part := c.recv(65536):
        data += part
        c.sendall(part)
    with lock: served.add(a[0])
def accept(s):
    while True: threading.Thread(target=serve, args=s.accept(), daemon=True).start()
def datagrams(s):
    while True:
        b, a = s.recvfrom(65536)
        s.sendto(b, a)
s = socket.create_server(("0.0.0.0", 80), backlog=64)
threading.Thread(target=accept, args=(s,), daemon=True).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 80))
threading.Thread(target=datagrams, args=(u,), daemon=True).start()
big, end = os.urandom(300000), time.monotonic() + 60
def retry(what):
    while True:
        try: return what()
        except OSError as e:
            if time.monotonic() > end: raise
            time.sleep(0.05)
def tcp(addr):
    with socket.create_connection((addr, 80), timeout=20) as c:
        threading.Thread(target=lambda: (c.sendall(big), c.shutdown(socket.SHUT_WR))).start()
        got = b""
        while part := c.recv(65536): got += part
    assert got == big, "other bytes"
def udp(addr):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
        c.settimeout(0.5)
        c.sendto(big[:1200], (addr, 80))
        assert c.recv(65536) == big[:1200], "other datagram"
others = {}
for i in range(count):
    if i == me: continue
    addr = retry(lambda: socket.getaddrinfo("peer-%d" % i, 80, socket.AF_INET)[0][4][0])
    retry(lambda: tcp(addr)); retry(lambda: udp(addr))
    others[addr] = i
assert len(others) == count - 1, others
assert sorted(a[4][0] for a in socket.getaddrinfo("peer", 80, socket.AF_INET, socket.SOCK_STREAM)) == sorted(list(others) + [os.environ["GAGGLE_ADDR"]])
while True:
    with lock: missing = set(others) - served
    if not missing or time.monotonic() > end: break
    time.sleep(0.05)
assert not missing, missing
time.sleep(0.5)  # a datagram may have to be answered once more
print(me, "met", *sorted(others.values()))
`

const peersGraph = `
gaggle: 1
params: {count: 5}
tasks:
  peer: {network: overlay, count: "{{count}}", inputs: [peers.py], tools: [python3], run: [python3, peers.py], outputs: [stdout]}
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
	WriteFiles(t, dir, map[string]string{"peers.yaml": peersGraph, "peers.py": peersPy, "warm.yaml": `
gaggle: 1
tasks:
  w: {for: {n: {range: [0, 10]}}, tools: [python3], run: [python3, -c, "import time; time.sleep(1); print({{n}})"], outputs: [stdout]}
targets: {w/: "@w/stdout"}
`, "redis.yaml": `
gaggle: 1
tasks:
  db: {gang: g, network: overlay, service: true, ready: {tcp: 6379}, tools: [redis-server], run: [redis-server, --bind, 0.0.0.0, --protected-mode, "no", --save, ""]}
  load: {gang: g, network: overlay, count: 4, tools: [redis-cli, sh, seq], shell: "for i in $(seq 25); do redis-cli -h db incr n; done > out", outputs: [out]}
targets: {all/: "@load/out"}
`})
	warm, _ := anna.Submit(dir, "warm.yaml", "--out", "warm") // the programs are there
	t.Logf("warm in %.1f s", warm.Wall)
	sum, events := anna.Submit(dir, "peers.yaml", "--out", "out")
	t.Logf("%d members in %.1f s, shares %v", sum.Tasks, sum.Wall, Shares(events))
	for i := range 5 {
		want := fmt.Sprint(i, " met")
		for j := range 5 {
			if j != i {
				want += " " + itoa(j)
			}
		}
		if got := readFile(t, filepath.Join(dir, "out/met", itoa(i))); got != want+"\n" {
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
