package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// programsGraph has servers on one node and clients on another, or the same: programs as Debian has
// them, which know nothing of networks of tasks.
const programsGraph = `
gaggle: 1
params: {far: "", near: ""}
defaults: {tools: [sh, cmp, head, sed, sleep, getent, iperf3, nc, curl, redis-server, redis-benchmark], timeout: 2m}
tasks:
  bulk: {gang: g, labels: {at: "{{far}}"}, network: overlay, service: true, ready: {tcp: 5201}, run: [iperf3, -s]}
  web:
    {gang: g, labels: {at: "{{far}}"}, network: overlay, service: true, ready: {tcp: 80},
    tools: [sh, python3], shell: "echo a page > page; exec python3 -m http.server 80"}
  web2: # at the same port of the same node
    {gang: g, labels: {at: "{{far}}"}, network: overlay, service: true, ready: {tcp: 80},
    tools: [sh, python3], shell: "echo another page > page; exec python3 -m http.server --bind 0.0.0.0 80"}
  db:
    {gang: g, labels: {at: "{{far}}"}, network: overlay, service: true, ready: {tcp: 6379},
    run: [redis-server, --bind, 0.0.0.0, --protected-mode, "no", --save, ""]}
  line: # over TCP, then over UDP, where nobody can tell who listens
    {gang: g, labels: {at: "{{far}}"}, network: overlay, service: true, ready: {tcp: 9000},
    shell: "echo a line | nc -N -l 9000; while :; do echo a datagram | nc -u -l -w 1 9001; done"}
  use:
    gang: g
    labels: {at: "{{near}}"}
    network: overlay
    shell: |
      getent ahostsv4 web | head -n 1 > web
      getent ahostsv4 web2 | head -n 1 > web2
      ! cmp -s web web2
      curl -sSf http://web/page > said
      curl -sSf http://web2/page >> said
      nc -N line 9000 < web >> said
      until echo hello | nc -u -w 1 line 9001 > datagram && test -s datagram; do sleep 0.1; done
      head -n 1 datagram >> said
      iperf3 -c bulk -n 8M > tcp
      until iperf3 -u -c bulk -b 50M -n 1M > udp; do sleep 0.1; done # until the server has done with the other
      sed -n 's/.*receiver$/received in bulk/p' tcp udp >> said
      redis-benchmark -h db -c 8 -n 1000 -t set,get --csv > redis
      sed -n 's/^"\([SG]ET\)",.*/\1/p' redis >> said
    outputs: [said]
targets: {said: "@use/said"}
`

const programsSaid = `a page
another page
a line
a datagram
received in bulk
received in bulk
SET
GET
`

// Programs as they are, each way that packets can go, and what the nodes say of the ways.
//
//	k1 kernel    k2 kernel    q1    q2, no TCP    t1, no UDP    r1, not to q1   anna  hub
//	 |            |            |        X            X             X             |     |
//	 +------------+------------+--------+------------+-------------+-----br0-----+-----+
//
// Then k2 is killed while it has a member of a gang, and comes back.
func TestProgramsEachWay(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"iperf3", "nc", "curl", "python3", "redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: scripts/needs installs it", tool)
		}
	}
	m := NewMesh(t, bin, 0, 0)
	for _, n := range []struct {
		name  string
		slots int
		flags []string
	}{
		{"k1", 12, []string{"--trusted-cidr", "10.77.0.0/16"}}, {"k2", 8, []string{"--trusted-cidr", "10.77.0.0/16"}},
		{"q1", 18, nil}, {"q2", 2, nil}, {"t1", 1, nil}, {"r1", 1, nil},
	} {
		h := m.Lab.Host(n.name)
		switch n.name {
		case "q2":
			h.Block("meta l4proto tcp ip daddr 10.77.0.0/16")
		case "t1":
			h.Block("meta l4proto udp")
		case "r1":
			h.Block("ip daddr " + m.Nodes[2].Addr)
		}
		m.nodes = append(m.nodes, m.StartNode(h, n.slots, append(n.flags, "--label", "at="+n.name, "--http", "127.0.0.1:9070")...))
		m.Nodes = append(m.Nodes, h)
	}
	anna := m.Lab.Host("anna")
	// Of Python she has what comes with it: all else would go to the nodes, too.
	anna.enter = []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /usr/lib/python3/dist-packages 2>/dev/null; exec "$@"`, "sh"}
	m.Login(anna)
	dir := filepath.Join(anna.Dir, "work")
	WriteFiles(t, dir, map[string]string{"programs.yaml": programsGraph})
	ways := []struct{ far, near, way, path string }{
		{"k1", "k2", "direct", ""}, {"k2", "k2", "local", ""}, {"k1", "q2", "agent", "direct"}, {"q1", "q2", "agent", "direct"}, {"q1", "t1", "agent", "tcp"}, {"q1", "r1", "agent", "relayed"},
	}
	var jobs []*Process
	for _, w := range ways {
		jobs = append(jobs, anna.Start("env", "-C", dir, "PATH="+bin+":/usr/bin:/bin", "coord", "submit", "programs.yaml", "-p", "far="+w.far, "-p", "near="+w.near, "--out", w.far+w.near))
	}
	for i, w := range ways {
		if code := jobs[i].WaitExit(); code != 0 {
			t.Fatalf("from %s to %s: exit %d\n%s", w.near, w.far, code, jobs[i].Log())
		}
		if got := readFile(t, filepath.Join(dir, w.far+w.near, "said")); got != programsSaid {
			t.Errorf("from %s to %s they say\n%s", w.near, w.far, got)
		}
	}
	pages := m.pages()
	for _, w := range ways {
		for _, pair := range [][2]string{{w.far, w.near}, {w.near, w.far}} {
			pages.wantWay(t, pair[0], pair[1], w.way, w.path)
		}
	}
	killedWithGang(t, m, anna, dir)
}

// heldGraph has a task that ends when the test ends its sleep, and before and after talks with another.
const heldGraph = `
gaggle: 1
params: {mark: ""}
tasks:
  page:
    {gang: held, labels: {at: k1}, network: overlay, service: true, ready: {tcp: 80}, tools: [sh, python3],
    shell: "echo a page > page; exec python3 -m http.server 80"}
  user:
    gang: held
    labels: {at: k2}
    network: overlay
    tools: [sh, cmp, head, sed, sleep, getent, iperf3, nc, curl, redis-server, redis-benchmark]
    shell: |
      curl -sSf http://page/page > before
      sleep {{mark}} || :
      curl -sSf http://page/page > after
      cmp before after
    outputs: [after]
targets: {after: "@user/after"}
`

// killedWithGang kills k2 while a gang runs there and on k1. It runs again when k2 is back, on another
// network, and nothing of the first time is left on k2.
func killedWithGang(t *testing.T, m *Mesh, anna *Host, dir string) {
	k2 := m.Nodes[1]
	mark := fmt.Sprintf("86400.%d", os.Getpid())
	WriteFiles(t, dir, map[string]string{"held.yaml": heldGraph})
	job := anna.Start("env", "-C", dir, "PATH="+bin+":/usr/bin:/bin", "coord", "submit", "held.yaml", "-p", "mark="+mark, "--out", "held")
	job.WaitLog("2 tasks on")
	_, id, _ := strings.Cut(job.Log(), "job ")
	id, _, _ = strings.Cut(id, ":")
	first := waitStatus(t, anna, id, func(s string) bool { return strings.Contains(s, "kernel, direct") && len(processes(mark)) == 1 })
	m.nodes[1].Kill()
	Eventually(t, "the command has ended with its node", func() bool { return len(processes(mark)) == 0 })
	m.nodes[1] = m.StartNode(k2, 8)
	second := waitStatus(t, anna, id, func(s string) bool { return strings.Contains(s, "in its generation 2\n") && len(processes(mark)) == 1 })
	if one, two := networkOf(first), networkOf(second); one == "" || two == "" || one == two {
		t.Errorf("the gang is on network %q, and was on %q before", two, one)
	}
	for _, pid := range processes(mark) {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	t.Logf("before and after k2 was killed:\n%s%s", first, second)
	if code := job.WaitExit(); code != 0 || readFile(t, filepath.Join(dir, "held", "after")) != "a page\n" {
		t.Errorf("the job ends with %d:\n%s", code, job.Log())
	}
	m.nodes[1].Signal(syscall.SIGTERM)
	m.nodes[1].WaitExit()
	var left []string
	for line := range strings.Lines(k2.Run("ip", "-o", "link")) {
		left = append(left, strings.TrimSuffix(strings.Fields(line)[1], ":"))
	}
	if got := strings.Join(left, " "); !strings.HasPrefix(got, "lo eth0@") || len(left) != 2 {
		t.Errorf("interfaces of k2 without its node: %s", got)
	}
	if claims := k2.Run("ss", "-Hxla"); strings.Contains(claims, "@gaggle") {
		t.Errorf("claims of k2 without its node:\n%s", claims)
	}
}

// waitStatus waits until coord status says something of a job, and returns it.
func waitStatus(t *testing.T, h *Host, job string, ok func(string) bool) (said string) {
	t.Helper()
	Eventually(t, "coord status "+job+" says so", func() bool {
		said = h.Run("coord", "status", job)
		return ok(said)
	})
	return said
}

// networkOf returns the number of the network that coord status tells.
func networkOf(status string) string {
	_, after, _ := strings.Cut(status, "on network ")
	number, _, _ := strings.Cut(after, "\n")
	number, _, _ = strings.Cut(number, ",")
	return number
}

// processes returns those that sleep for so long.
func processes(mark string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range all {
		if b, _ := os.ReadFile(f); string(b) == "sleep\x00"+mark+"\x00" {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// pages are what nodes say on /metrics: names of series with labels, and their values.
type pages struct {
	of    map[string]map[string]string
	short map[string]string // what peers are called there, by name
}

// pages reads /metrics of all nodes, which are to have --http 127.0.0.1:9070.
func (m *Mesh) pages() *pages {
	m.Lab.t.Helper()
	p := &pages{map[string]map[string]string{}, map[string]string{}}
	for _, h := range m.Nodes {
		token := strings.TrimSpace(readFile(m.Lab.t, filepath.Join(h.Dir, "node", "http.token")))
		series := map[string]string{}
		for line := range strings.Lines(h.Run("curl", "-sSf", "-H", "Authorization: Bearer "+token, "http://127.0.0.1:9070/metrics")) {
			if at := strings.LastIndexByte(line, ' '); at > 0 {
				series[line[:at]] = strings.TrimSpace(line[at:])
			}
		}
		p.of[h.Name] = series
	}
	anyone := m.eye
	if anyone == nil {
		anyone = m.Client("eye")
	}
	for line := range strings.Lines(anyone.Run("coord", "nodes")) {
		if f := strings.Fields(line); len(f) > 8 {
			p.short[f[0]] = f[len(f)-2]
		}
	}
	return p
}

// wantWay wants that one node says that packets of tasks went between it and another both ways, by one
// way and no other, and of those that went over the mesh by which path.
func (p *pages) wantWay(t *testing.T, node, other, way, path string) {
	t.Helper()
	peer := p.short[other]
	if node == other {
		peer = "here"
	}
	label := fmt.Sprintf(`peer=%q`, peer)
	went := map[string]bool{}
	for series := range p.of[node] {
		if strings.HasPrefix(series, "gaggle_node_network_packets_total{") && strings.Contains(series, label) && p.of[node][series] != "0" {
			for _, w := range []string{"local", "direct", "external", "agent"} {
				for _, d := range []string{"in", "out"} {
					if strings.Contains(series, fmt.Sprintf(`way=%q`, w)) && strings.Contains(series, fmt.Sprintf(`direction=%q`, d)) {
						went[w+" "+d] = true
					}
				}
			}
		}
	}
	if way == "direct" && (went["agent in"] || went["agent out"]) {
		t.Logf("%s and %s took the mesh for a while: a try of the way between them was late", node, other)
		delete(went, "agent in")
		delete(went, "agent out")
	}
	if len(went) != 2 || !went[way+" in"] || !went[way+" out"] {
		t.Errorf("%s says that packets between it and %s went %v, want all %s", node, other, went, way)
	}
	if path == "" {
		return
	}
	if got := p.of[node][fmt.Sprintf(`gaggle_node_network_link{path=%q,%s}`, path, label)]; got != "1" {
		t.Errorf("%s does not say that it reaches %s by %s: %q", node, other, path, got)
	}
}
