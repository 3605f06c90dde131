package sandbox

import (
	"context"
	"errors"
	"net/netip"
	"os"
)

// Networks connects network namespaces that slots make, each for one command. *overlay.Agent does.
type Networks interface {
	// Lay gives a namespace a device and addresses. It takes over the files of n, even if it
	// fails. It is called ahead of the command that will have the namespace, so nobody waits.
	Lay(n *Namespace) (Cable, error)
}

// A Namespace is a network namespace in which only loopback is up. All files but NS were opened
// within and keep working on it from anywhere. Programs in it may use any port and may ping.
type Namespace struct {
	NS    *os.File // the namespace itself: for setns(2), or IFLA_NET_NS_FD
	Tun   *os.File // /dev/net/tun, which is no device before TUNSETIFF; nil where that is closed to us
	Far   *Far     // where Tun is nil
	Route *os.File // a socket of NETLINK_ROUTE
	// NamesUDP and NamesTCP are bound to port 53 of Resolver, whether the namespace has that
	// address yet or not; the second listens.
	NamesUDP, NamesTCP *os.File
	// Tables are /proc/net/tcp and, where there is IPv6, tcp6, to be read from offset 0 any time.
	Tables []*os.File
}

// A Far is another namespace, for the other end of a pair of devices. It is nobody's and empty.
type Far struct {
	NS      *os.File // the namespace itself
	Route   *os.File // a socket of NETLINK_ROUTE
	Packets *os.File // a socket of AF_PACKET, for whole frames, that is bound to nothing yet
}

// Resolver is the address at which commands on a network ask for names.
var Resolver = netip.AddrFrom4([4]byte{169, 254, 1, 1})

// Close closes the files that are left: those that were taken over may be set to nil.
func (n *Namespace) Close() error {
	var err error
	all := append([]*os.File{n.NS, n.Tun, n.Route, n.NamesUDP, n.NamesTCP}, n.Tables...)
	if n.Far != nil {
		all = append(all, n.Far.NS, n.Far.Route, n.Far.Packets)
	}
	for _, f := range all {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// A Cable is a namespace that was laid, and serves one command.
type Cable interface {
	Addr() netip.Addr // of the namespace; the command finds it in $GAGGLE_ADDR
	Close() error     // gives up the namespace
}

// ErrStale is returned, perhaps wrapped, by Membership.Join for a cable that is out of date. Another
// one that is laid now will do.
var ErrStale = errors.New("the cable is out of date")

// A Membership puts one command on a network.
type Membership interface {
	// Join binds a cable of the engine's Networks to the network, just before the command starts.
	// When leave has returned nothing reaches the cable, and it is closed.
	Join(c Cable) (leave func(), err error)
	// Await is called when Join has succeeded, and waits until the command may start: until those can
	// be found that it counts on.
	Await(ctx context.Context) error
	// Env returns variables that the command gets unless it has them: NAME=value.
	Env() []string
}
