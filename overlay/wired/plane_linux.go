package wired

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:generate bpf/generate

const (
	// MaxSlots is how many slots a plane has: their numbers are 1 to MaxSlots.
	MaxSlots = 2046

	// Beside the slots, whose indexes are their numbers, stand the other devices of a plane.
	carryIndex = 2048
	missIndex  = 2049
	vxlanIndex = 2050

	// DefaultPort is VXLAN's between hosts, or the first free one of the eight from it on. It is not
	// 4789, so as to live beside others' tunnels.
	DefaultPort = 7071
	portsTried  = 8

	// DefaultMTU is what slots have where the underlay takes 1,500 bytes: VXLAN adds 50. Larger
	// ones are not taken up by themselves, for hosts on the way may not have them.
	DefaultMTU = 1450
	vxlanBytes = 50
	leastMTU   = 576 // what every IPv4 host takes

	// defaultMisses is how many packets without a route a slot may send the agent in a window of
	// 2^28 ns, some 240 a second: enough for a thousand members to be found in four seconds,
	// little enough that a thousand slots cannot fill the agent's queue.
	defaultMisses = 64

	// probeVNI is no tenant's: in it hosts try the path between them.
	probeVNI = 1<<24 - 1

	// MaxVNI is the largest that a network may have; 0 is none's.
	MaxVNI = probeVNI - 1
)

// A Config says how a Plane is to be.
type Config struct {
	// Trusted are the networks in which packets of tenants may go from host to host as they are.
	// Whoever can listen there reads them, and whoever can send there in the name of a host, in
	// the name of its slots. None: all of it goes by the agent.
	Trusted []netip.Prefix
	Port    uint16       // the first to try for VXLAN; 0: DefaultPort
	MTU     int          // the largest for slots, in bytes; 0: DefaultMTU
	Misses  int          // of a slot in 268 ms; 0: 64
	Log     *slog.Logger // nil: none
}

func (c Config) port() uint16 { return cmp.Or(c.Port, DefaultPort) }
func (c Config) mtu() int     { return cmp.Or(c.MTU, DefaultMTU) }
func (c Config) misses() int  { return cmp.Or(c.Misses, defaultMisses) }

// A Plane carries the packets of the slots of one node. Its methods may be called at any time by
// any goroutine.
type Plane struct {
	config    Config
	log       *slog.Logger
	rtnl      *rtnl
	claim     *claim
	objects   planeObjects
	links     []link.Link
	filters   []int // underlays where a filter of clsact stands in for a link
	miss      *tap
	carry     *tap
	underlays []underlay
	port      uint16
	reserved  []int // sockets that hold the port
	mtu       int
	janitor   sync.WaitGroup
	dying     chan *Slot
	gate      sync.RWMutex // held for reading by who uses the maps, the last to be taken

	mu        sync.Mutex // guards the fields below
	closed    bool
	free      []int // numbers; the one that has rested longest first
	slots     map[int]*Slot
	vxlan     bool                    // the device is there
	probes    map[nonce]chan struct{} // who waits for an answer
	ways      map[netip.Addr]wayTo
	routed    map[uint32]int // routes that are not Local, by VNI
	allRouted int
	past      map[pastRoute]Stat // until Traffic tells it
}

// ErrClosed is returned by methods of a Plane after Close.
var ErrClosed = errors.New("the network plane is closed")

// Open makes a plane in the network namespace of the calling thread, having removed what planes
// of processes that are gone left there. It needs CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON, or
// CAP_SYS_ADMIN, and /dev/net/tun.
func Open(config Config) (_ *Plane, err error) {
	p := &Plane{config: config, log: config.Log, slots: map[int]*Slot{}, probes: map[nonce]chan struct{}{}, ways: map[netip.Addr]wayTo{}, routed: map[uint32]int{}, past: map[pastRoute]Stat{}, dying: make(chan *Slot, MaxSlots)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	for n := range MaxSlots {
		p.free = append(p.free, n+1)
	}
	defer func() {
		if err != nil {
			p.tearDown()
		}
	}()
	if p.rtnl, err = openRTNL(); err != nil {
		return nil, err
	}
	var cleared int
	if p.claim, cleared, err = takeAny(p.rtnl); err != nil {
		return nil, fmt.Errorf("claiming a range of interfaces: %w", err)
	}
	if cleared > 0 {
		p.log.Info("removed interfaces that were left behind", "planes", cleared)
	}
	if err := p.findUnderlays(); err != nil {
		return nil, err
	}
	if err := p.openTAPs(); err != nil {
		return nil, err
	}
	if err := p.load(); err != nil {
		return nil, err
	}
	if err := p.attach(); err != nil {
		return nil, err
	}
	p.janitor.Go(p.bury)
	return p, nil
}

// MTU returns the largest IP packet of a slot, in bytes.
func (p *Plane) MTU() int { return p.mtu }

// Here returns where other hosts reach this one by VXLAN: an address of each trusted underlay.
func (p *Plane) Here() []netip.AddrPort {
	var all []netip.AddrPort
	for _, u := range p.underlays {
		all = append(all, netip.AddrPortFrom(u.addr, p.port))
	}
	return all
}

// Close removes the plane and its slots' devices. Recv returns ErrClosed from then on.
func (p *Plane) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.dying)
	p.mu.Unlock()
	p.janitor.Wait()
	return p.tearDown()
}

func (p *Plane) tearDown() error {
	var all []error
	for _, l := range p.links {
		all = append(all, l.Close())
	}
	for _, dev := range p.filters {
		all = append(all, p.rtnl.batch(removeFilter(dev, p.filterHandle())))
	}
	for _, t := range []*tap{p.miss, p.carry} {
		if t != nil {
			all = append(all, t.close())
		}
	}
	if p.claim != nil {
		_, err := p.claim.clear(p.rtnl)
		all = append(all, err)
		p.claim.release()
	}
	if p.rtnl != nil {
		p.rtnl.close()
	}
	p.gate.Lock() // who is late finds the maps closed
	all = append(all, p.objects.Close())
	p.gate.Unlock()
	p.unreserve()
	return errors.Join(all...)
}

func (p *Plane) openTAPs() error {
	for _, t := range []struct {
		to    **tap
		name  string
		at    int
		large bool
	}{{&p.miss, "miss", missIndex, false}, {&p.carry, "carry", carryIndex, true}} {
		index := p.claim.index(t.at)
		fd, err := openTAP(p.claim.name(t.name), index, t.large)
		if err != nil {
			return err
		}
		if *t.to, err = newTAP(fd); err != nil {
			unix.Close(fd)
			return err
		}
		if err := p.rtnl.batch(setMTU(index, p.mtu), quiet(index), clsact(index, createNew), setUp(index)); err != nil {
			return fmt.Errorf("setting up TAP %s: %w", t.name, err)
		}
	}
	return nil
}

// load loads programs and maps with what this plane's are to know.
func (p *Plane) load() error {
	if err := rlimit.RemoveMemlock(); err != nil { // of kernels before 5.11
		return fmt.Errorf("raising the limit of locked memory: %w", err)
	}
	spec, err := loadPlane()
	if err != nil {
		return fmt.Errorf("reading the programs: %w", err)
	}
	var here [4][4]byte
	for i, u := range p.underlays {
		here[i] = u.addr.As4()
	}
	for name, value := range map[string]any{
		"first_dev":  uint32(p.claim.index(0)),
		"miss_dev":   uint32(p.claim.index(missIndex)),
		"carry_dev":  uint32(p.claim.index(carryIndex)),
		"vxlan_dev":  uint32(p.claim.index(vxlanIndex)),
		"port":       p.port,
		"miss_burst": uint32(p.config.misses()),
		"probe_vni":  uint32(probeVNI),
		"here":       here,
	} {
		v := spec.Variables[name]
		if v == nil {
			return fmt.Errorf("the programs have no variable %s", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return fmt.Errorf("loading the programs: %w", err)
	}
	return nil
}

func (p *Plane) attach() error {
	for _, at := range []int{missIndex, carryIndex} {
		if err := p.rtnl.batch(filter(p.claim.index(at), 1, p.objects.FromAgent.FD(), "agent")); err != nil {
			return fmt.Errorf("attaching to TAPs: %w", err)
		}
	}
	for _, u := range p.underlays {
		if err := p.attachUnderlay(u); err != nil {
			return fmt.Errorf("attaching to %s: %w", u.name, err)
		}
	}
	return nil
}

// attachUnderlay attaches by a link, which ends with the process, where the kernel has them (6.6),
// else by a filter.
func (p *Plane) attachUnderlay(u underlay) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: u.index, Program: p.objects.FromWire, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		p.links = append(p.links, l)
		return nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return err
	}
	return p.attachFilter(u)
}

func (p *Plane) attachFilter(u underlay) error {
	_ = p.rtnl.batch(removeFilter(u.index, p.filterHandle())) // of a killed node
	if err := p.rtnl.batch(clsact(u.index, createNew)); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := p.rtnl.batch(filter(u.index, p.filterHandle(), p.objects.FromWire.FD(), "wire")); err != nil {
		return err
	}
	p.filters = append(p.filters, u.index)
	return nil
}

func (p *Plane) filterHandle() uint32 { return uint32(p.claim.plane) + 1 }

// reserve takes a UDP port on all underlays. What the programs do not take goes to these sockets,
// which nobody reads, so that no other process gets it and no host is told that there is nobody.
func (p *Plane) reserve() error {
	var err error
	for port := p.config.port(); port < p.config.port()+portsTried; port++ {
		if err = p.reservePort(port); err == nil {
			p.port = port
			return nil
		}
		p.unreserve()
	}
	return fmt.Errorf("taking a port for VXLAN of %d to %d: %w", p.config.port(), p.config.port()+portsTried-1, err)
}

func (p *Plane) reservePort(port uint16) error {
	for _, u := range p.underlays {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		p.reserved = append(p.reserved, fd)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(port), Addr: u.addr.As4()}); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plane) unreserve() {
	for _, fd := range p.reserved {
		unix.Close(fd)
	}
	p.reserved = nil
}
