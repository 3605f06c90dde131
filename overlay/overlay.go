// Package overlay gives tasks of one gang a network of their own: plain TCP and UDP between machines
// that need not reach each other but through the mesh, names, and nothing else in sight.
//
// An endpoint is a network namespace that a slot of the sandbox has made ahead, with a device eth0.
// Its address says where it is, so none has to be looked up by those who have it:
//
//	10 (8 bits) | number of the host (13 bits, 1 to wire.MaxHost) | number of the slot (11 bits, 1 to MaxSlot)
//
// The coordinator gives a host its number, and a network (wire.Network) its VNI and its members, of
// which the network's hosts follow. An endpoint is bound to a network when its command starts, and
// given up with it. So a packet may leave an endpoint of network n only from its own address, and
// only to an endpoint of n on a host of n; from a peer it is taken only if the source is on the host
// that n's members say is that peer, and the destination is bound to n. There is no broadcast and no
// multicast, no IPv6, and no way to the machine itself or to another network; the same address may
// be of two networks at different times only.
//
// The packets between two hosts, of all networks, go over a stream of ProtocolFrames each way, which
// is encrypted, and direct, punched or relayed as the mesh has it. They are queued as frames, 8 bytes
// before each, all numbers big endian:
//
//	0  length of the packet, 20 to 65,535 (uint16)
//	2  kind: bit 0 the checksum is yet to be completed; bit 1 it is to be cut up into TCP segments,
//	   bit 2 with explicit congestion notification
//	3  VNI (24 bits)
//	6  bytes of payload in each segment, 0 unless it is to be cut up (uint16)
//	8  the IPv4 packet
//
// Where the connection is direct, by QUIC, whole packets of UDP and ICMP go as its datagrams: they wait for no
// TCP, and may be lost. What stands before the packet there is the kind (1) and the VNI (3). Those that do not
// fit go by the stream, and so do all if the connection is relayed or by TCP. Who takes a stream writes the
// byte 1 to it if it reads datagrams as well; without that, as from older versions, there are none (datagram.go).
//
// A packet that is to be cut up never is, between endpoints that are TUN devices: one kernel hands
// 64 KiB of a TCP stream over to the other. For an endpoint that is not there the host answers as a
// machine would whose port is closed, so that nobody waits for what has ended.
//
// A node that runs as root may leave packets to the kernel (UsePlane, kernel_linux.go). Then those to hosts
// in trusted networks go as package wired says, and only what it cannot send comes here.
//
// Addresses of members are asked of the agents of their hosts (ProtocolAsk, see ask.go), when a
// command asks for a name at 169.254.1.1, an address of its own loopback: see names.go.
package overlay

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

// MaxSlot is the highest number of a slot in an address; 0 and the last are the host's and nobody's.
const MaxSlot = 1<<slotBits - 2

// Protocols of streams between agents.
const (
	ProtocolFrames = "/gaggle/overlay/frames/1"
	ProtocolAsk    = "/gaggle/overlay/ask/1"
)

// A Stream is one conversation with a peer. Reset makes reads and writes that are under way return.
type Stream interface {
	io.ReadWriteCloser
	Reset()
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Peer() wire.PeerID
	// Datagrams returns those of the stream's connection, nil if it has none.
	Datagrams() Datagrams
	// Superseded reports whether there is a better connection by now, for a new stream.
	Superseded() bool
}

// Peers are the other members of the mesh.
type Peers interface {
	// Open begins a stream of a protocol to a peer.
	Open(ctx context.Context, p wire.PeerID, protocol string) (Stream, error)
	// Handle lets fn serve the streams of a protocol that certified peers open.
	Handle(protocol string, fn func(Stream))
}

// Config says what an Agent works with. Self must be set.
type Config struct {
	Self   wire.PeerID
	Peers  Peers        // nil: this machine is alone
	Logger *slog.Logger // nil discards
}

// maxNetworks bounds what an agent is told of at once: a node has fewer slots.
const maxNetworks = 4096

// An Agent is this machine's part of all networks. It is a sandbox.Networks, and safe for concurrent
// use.
type Agent struct {
	self       wire.PeerID
	peers      Peers
	log        *slog.Logger
	watchEvery time.Duration // how often the ways of the kernel's plane that are in use are tried

	ctx  context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup

	burying chan struct{} // capacity maxBurying: held by who removes a device

	slots [MaxSlot + 1]atomic.Pointer[endpoint] // by number
	count counters
	how   atomic.Value // string: the kind of device that was laid last
	plane atomic.Pointer[kernel]

	mu     sync.Mutex // guards the fields below
	host   uint16     // 0: not known
	last   uint16     // slot that was given out last
	nets   map[uint32]*network
	links  map[wire.PeerID]*link
	guests map[wire.PeerID]*guest
	past   past // of networks that were dropped
}

// watchEvery is an agent's own: a way that breaks is left within two seconds more than two tries take.
const watchEvery = 2 * time.Second

// New makes an agent, which serves peers at once.
func New(c Config) *Agent {
	a := &Agent{self: c.Self, peers: c.Peers, log: c.Logger, watchEvery: watchEvery, nets: map[uint32]*network{},
		links: map[wire.PeerID]*link{}, guests: map[wire.PeerID]*guest{}, burying: make(chan struct{}, maxBurying)}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.ctx, a.end = context.WithCancel(context.Background())
	if a.peers != nil {
		a.peers.Handle(ProtocolFrames, a.serveFrames)
		a.peers.Handle(ProtocolAsk, a.serveAsk)
	}
	return a
}

// Close ends what the agent does. Cables are the sandbox's to close, before or after.
func (a *Agent) Close() (err error) {
	a.mu.Lock()
	a.end()
	a.mu.Unlock()
	if k := a.plane.Load(); k != nil {
		err = k.close()
	}
	a.work.Wait()
	return err
}

// SetHost says which number this machine has; 0 is none. Cables that were laid under another one
// are refused with sandbox.ErrStale when they are to be used.
func (a *Agent) SetHost(h uint16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.host = min(h, wire.MaxHost)
}

// Learn takes in a network, which is not changed afterwards, or replaces what was said of it. One
// that can be none, or is too many, is left out: its members cannot join then.
func (a *Agent) Learn(n *wire.Network) {
	made, err := newNetwork(n)
	if err != nil {
		a.log.Warn("a network is left out", "error", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep(time.Now())
	if old := a.nets[n.VNI]; old != nil {
		a.finish(old)
		a.drop(old)
	} else if len(a.nets) >= maxNetworks && !a.dropOldest() {
		a.log.Warn("a network is left out, of too many", "vni", n.VNI)
		return
	}
	a.nets[n.VNI] = made
}

// Try has an engine, whose Networks the agent is, make an endpoint and give it up, as if this machine
// had a number. The error says what is missing for networks.
func (a *Agent) Try(ctx context.Context, e *sandbox.Engine) error {
	a.mu.Lock()
	was := a.host
	a.host = cmp.Or(was, 1)
	a.mu.Unlock()
	err := e.TryNetwork(ctx)
	a.SetHost(was)
	return err
}

// Trial says by which kind of device a task could be on a network here, or what is missing.
func Trial(ctx context.Context) (how string, err error) {
	dir, err := os.MkdirTemp("", "gaggle-trial")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	a := New(Config{})
	defer a.Close()
	e, err := sandbox.New(sandbox.Config{Dir: dir, Slots: 1, Networks: a})
	if err != nil {
		return "", err
	}
	err = a.Try(ctx, e)
	if err = errors.Join(err, e.Close()); err != nil {
		return "", err
	}
	return a.how.Load().(string), nil
}

// lingerFor is how long a network that has ended is remembered, so that those who still talk to its
// members here are told that they have gone.
const lingerFor = time.Minute

// Forget ends a network: its endpoints here reach nothing any more.
func (a *Agent) Forget(vni uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep(time.Now())
	if n := a.nets[vni]; n != nil {
		a.finish(n)
	}
}

// finish ends a network. Called with mu held.
func (a *Agent) finish(n *network) {
	n.end()
	if k := a.plane.Load(); k != nil && a.ctx.Err() == nil {
		a.work.Go(func() { k.forget(n.vni) })
	}
}

// sweep drops networks that ended long ago. Called with mu held.
func (a *Agent) sweep(now time.Time) {
	for _, n := range a.nets {
		if n.ended.Load() && now.Sub(n.endedAt) > lingerFor {
			a.drop(n)
		}
	}
}

// dropOldest makes room by forgetting the network that ended first. It returns false if none has.
// Called with mu held.
func (a *Agent) dropOldest() bool {
	var oldest *network
	for _, n := range a.nets {
		if n.ended.Load() && (oldest == nil || n.endedAt.Before(oldest.endedAt)) {
			oldest = n
		}
	}
	if oldest == nil {
		return false
	}
	a.drop(oldest)
	return true
}

// drop forgets all of a network but its traffic. Called with mu held.
func (a *Agent) drop(n *network) {
	s := n.stats()
	a.past.add(&s)
	delete(a.nets, n.vni)
}

// network returns the network of a VNI, which may have ended; nil if it is not known.
func (a *Agent) network(vni uint32) *network {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.nets[vni]
}

// known returns the network of a VNI, or an error for people.
func (a *Agent) known(vni uint32) (*network, error) {
	if n := a.network(vni); n != nil && !n.ended.Load() {
		return n, nil
	}
	return nil, wire.Errorf(wire.CauseSandbox, "", "this node does not know network %d (any more)", vni)
}

// Member returns a member of a network, for a run of its command here. Whether there is such a one
// is found out when it joins.
func (a *Agent) Member(vni uint32, i int) sandbox.Membership { return &membership{a, vni, i} }
