package wired

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
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
				if d := drops(t, h, 1); d != (Drops{}) {
					t.Errorf("dropped %v", d)
				}
			}
		})
	}
}

// TestDeviceOnlySends has no program on the underlay, as an interface that is not trusted: what
// reaches the kernel's device from there goes no further.
func TestDeviceOnlySends(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, External, x, y)
	for _, l := range b.plane.links {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b.plane.links = nil
	q := y.udp(t)
	sendUDP(t, x.udp(t), y.addr, "by an interface that nobody trusts")
	wantDrops(t, b, 0, Absent, 1)
	wantNoUDP(t, q)
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

// Who uses a plane while it is closed gets errors, and touches no descriptor that is gone.
func TestCloseInUse(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x := a.endpoint(t, 7)
	to := b.plane.Here()[0]
	dst := netip.MustParseAddr("10.2.0.1")
	var users, began sync.WaitGroup
	for _, use := range []func() error{
		func() error { return a.plane.Route(7, dst, To{Way: Direct, Host: to}) },
		func() error { return a.plane.Unroute(7, dst) },
		func() error { _, err := a.plane.Routes(); return err },
		func() error { _, err := a.plane.AllDrops(); return err },
		func() error { return a.plane.sendProbe(question, nonce{1}, to, Direct) },
	} {
		began.Add(1)
		users.Go(func() {
			err := use()
			began.Done()
			for i := 0; err == nil && i < 1000; i++ {
				err = use()
			}
		})
	}
	began.Wait()
	if err := a.plane.Close(); err != nil {
		t.Error(err)
	}
	a.plane.Unbind(x.slot)
	users.Wait()
	if err := a.plane.Route(7, dst, To{Way: Agent}); !errors.Is(err, ErrClosed) {
		t.Errorf("Route after Close: %v, want %v", err, ErrClosed)
	}
}
