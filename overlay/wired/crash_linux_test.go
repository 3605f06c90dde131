package wired

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const childEnv = "GAGGLE_TEST_PLANE"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "sleep":
		_, _ = os.Stdin.Read(make([]byte, 1))
	default:
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// child is a node that is going to be killed: a plane with a slot in the namespace of descriptor
// 3, and a VXLAN device.
func child() error {
	p, err := Open(Config{Trusted: []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")}})
	if err != nil {
		return err
	}
	s, err := p.Lay(os.NewFile(3, "ns"))
	if err != nil {
		return err
	}
	if err := p.Bind(s, 7, netip.MustParseAddr("10.1.0.1")); err != nil {
		return err
	}
	host := netip.AddrPortFrom(netip.MustParseAddr("192.168.77.2"), p.Here()[0].Port())
	if err := p.Route(7, netip.MustParseAddr("10.2.0.1"), To{Way: External, Host: host}); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// devices lists ours in the host's namespace.
func (h *host) devices(t *testing.T) (names []string) {
	t.Helper()
	err := in(h.ns, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			if strings.HasPrefix(i.Name, "gg") {
				names = append(names, i.Name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWhatAKilledNodeLeaves(t *testing.T) {
	a, b := twoHosts(t, Config{}) // the neighbour of the one that is killed
	x, y := a.endpoint(t, 9), b.endpoint(t, 9)
	meet(t, Direct, x, y)
	neighbour := len(a.devices(t))

	ns, err := newNS()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.ExtraFiles = []*os.File{ns}
	cmd.Stderr = os.Stderr
	in1, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in1.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := in(a.ns, cmd.Start); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if killed := cmd.Process.Kill(); killed != nil || err != nil || line != "ready\n" {
		t.Fatalf("the other node said %q (%v, %v)", line, err, killed)
	}
	_ = cmd.Wait()
	// Its namespace is held here, as by a command that outlives it, so its slot is, too.
	if left := a.devices(t); len(left) != neighbour+2 {
		t.Fatalf("devices %v, want the neighbour's %d, the slot and the VXLAN device", left, neighbour)
	}

	next := &host{ns: a.ns, n: 3}
	next.open(t, Config{Trusted: a.plane.config.Trusted})
	if left := a.devices(t); len(left) != neighbour+2 { // now of its two TAPs
		t.Errorf("devices %v after the next start", left)
	}
	p, q := x.udp(t), y.udp(t)
	sendUDP(t, p, y.addr, "still here")
	wantUDP(t, q, x.addr, "still here")
	if next.plane.claim.plane != 1 || next.plane.Here()[0] == a.plane.Here()[0] {
		t.Errorf("the next node is plane %d at %v, the neighbour at %v", next.plane.claim.plane, next.plane.Here(), a.plane.Here())
	}
	z := next.endpoint(t, 11)
	w := b.endpoint(t, 11)
	meet(t, Direct, z, w)
	pour(t, z, w, 1<<16)
	pour(t, x, y, 1<<16)
}

func TestCloseLeavesNothing(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	a.lay(t)
	meet(t, External, x, y)
	a.plane.Unbind(x.slot)
	if err := a.plane.Close(); err != nil {
		t.Fatal(err)
	}
	if left := a.devices(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if _, err := a.plane.Lay(a.ns); err == nil {
		t.Error("a closed plane lays slots")
	}
	a.open(t, Config{Trusted: a.plane.config.Trusted})
	pour(t, func() *endpoint { e := a.endpoint(t, 7); meet(t, Direct, e, y); return e }(), y, 1<<16)
}
