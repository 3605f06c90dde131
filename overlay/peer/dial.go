package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"gaggle/wire"
)

const (
	// dialTimeout bounds a dial over all addresses. libp2p gives each address 5 s or 15 s.
	dialTimeout = 20 * time.Second
	// addrsFor is how long addresses are lent to libp2p for a dial.
	addrsFor = time.Minute
	// maxBook bounds the peers whose addresses are remembered.
	maxBook = 4 * wire.MaxPeers
)

// AddAddrs remembers where a peer may be reached, at most wire.MaxAddrs addresses. It replaces
// what was said before. Malformed addresses are left out; without any good one nothing changes.
func (h *Host) AddAddrs(p wire.PeerID, addrs []string) {
	var good []ma.Multiaddr
	for _, s := range addrs[:min(len(addrs), wire.MaxAddrs)] {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			h.log.Warn("a malformed address is left out", "peer", p, "addr", s, "error", err)
			continue
		}
		good = append(good, a)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, a := range good {
		good[i] = h.usable(a)
	}
	good = slices.DeleteFunc(good, func(a ma.Multiaddr) bool { return len(a) == 0 })
	if len(good) == 0 || p == h.ID() {
		return
	}
	if _, known := h.book[p]; !known && len(h.book) >= maxBook {
		for other := range h.book {
			delete(h.book, other)
			delete(h.lives, other)
			break
		}
	}
	h.book[p] = good
}

// Met is AddAddrs for a peer of which the coordinator says in which life it is, a number that each
// of its processes draws. When that changes the connections to the earlier process are ended: a
// process that was killed tells nobody, and QUIC would wait for its answers for 30 s.
//
// What members say of themselves has no names in it, which would have to be asked for at a server of
// their choice, and no addresses of many.
func (h *Host) Met(p wire.PeerInfo) {
	h.AddAddrs(p.Peer, slices.DeleteFunc(slices.Clone(p.Addrs), func(s string) bool { return !plainAddr(s) }))
	h.mu.Lock()
	before := h.lives[p.Peer]
	if _, known := h.book[p.Peer]; known && p.Life != 0 {
		h.lives[p.Peer] = p.Life
	}
	h.mu.Unlock()
	if before != 0 && p.Life != 0 && before != p.Life {
		h.Disconnect(p.Peer)
	}
}

// plainAddr reports whether an address is an IP address of one machine, or leads through a relay.
func plainAddr(s string) bool {
	a, err := ma.NewMultiaddr(s)
	if err != nil || isCircuit(a) {
		return err == nil
	}
	ip, err := manet.ToIP(a)
	return err == nil && !ip.IsMulticast() && !ip.IsUnspecified() && !ip.Equal(net.IPv4bcast)
}

// Connect makes sure that there is a connection to p on which certificates were exchanged.
// addrs, if any, are as for AddAddrs.
//
// Errors are of ctx, or a *wire.Error: CauseUnreachable names the addresses tried;
// CauseUnauthorized is a certificate of another mesh, forged or missing, or another peer at
// that address; CauseExpired a certificate, ours or theirs, that ran out; CauseClock clocks more
// than wire.MaxClockSkew apart; CauseRevoked a membership, ours or theirs, that was ended.
func (h *Host) Connect(ctx context.Context, p wire.PeerID, addrs []string) error {
	h.AddAddrs(p, addrs)
	_, err := h.reach(ctx, p)
	return err
}

// Open begins a stream of a protocol to p, and connects first if need be, with Connect's errors.
// It does not wait for p to accept: that p does not handle the protocol is the error of a Read.
// It waits, until ctx ends, while too many streams to p are open. ctx is not for what follows.
func (h *Host) Open(ctx context.Context, p wire.PeerID, proto string) (*Stream, error) {
	for again := true; ; again = false {
		l, err := h.reach(ctx, p)
		if err != nil {
			return nil, err
		}
		s, rw, err := openRaw(ctx, l.conn, proto)
		switch {
		case err == nil:
			return l.stream(s, rw), nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case again && l.conn.IsClosed():
			// It ended between the two steps, or just before and libp2p had not noticed.
		default:
			return nil, unreachable(p, []string{l.conn.RemoteMultiaddr().String()}, err)
		}
	}
}

// reach returns a certified connection to p.
func (h *Host) reach(ctx context.Context, p wire.PeerID) (l *link, err error) {
	err = h.persist(ctx, p, func() error {
		l, err = h.tryReach(ctx, p)
		return err
	})
	return l, err
}

const (
	// maxRetries and firstRetry spread the members of a cluster over a few seconds.
	maxRetries = 6
	firstRetry = 50 * time.Millisecond
)

// A cutError is of a connection that was made and then broke off before it was of use.
type cutError struct {
	addr string
	err  error
}

func (e *cutError) Error() string { return e.err.Error() }

// persist tries again after a *cutError, a few times: libp2p's QUIC listener drops connections
// when more than sixteen wait to be accepted, as when a whole cluster comes back at once.
func (h *Host) persist(ctx context.Context, p wire.PeerID, try func() error) error {
	pause := firstRetry
	for left := maxRetries; ; left-- {
		err := try()
		var cut *cutError
		if !errors.As(err, &cut) {
			return err
		}
		if left == 0 {
			return unreachable(p, []string{cut.addr}, cut.err)
		}
		timer := time.NewTimer(pause + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		pause *= 2
	}
}

// tryReach is one try of reach.
func (h *Host) tryReach(ctx context.Context, p wire.PeerID) (*link, error) {
	if err := cmp.Or(h.Revoked(h.ID()), h.Revoked(p)); err != nil {
		return nil, err
	}
	l := h.certified(p)
	if l == nil {
		var err error
		if l, err = h.dial(ctx, p); err != nil {
			return nil, err
		}
	}
	err := h.certify(ctx, l)
	if err == nil {
		if l.relayed {
			h.goDirect(l)
		}
		return l, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	defer l.close()
	return nil, l.failed(err)
}

// failed explains why a connection was of no use.
func (l *link) failed(err error) error {
	var e *wire.Error
	var lost *network.ConnError
	addr := l.conn.RemoteMultiaddr().String()
	switch {
	case errors.As(err, &e):
		return &wire.Error{Cause: e.Cause, Hint: e.Hint, Message: fmt.Sprintf("connecting to %s: %s", l.peer, e.Message)}
	case errors.As(err, &lost), err == errEnded, l.conn.IsClosed():
		return &cutError{addr, err}
	}
	return unreachable(l.peer, []string{addr}, err)
}

// dial returns a connection to p, certified or not.
func (h *Host) dial(ctx context.Context, p wire.PeerID) (*link, error) {
	if p == h.ID() {
		return nil, wire.Errorf(wire.CauseInvalid, "", "connecting to %s: that is this machine itself", p)
	}
	id := peerID(p)
	addrs := h.lend(p)
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dctx = network.WithAllowLimitedConn(dctx, "members may be relayed")
	// libp2p's own timeout would cover the real one with its error.
	c, err := h.swarm.DialPeer(network.WithDialPeerTimeout(dctx, 2*dialTimeout), id)
	if err == nil {
		if l := h.linkOf(c); l != nil {
			return l, nil
		}
		return nil, &cutError{c.RemoteMultiaddr().String(), errEnded}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, dialError(p, addrs, err)
}

// lend gives libp2p the addresses of a peer for a dial, and returns them.
func (h *Host) lend(p wire.PeerID) []ma.Multiaddr {
	h.mu.Lock()
	addrs := slices.Clone(h.book[p])
	h.mu.Unlock()
	h.p2p.Peerstore().AddAddrs(peerID(p), addrs, addrsFor)
	h.swarm.Backoff().Clear(peerID(p)) // callers pace themselves; a refusal to try helps nobody
	return addrs
}

// dialError explains a failed dial.
func dialError(p wire.PeerID, addrs []ma.Multiaddr, err error) error {
	var other sec.ErrPeerIDMismatch
	if errors.As(err, &other) {
		return wire.Errorf(wire.CauseUnauthorized, "ask for a new ticket or address: the machine was set up anew, or another one has its address",
			"connecting to %s: another peer (%s) answers at its address", p, other.Actual)
	}
	var tried []string
	var failed *swarm.DialError
	if errors.As(err, &failed) {
		for _, e := range failed.DialErrors {
			tried = append(tried, fmt.Sprintf("%s (%s)", e.Address, firstLine(e.Cause)))
		}
		err = failed.Cause
	}
	for _, a := range addrs {
		if !slices.ContainsFunc(tried, func(s string) bool { return strings.HasPrefix(s, a.String()+" ") }) {
			tried = append(tried, a.String())
		}
	}
	return unreachable(p, tried, err)
}

// unreachable names what was tried.
func unreachable(p wire.PeerID, tried []string, err error) error {
	if len(tried) == 0 {
		return wire.Errorf(wire.CauseUnreachable, "it must connect here first, or its address be given", "%s cannot be reached: no address of it is known", p)
	}
	why := ""
	if err != nil && !errors.Is(err, swarm.ErrAllDialsFailed) {
		why = ": " + firstLine(err)
	}
	return wire.Errorf(wire.CauseUnreachable,
		"check that gaggle runs there and that firewalls between let its port through, UDP and TCP (7070 unless set)",
		"%s cannot be reached at %s%s", p, strings.Join(tried, ", "), why)
}

// firstLine returns the beginning of an error's text: libp2p's go on for pages.
func firstLine(err error) string {
	if err == nil {
		return "no answer"
	}
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s[:min(len(s), 200)]
}
