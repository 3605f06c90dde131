package wired

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// A Trouble is something about this machine that keeps tenant networks from working, or from
// working well.
type Trouble struct {
	Fatal bool   // Open fails
	What  string // what was found, and what it does
	Do    string // what a person can do; "" if nothing need be done
}

// Troubles looks at the network namespace of the calling thread for what would be in Open's way or
// make a plane slow, and changes nothing. It may be called while planes are open. Some things
// are no trouble, however they are set: routes in 10.0.0.0/8 and addresses like those of
// slots (these are in namespaces of their own), rules of the host's firewall for INPUT, OUTPUT and FORWARD and rp_filter
// (Direct packets pass below them), other tunnels at port 4789, and checksum and
// segmentation offload, on or off.
func Troubles(config Config) []Trouble {
	var all []Trouble
	add := func(fatal bool, do, format string, args ...any) {
		all = append(all, Trouble{fatal, fmt.Sprintf(format, args...), do})
	}
	if err := features.HaveProgramType(ebpf.SchedCLS); err != nil {
		add(true, "run the node as root, or let it use the userspace plane", "BPF programs cannot be loaded: %v", err)
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		add(true, "modprobe tun, or give the container /dev/net/tun", "no TAP can be made: %v", err)
	} else {
		f.Close()
	}
	if b, err := os.ReadFile("/proc/sys/net/core/bpf_jit_enable"); err == nil && strings.TrimSpace(string(b)) == "0" {
		add(false, "sysctl net.core.bpf_jit_enable=1", "BPF programs are interpreted, which makes them several times as slow")
	}
	if planesLeft() == 0 {
		add(true, "stop some of the nodes here", "%v", ErrManyPlanes)
	}
	if len(config.Trusted) > 0 {
		underlayTroubles(config, add)
	}
	return all
}

func underlayTroubles(config Config, add func(fatal bool, do, format string, args ...any)) {
	found, err := underlays(config.Trusted)
	switch {
	case err != nil:
		add(true, "", "%v", err)
	case len(found) == 0:
		add(false, "check --trusted-cidr", "no Ethernet interface that is up has an address in the trusted networks %v: all packets go by the agent", config.Trusted)
	case len(found) > maxUnderlays:
		add(true, "trust fewer networks", "%d interfaces have addresses in trusted networks, more than %d", len(found), maxUnderlays)
	}
	for _, u := range found {
		switch want := config.mtu() + vxlanBytes; {
		case u.mtu-vxlanBytes < leastMTU:
			add(true, fmt.Sprintf("ip link set %s mtu 1500", u.name), "%s has an MTU of %d bytes, too small for VXLAN", u.name, u.mtu)
		case u.mtu < want:
			add(false, "", "%s has an MTU of %d bytes, so tasks have one of %d", u.name, u.mtu, u.mtu-vxlanBytes)
		}
		if _, err := os.Stat("/sys/class/net/" + u.name + "/bridge"); err == nil {
			add(false, "trust networks of machines only", "%s is a bridge with an address in the trusted networks: containers and VMs on it can send in the name of hosts", u.name)
		}
	}
	switch port, taken := portFor(config, found); {
	case len(found) == 0:
	case port == 0:
		add(true, "free one", "UDP ports %d to %d are taken", config.port(), config.port()+portsTried-1)
	case len(taken) > 0:
		add(false, fmt.Sprintf("let UDP port %d through between hosts", port), "UDP port %d is taken, so VXLAN comes in at %d", taken[0], port)
	}
}

// portFor returns the port that Open would take, 0 if there is none, and those before it.
func portFor(config Config, on []underlay) (port uint16, taken []uint16) {
	for port := config.port(); port < config.port()+portsTried; port++ {
		p := Plane{underlays: on}
		err := p.reservePort(port)
		p.unreserve()
		if err == nil {
			return port, taken
		}
		taken = append(taken, port)
	}
	return 0, taken
}

// planesLeft counts the ranges that can be claimed.
func planesLeft() int {
	n := 0
	for plane := range MaxPlanes {
		if c, err := take(plane); err == nil {
			c.release()
			n++
		} else if !errors.Is(err, unix.EADDRINUSE) {
			return MaxPlanes // cannot be told
		}
	}
	return n
}
