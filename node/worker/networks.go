package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

// Networks puts tasks on the networks of their gangs; package overlay has one. Its methods are safe
// for concurrent use. Learn and Forget do not block.
type Networks interface {
	// SetHost tells the number of this node, of which the addresses of its tasks are made.
	SetHost(host uint16)
	// Learn tells of a network whose members follow. It is checked, and not changed afterwards.
	Learn(n *wire.Network)
	// Forget ends a network: nothing here is on it any more.
	Forget(vni uint32)
	// Member returns what puts a command of the sandbox on the network, as its member i.
	Member(vni uint32, i int) sandbox.Membership
	// Ready waits until every member of the network listens that others wait for. The error says
	// which does not, if ctx ends before.
	Ready(ctx context.Context, vni uint32) error
}

// A network is one that was told, with the leases here that are on it.
type network struct {
	*wire.Network
	leases int
}

const (
	// maxNetworks bounds those known at once: one for each slot of the largest node.
	maxNetworks = 4096
	// readyWait bounds how long the services of a gang may take to listen: as long as databases
	// need that look through their files first.
	readyWait = 5 * time.Minute
)

// errUnready is why a member does not start.
var errUnready = errors.New("the tasks that it waits for do not listen")

// learn takes in what a frame says of networks. An error ends the connection.
func (w *Worker) learn(f *wire.ToNode) error {
	if len(f.Networks) == 0 && f.Host == 0 {
		return nil
	}
	if w.cfg.Networks == nil {
		return wire.Errorf(wire.CauseInternal, "", "the coordinator tells of networks, which this node does not give")
	}
	if f.Host > wire.MaxHost {
		return wire.Errorf(wire.CauseInternal, "", "the coordinator gave the number %d; the bound is %d", f.Host, wire.MaxHost)
	}
	for i := range f.Networks {
		if err := f.Networks[i].Check(); err != nil {
			return wire.Errorf(wire.CauseInternal, "", "the coordinator tells of what is no network: %v", err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.Host != 0 {
		w.host = f.Host
		w.cfg.Networks.SetHost(f.Host)
	}
	for i := range f.Networks {
		n := &f.Networks[i]
		switch {
		case w.networks[n.VNI] != nil:
			return wire.Errorf(wire.CauseInternal, "", "the coordinator tells of network %d twice", n.VNI)
		case len(w.networks) >= maxNetworks:
			return wire.Errorf(wire.CauseTooLarge, "", "the coordinator tells of more than %d networks", maxNetworks)
		}
		w.networks[n.VNI] = &network{Network: n}
		w.cfg.Networks.Learn(n)
	}
	return nil
}

// dropNetworks forgets the networks whose members never came: the offers were lost with a
// connection. Called under w.mu.
func (w *Worker) dropNetworks() {
	for vni, n := range w.networks {
		if n.leases == 0 {
			w.forgetNetwork(vni)
		}
	}
}

// forgetNetwork ends a network here. Called under w.mu.
func (w *Worker) forgetNetwork(vni uint32) {
	delete(w.networks, vni)
	w.cfg.Networks.Forget(vni)
}

// join enters a lease in its network, if it has one. Called under w.mu.
func (w *Worker) join(l *lease) {
	if l.Net != nil {
		w.networks[l.Net.VNI].leases++
	}
}

// part takes a lease off its network, which ends here with the last of them. Called under w.mu.
func (w *Worker) part(l *lease) {
	if l.Net == nil || l.thunk == nil { // it was refused
		return
	}
	n := w.networks[l.Net.VNI]
	if n.leases--; n.leases == 0 {
		w.forgetNetwork(l.Net.VNI)
	}
}

// checkPlace checks that an offer is on a network if its thunk is, and on one that was told. Called
// under w.mu.
func (w *Worker) checkPlace(o *wire.Offer, t *wire.Thunk) error {
	if (t.ABI == wire.ABINetworked) != (o.Net != nil) {
		return wire.Errorf(wire.CauseInternal, "", "the coordinator offers a thunk of sandbox profile %d, on a network: %t", t.ABI, o.Net != nil)
	}
	if o.Net == nil {
		return nil
	}
	n := w.networks[o.Net.VNI]
	if n == nil || n.Space != o.Space || o.Net.Member < 0 || o.Net.Member >= len(n.Members) || n.Members[o.Net.Member].Peer != w.self {
		return wire.Errorf(wire.CauseInternal, "", "the coordinator offers member %d of network %d, which is none of this node's", o.Net.Member, o.Net.VNI)
	}
	return nil
}

// awaitOthers waits until those of the lease's gang listen that it is to wait for.
func (w *Worker) awaitOthers(l *lease) error {
	if l.Net == nil {
		return nil
	}
	w.mu.Lock()
	n := w.networks[l.Net.VNI]
	w.mu.Unlock()
	if n == nil || !n.Members[l.Net.Member].Waits() || !n.listens() {
		return context.Cause(l.ctx)
	}
	l.shown.set("wait", 0, 0, wire.PeerID{})
	ctx, cancel := context.WithTimeoutCause(l.ctx, readyWait, errUnready)
	defer cancel()
	err := w.cfg.Networks.Ready(ctx, l.Net.VNI)
	switch {
	case l.ctx.Err() != nil:
		return context.Cause(l.ctx)
	case err != nil && ctx.Err() != nil:
		return wire.Errorf(wire.CauseTimeout, "coord logs shows what they say",
			"%v, and %v have passed: %v", errUnready, readyWait, err)
	case err != nil:
		return fmt.Errorf("waiting for the others of its gang: %w", err)
	}
	return nil
}

// membership is what puts the command of a lease on its network, nil if it has none.
func (w *Worker) membership(l *lease) sandbox.Membership {
	if l.Net == nil {
		return nil
	}
	return w.cfg.Networks.Member(l.Net.VNI, l.Net.Member)
}

// listens reports whether there is a member that others wait for.
func (n *network) listens() bool {
	for i := range n.Members {
		if n.Members[i].Ready != 0 {
			return true
		}
	}
	return false
}

// tellCrossed tells what went over networks if that is not what was told last, and returns what was.
func (w *Worker) tellCrossed(out *outbox, told []wire.NetPath) []wire.NetPath {
	if w.cfg.Crossed == nil {
		return nil
	}
	now := w.cfg.Crossed()
	if len(now) > 0 && !slices.Equal(now, told) {
		out.crossed(now)
	}
	return now
}
