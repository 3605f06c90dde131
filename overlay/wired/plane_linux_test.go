package wired

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTwoHosts(t *testing.T) {
	for _, way := range []Way{Direct, External} {
		t.Run(way.String(), func(t *testing.T) {
			a, b := twoHosts(t, Config{})
			x, y := a.endpoint(t, 7), b.endpoint(t, 7)
			meet(t, way, x, y)
			p, q := x.udp(t), y.udp(t)
			sendUDP(t, p, y.addr, "ping")
			wantUDP(t, q, x.addr, "ping")
			sendUDP(t, q, x.addr, "pong")
			wantUDP(t, p, y.addr, "pong")
			pour(t, x, y, 1<<20)
			pour(t, y, x, 1<<20)
			for _, h := range []*host{a, b} {
				if d := drops(t, h, 1); len(d) > 0 {
					t.Errorf("dropped %v", d)
				}
			}
		})
	}
}

// TestUnpackedByTheDevice has no program on the underlay, as where the host puts together what a
// router cut: then the kernel's device unpacks.
func TestUnpackedByTheDevice(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, External, x, y)
	for _, h := range []*host{a, b} {
		if len(h.plane.links)+len(h.plane.filters) != 1 {
			t.Fatalf("%d links and %d filters, want one of them", len(h.plane.links), len(h.plane.filters))
		}
		for _, l := range h.plane.links {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		h.plane.links = nil
	}
	pour(t, x, y, 1<<20)
	pour(t, y, x, 1<<20)
	q := y.udp(t)
	if err := b.plane.Unroute(7, x.addr); err != nil {
		t.Fatal(err)
	}
	sendUDP(t, x.udp(t), y.addr, "of a stranger")
	f := b.miss(t)
	if f.Why != Stranger || f.Remote != a.at {
		t.Fatalf("missed %+v", f)
	}
	meet(t, External, x, y)
	if err := b.plane.Resend(f); err != nil {
		t.Fatal(err)
	}
	wantUDP(t, q, x.addr, "of a stranger")
}

// TestByAFilter has the program on the underlay by a filter of clsact, as on kernels before 6.6.
func TestByAFilter(t *testing.T) {
	a, b := twoHosts(t, Config{})
	for _, h := range []*host{a, b} {
		for _, l := range h.plane.links {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		h.plane.links = nil
		if err := h.plane.attachFilter(h.plane.underlays[0]); err != nil {
			t.Fatal(err)
		}
	}
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, Direct, x, y)
	pour(t, x, y, 1<<20)
}

// TestNamespaceOfAUser has slots in namespaces that belong to a user namespace, as those of the
// slots of tasks do.
func TestNamespaceOfAUser(t *testing.T) {
	a, b := twoHosts(t, Config{})
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=sleep")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("needs user namespaces: ", err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	s, err := a.plane.Lay(ns)
	if err != nil {
		t.Fatal(err)
	}
	x := &endpoint{host: a, ns: ns, slot: s, addr: netip.MustParseAddr("10.1.0.1")}
	if err := dress(ns, x.addr); err != nil {
		t.Fatal(err)
	}
	x.bind(t, 7)
	y := b.endpoint(t, 7)
	meet(t, Direct, x, y)
	pour(t, x, y, 1<<16)
	a.plane.Unbind(s)
	stdin.Close() // and with the process all but our file holds the namespace
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	ns.Close()
	waitFor(t, "the slot to go", func() bool { return len(a.devices(t)) == 2 })
}
