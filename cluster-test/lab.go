// Package clustertest runs the built binaries on hosts of a small laboratory: each host is a
// network namespace with one interface on a bridge, which stands in a namespace of its own, so
// that nothing reaches the machine's real networks.
//
//	  host a         host b         host c
//	10.77.0.2      10.77.0.3      10.77.0.4       one netns each, eth0
//	     |              |              |          veth, rate by tbf on both ends
//	     +------- br0 (netns "switch") ---+
//
// Tests cut, heal and slow the links, and stop and kill the processes, by pid. Everything is
// removed when the test ends, also after a failure. Every test opens with a drawing of its hosts.
package clustertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Lab is a bridge and the hosts on it.
type Lab struct {
	t    testing.TB
	id   string // prefix of its namespaces
	bin  string // directory of the binaries
	net  string // first three bytes of its addresses
	next int    // last byte of the next address
	six  bool   // hosts have addresses of IPv6, too, in fd77::/64
	two  bool   // hosts have a second interface, eth1, on another bridge, in 10.78.0.0/24
}

// A Host is one machine of a Lab.
type Host struct {
	Name  string
	Addr  string // IPv4, without the prefix length
	Dir   string // its own disk
	ns    string
	port  string   // its end on the bridge
	enter []string // what starts its programs, which then follow
	lab   *Lab
	limit time.Duration // of a command; zero is commandLimit
}

var labs struct {
	mu sync.Mutex // guards n
	n  int
}

// NewLab builds an empty lab, or skips the test where that is not possible, saying why.
func NewLab(t testing.TB, bin string) *Lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	for _, tool := range []string{"ip", "tc", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: apt-get install iproute2 util-linux", tool)
		}
	}
	labs.mu.Lock()
	labs.n++
	l := &Lab{t: t, id: fmt.Sprintf("gag%d-%d", os.Getpid(), labs.n), bin: bin, net: "10.77.0", next: 2}
	labs.mu.Unlock()
	l.ip("netns", "add", l.switchNS())
	t.Cleanup(func() { l.try("ip", "netns", "del", l.switchNS()) })
	l.ip("-n", l.switchNS(), "link", "add", "br0", "type", "bridge")
	l.ip("-n", l.switchNS(), "link", "set", "br0", "up")
	return l
}

func (l *Lab) switchNS() string { return l.id + "-switch" }

// Host adds a machine. Its name is its host name, too.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	last := l.next
	l.next++
	h := l.bare(name, fmt.Sprintf("%s.%d", l.net, last), l.switchNS(), "br0", fmt.Sprintf("p%d", last))
	l.ip("-n", h.ns, "route", "add", "default", "via", l.net+".1")
	if l.six {
		l.ip("-n", h.ns, "addr", "add", fmt.Sprintf("fd77::%d/64", last), "dev", "eth0", "nodad")
		l.ip("-n", h.ns, "-6", "route", "add", "default", "via", "fd77::1")
	}
	if l.two {
		if last == 2 {
			l.ip("-n", l.switchNS(), "link", "add", "br1", "type", "bridge")
			l.ip("-n", l.switchNS(), "link", "set", "br1", "up")
		}
		l.connect(h, "eth1", fmt.Sprintf("10.78.0.%d", last), l.switchNS(), "br1", h.second())
	}
	return h
}

// second is the end of the host's second interface on its bridge.
func (h *Host) second() string { return h.port + "b" }

// bare makes a host with an address on a bridge, and no route beyond.
func (l *Lab) bare(name, addr, bridgeNS, bridge, port string) *Host {
	l.t.Helper()
	h := &Host{Name: name, Addr: addr, Dir: filepath.Join(l.t.TempDir(), name), ns: l.id + "-" + name, port: port, lab: l}
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.ip("netns", "add", h.ns)
	l.t.Cleanup(func() { l.try("ip", "netns", "del", h.ns) })
	l.ip("-n", h.ns, "link", "set", "lo", "up")
	l.connect(h, "eth0", h.Addr, bridgeNS, bridge, h.port)
	return h
}

// connect gives a host an interface with an address on a bridge.
func (l *Lab) connect(h *Host, dev, addr, bridgeNS, bridge, port string) {
	l.t.Helper()
	l.ip("-n", bridgeNS, "link", "add", port, "type", "veth", "peer", "name", dev, "netns", h.ns)
	l.ip("-n", bridgeNS, "link", "set", port, "master", bridge, "up")
	l.ip("-n", h.ns, "addr", "add", addr+"/24", "dev", dev)
	l.ip("-n", h.ns, "link", "set", dev, "up")
}

// Rate limits both directions of the host's link, in megabits a second.
func (h *Host) Rate(mbit int) {
	h.lab.t.Helper()
	// tbf's burst must hold what arrives in a timer tick (4 ms at 250 Hz), at least a GSO packet.
	burst := max(mbit*1000*1000/8/250, 70_000)
	for _, end := range [][2]string{{h.ns, "eth0"}, {h.lab.switchNS(), h.port}} {
		h.lab.run("tc", "-n", end[0], "qdisc", "replace", "dev", end[1], "root", "tbf",
			"rate", fmt.Sprintf("%dmbit", mbit), "burst", fmt.Sprint(burst), "latency", "100ms")
	}
}

// Cut takes the host off the network; its processes and addresses stay.
func (h *Host) Cut() { h.lab.ip("-n", h.lab.switchNS(), "link", "set", h.port, "nomaster") }

// Heal ends a Cut.
func (h *Host) Heal() { h.lab.ip("-n", h.lab.switchNS(), "link", "set", h.port, "master", "br0") }

func (l *Lab) ip(args ...string) {
	l.t.Helper()
	l.run("ip", args...)
}

func (l *Lab) run(name string, args ...string) {
	l.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// output is run for a command whose output is wanted.
func (l *Lab) output(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		l.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}

func (l *Lab) try(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Logf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// command is a program of the lab's bin directory, or else one found on PATH, on the host. Its
// home and state are below the host's directory.
func (h *Host) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	// Not ip netns exec: it hides the cgroups below /sys. The uts namespace gives the host its
	// name. Each of these execs the next, so the pid is the program's.
	line := append([]string{"--net=/run/netns/" + h.ns, "unshare", "--uts", "sh", "-c", `hostname "$0"; exec "$@"`, h.Name}, h.enter...)
	line = append(append(line, name), args...)
	c := exec.CommandContext(ctx, "nsenter", line...)
	c.Dir = h.Dir
	c.Env = append(os.Environ(), "PATH="+h.lab.bin+":"+os.Getenv("PATH"), "HOME="+h.Dir, "GAGGLE_STATE="+filepath.Join(h.Dir, "coord"),
		"GAGGLE_NODE_STATE="+filepath.Join(h.Dir, "node"), "XDG_STATE_HOME=", "XDG_RUNTIME_DIR=", "GAGGLE_MESH=")
	return c
}

// An Output is how a command ended.
type Output struct {
	Stdout, Stderr string
	Exit           int
	Took           time.Duration
}

// commandLimit is how long a command may take, unless the host says.
const commandLimit = 5 * time.Minute

// Try runs a command on the host and waits for it.
func (h *Host) Try(name string, args ...string) Output {
	h.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(h.limit, commandLimit))
	defer cancel()
	c := h.command(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	c.WaitDelay = 2 * time.Second // a background process may keep the pipes
	begun := time.Now()
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		h.lab.t.Fatalf("%s on %s: %v", name, h.Name, err)
	}
	return Output{stdout.String(), stderr.String(), c.ProcessState.ExitCode(), time.Since(begun)}
}

// Run is Try for a command that must succeed; it returns the standard output.
func (h *Host) Run(name string, args ...string) string {
	h.lab.t.Helper()
	o := h.Try(name, args...)
	if o.Exit != 0 {
		h.lab.t.Fatalf("%s %s on %s: exit %d\n%s%s", name, strings.Join(args, " "), h.Name, o.Exit, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// A Process is a program running on a host.
type Process struct {
	h    *Host
	cmd  *exec.Cmd
	out  log
	done chan struct{} // closed when it has ended
}

// Start starts a program and leaves it running until the test ends.
func (h *Host) Start(name string, args ...string) *Process {
	h.lab.t.Helper()
	p := &Process{h: h, cmd: h.command(context.Background(), name, args...), done: make(chan struct{})}
	p.out.cond.L = &p.out.mu
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		h.lab.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		err := p.cmd.Wait()
		p.out.end(err)
	}()
	h.lab.t.Cleanup(func() {
		p.Kill()
		if h.lab.t.Failed() {
			h.lab.t.Logf("%s on %s said:\n%s", name, h.Name, p.Log())
		}
	})
	return p
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Signal sends a signal; one to a process that has ended does nothing.
func (p *Process) Signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.h.lab.t.Logf("signalling on %s: %v", p.h.Name, err)
	}
}

// Log returns what the process has written so far.
func (p *Process) Log() string {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.buf.String()
}

// WaitLog waits until the process has written text.
func (p *Process) WaitLog(text string) {
	p.h.lab.t.Helper()
	if !p.out.wait(text) {
		p.h.lab.t.Fatalf("%s on %s: never said %q:\n%s", p.cmd.Path, p.h.Name, text, p.Log())
	}
}

// WaitExit waits for the process to end by itself and returns its exit code.
func (p *Process) WaitExit() int {
	p.h.lab.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(waitLimit):
		p.h.lab.t.Fatalf("process on %s does not end:\n%s", p.h.Name, p.Log())
		return -1
	}
}

// waitLimit is when a test gives up on something that should long have happened.
const waitLimit = 3 * time.Minute

// A log gathers output and lets readers wait for some.
type log struct {
	mu    sync.Mutex // guards the fields below
	cond  sync.Cond
	buf   bytes.Buffer
	ended bool
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cond.Broadcast()
	return l.buf.Write(b)
}

func (l *log) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		fmt.Fprintf(&l.buf, "(%v)\n", err)
	}
	l.ended = true
	l.cond.Broadcast()
}

func (l *log) wait(text string) bool {
	late := false
	timer := time.AfterFunc(waitLimit, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		late = true
		l.cond.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.buf.String(), text) {
		if l.ended || late {
			return false
		}
		l.cond.Wait()
	}
	return true
}
