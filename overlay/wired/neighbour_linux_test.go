package wired

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

var trusted = []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")}

func TestMTU(t *testing.T) {
	needRoot(t)
	for _, c := range []struct{ host, slots int }{{1280, 1230}, {9000, DefaultMTU}} {
		a, b := bareHosts(t, c.host)
		a.open(t, Config{Trusted: trusted})
		b.open(t, Config{Trusted: trusted})
		x, y := a.endpoint(t, 7), b.endpoint(t, 7)
		if a.plane.MTU() != c.slots {
			t.Errorf("host MTU %d: slots have %d, want %d", c.host, a.plane.MTU(), c.slots)
		}
		meet(t, Direct, x, y)
		pour(t, x, y, 1<<18)
	}
}

// offload sets one of the old ethtool's switches of u0.
func offload(what uint32, on uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := [2]uint32{what, on}
	var r struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(r.name[:], "u0")
	r.data = unsafe.Pointer(&value)
	return ioctl(fd, unix.SIOCETHTOOL, unsafe.Pointer(&r))
}

func run(t *testing.T, h *host, program string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs ", program)
	}
	err := in(h.ns, func() error {
		out, err := exec.Command(program, args...).CombinedOutput()
		t.Logf("%s", out)
		return err
	})
	if err != nil {
		t.Fatal(program, ": ", err)
	}
}

func TestNeighboursOnTheMachine(t *testing.T) {
	needRoot(t)
	// try has two hosts that were made difficult, and wants packets to pass all the same.
	try := func(t *testing.T, difficult func(h *host) error) (a *host) {
		t.Helper()
		a, b := bareHosts(t, 1500)
		for _, h := range []*host{a, b} {
			if err := in(h.ns, func() error { return difficult(h) }); err != nil {
				t.Fatal(err)
			}
			h.open(t, Config{Trusted: trusted})
		}
		for _, way := range []Way{Direct, External} {
			x, y := a.endpoint(t, 7), b.endpoint(t, 7)
			meet(t, way, x, y)
			pour(t, x, y, 1<<18)
			pour(t, y, x, 1<<18)
		}
		return a
	}
	t.Run("addresses and routes in 10/8", func(t *testing.T) {
		try(t, func(h *host) error { return ownAddress("u0", netip.MustParseAddr("10.1.0.1"), 8) })
	})
	t.Run("strict reverse paths", func(t *testing.T) {
		try(t, func(*host) error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0)
		})
	})
	t.Run("the port is taken", func(t *testing.T) {
		var other *net.UDPConn
		a := try(t, func(h *host) (err error) {
			other, err = net.ListenUDP("udp4", &net.UDPAddr{Port: DefaultPort})
			return err
		})
		defer other.Close()
		if at := a.plane.Here()[0]; at.Port() != DefaultPort+1 {
			t.Errorf("VXLAN at %v, want port %d", at, DefaultPort+1)
		}
	})
	for name, what := range map[string]uint32{"no checksums of transmit": unix.ETHTOOL_STXCSUM, "no checksums of receive": unix.ETHTOOL_SRXCSUM,
		"no TSO": unix.ETHTOOL_STSO, "no GSO": unix.ETHTOOL_SGSO} {
		t.Run(name, func(t *testing.T) {
			try(t, func(*host) error { return offload(what, 0) })
		})
	}
	t.Run("GRO", func(t *testing.T) {
		try(t, func(*host) error { return offload(unix.ETHTOOL_SGRO, 1) })
	})
	t.Run("firewall", func(t *testing.T) {
		a, b := bareHosts(t, 1500)
		for _, h := range []*host{a, b} {
			run(t, h, "nft", "add table ip t; add chain ip t a {type filter hook input priority 0; policy drop;}; "+
				"add chain ip t b {type filter hook forward priority 0; policy drop;}; add chain ip t c {type filter hook output priority 0; policy drop;}")
			h.open(t, Config{Trusted: trusted})
		}
		x, y := a.endpoint(t, 7), b.endpoint(t, 7)
		meet(t, Direct, x, y)
		pour(t, x, y, 1<<18)
	})
}

func TestTroubles(t *testing.T) {
	needRoot(t)
	a, b := bareHosts(t, 1280)
	find := func(h *host, config Config) (all []Trouble) {
		_ = in(h.ns, func() error { all = Troubles(config); return nil })
		return all
	}
	for _, x := range find(a, Config{}) {
		t.Errorf("trouble without trusted networks: %+v", x)
	}
	var ports []*net.UDPConn
	defer func() {
		for _, c := range ports {
			c.Close()
		}
	}()
	for i := range uint16(portsTried) {
		for _, h := range []*host{a, b} {
			if h == a && i > 0 {
				continue
			}
			err := in(h.ns, func() error {
				c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(DefaultPort + i)})
				ports = append(ports, c)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(all []Trouble, fatal bool, words ...string) {
		t.Helper()
		for _, w := range words {
			found := false
			for _, x := range all {
				found = found || strings.Contains(x.What, w) && x.Fatal == fatal
			}
			if !found {
				t.Errorf("no trouble about %q (fatal: %v) in %+v", w, fatal, all)
			}
		}
	}
	want(find(a, Config{Trusted: trusted}), false, "MTU of 1280", "port 7071 is taken, so VXLAN comes in at 7072")
	want(find(b, Config{Trusted: trusted}), true, "ports 7071 to 7078 are taken")
	want(find(a, Config{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}), false, "no Ethernet interface")
}

// TestObjectIsCurrent compiles the programs where clang is the one that made the object which is
// committed, and elsewhere sees that it was made of these sources.
func TestObjectIsCurrent(t *testing.T) {
	sum, err := os.ReadFile("plane.sum")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(sum)), "\n")
	if len(lines) != 3 {
		t.Fatalf("plane.sum has %d lines, want 3", len(lines))
	}
	for _, line := range lines[:2] {
		want, name, _ := strings.Cut(line, "  ")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != want {
			t.Errorf("%s is not what plane.sum says: go generate ./overlay/wired", name)
		}
	}
	clang, err := exec.Command("clang", "--version").Output()
	if err != nil {
		t.Skip("needs clang to compile the programs: ", err)
	}
	if have, _, _ := strings.Cut(string(clang), "\n"); have != lines[2] {
		t.Skipf("the object was made by %s, here is %s", lines[2], have)
	}
	if _, err := os.Stat("/usr/include/bpf/bpf_helpers.h"); err != nil {
		t.Skip("needs libbpf-dev to compile the programs: ", err)
	}
	dir := t.TempDir()
	cmd := exec.Command("bpf/generate")
	cmd.Env = append(os.Environ(), "OUTPUT="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, out)
	}
	for _, name := range []string{"plane_bpfel.o", "plane_bpfel.go"} {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not current (%v): go generate ./overlay/wired", name, err)
		}
	}
}
