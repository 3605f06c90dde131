package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"gaggle/wire"
)

// A stream of ProtocolAsk has one frame each way:
//
//	{"vni": number, "members": [index in the network], "listen": their Ready ports are meant, "wait": ms}
//	{"addrs": [address, 0 if it is not there yet, 4294967295 if it has ended], "listen": all of them do}
//
// The answer may take as long as the asker is ready to wait, until all that was asked for is there.
// Who is not a host of the network is told nothing. What agents with planes ask beside, and say, is in
// way.go.

// A question is what one agent asks another, about members that run there.
type question struct {
	VNI     uint32       `cbor:"vni"`
	Members []int        `cbor:"members"`
	Listen  bool         `cbor:"listen,omitempty"`
	Wait    int64        `cbor:"wait,omitempty"`
	Way     *wayQuestion `cbor:"way,omitempty"`
}

type answer struct {
	Addrs  []address  `cbor:"addrs,omitempty"`
	Listen bool       `cbor:"listen,omitempty"`
	Way    *wayAnswer `cbor:"way,omitempty"`
}

const (
	absent address = 0         // not there yet
	ended  address = 1<<32 - 1 // there no more

	// maxAsks bounds what one peer may ask at once: a few commands that start together.
	maxAsks = 64
	// maxWait bounds how long an answer is held back.
	maxWait = 10 * time.Second
	// askTimeout bounds a question beside the wait.
	askTimeout = 10 * time.Second
	// maxQuestion bounds a frame: wire.MaxGang numbers.
	maxQuestion = 16 << 10
	// askAgain is how long an agent is not asked again that could not answer.
	askAgain = 200 * time.Millisecond
)

// serveAsk answers a question.
func (a *Agent) serveAsk(s Stream) {
	g, leave := a.enter(s.Peer(), func(g *guest) *int { return &g.asks }, maxAsks)
	if g == nil {
		s.Reset()
		return
	}
	defer leave()
	if err := a.answer(s); err != nil {
		a.log.Debug("a question about a network", "peer", s.Peer(), "error", err)
		s.Reset()
		return
	}
	_ = s.Close()
}

func (a *Agent) answer(s Stream) error {
	if err := s.SetReadDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	var q question
	if err := wire.NewFrameReader(io.LimitReader(s, maxQuestion)).Read(&q); err != nil {
		return err
	}
	n := a.network(q.VNI)
	if n == nil {
		return fmt.Errorf("network %d is not known", q.VNI)
	}
	if !n.of(s.Peer()) {
		return fmt.Errorf("not a host of network %d", q.VNI)
	}
	for _, i := range q.Members {
		if i < 0 || i >= len(n.members) || n.members[i].Peer != a.self {
			return fmt.Errorf("member %d of network %d is not here", i, q.VNI)
		}
	}
	wait := min(max(time.Duration(q.Wait)*time.Millisecond, 0), maxWait)
	ctx, cancel := context.WithTimeout(a.ctx, wait)
	defer cancel()
	var r answer
	if k := a.plane.Load(); k != nil && q.Way != nil {
		r.Way = k.answer(n, s.Peer(), q.Way)
	}
	if q.Listen {
		r.Listen = true
		for _, i := range q.Members {
			r.Listen = r.Listen && a.await(ctx, n, i) == nil
		}
	} else {
		r.Addrs = n.wait(ctx, q.Members)
	}
	if err := s.SetWriteDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	return wire.WriteFrame(s, &r)
}

// wait returns the addresses of members that run here, when all are there or ctx has ended.
func (n *network) wait(ctx context.Context, members []int) []address {
	for {
		addrs, changed, whole := n.look(members)
		if whole || n.ended.Load() {
			return addrs
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return addrs
		}
	}
}

// look returns the addresses of members that run here as they are, and whether all are known.
func (n *network) look(members []int) (addrs []address, changed <-chan struct{}, whole bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	whole = true
	addrs = make([]address, len(members))
	for k, i := range members {
		switch {
		case n.here[i] != nil && !n.ended.Load():
			addrs[k] = n.here[i].addr
		case n.over[i] || n.ended.Load():
			addrs[k] = ended
		default:
			whole = false
		}
	}
	return addrs, n.changed, whole
}

// ask puts a question to the agent of a peer.
func (a *Agent) ask(ctx context.Context, p wire.PeerID, q question) (r answer, err error) {
	if a.peers == nil {
		return r, wire.Errorf(wire.CauseUnreachable, "", "this machine is alone")
	}
	a.count.asked.Add(1)
	if d, ok := ctx.Deadline(); ok {
		q.Wait = min(q.Wait, max(0, time.Until(d).Milliseconds()))
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout+time.Duration(q.Wait)*time.Millisecond)
	defer cancel()
	s, err := a.peers.Open(ctx, p, ProtocolAsk)
	if err != nil {
		return r, err
	}
	defer s.Reset()
	defer context.AfterFunc(ctx, s.Reset)()
	defer context.AfterFunc(a.ctx, s.Reset)()
	if err = wire.WriteFrame(s, &q); err == nil {
		err = wire.NewFrameReader(io.LimitReader(s, maxQuestion)).Read(&r)
	}
	if e := context.Cause(ctx); e != nil && err != nil {
		err = e
	}
	if err == nil && !q.Listen && len(r.Addrs) != len(q.Members) {
		err = errors.New("an answer about others than were asked for")
	}
	return r, err
}

// byPeer groups members by the peers that they run on.
func (n *network) byPeer(members []int) map[wire.PeerID][]int {
	groups := map[wire.PeerID][]int{}
	for _, i := range members {
		p := n.members[i].Peer
		groups[p] = append(groups[p], i)
	}
	return groups
}

// lookUp returns the addresses of members, in their order; it waits until all are known or ctx ends.
func (a *Agent) lookUp(ctx context.Context, n *network, members []int) []address {
	found := make(map[int]address, len(members))
	n.mu.Lock()
	for _, i := range members {
		if at, known := n.places[i]; known {
			found[i] = at
		}
	}
	n.mu.Unlock()
	var unknown []int
	for _, i := range members {
		if _, known := found[i]; !known {
			unknown = append(unknown, i)
		}
	}
	var mu sync.Mutex // guards found
	var asking sync.WaitGroup
	for p, is := range n.byPeer(unknown) {
		asking.Go(func() {
			addrs := a.lookUpAt(ctx, n, p, is)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(found, addrs)
		})
	}
	asking.Wait()
	out := make([]address, len(members))
	for k, i := range members {
		out[k] = found[i]
	}
	return out
}

// lookUpAt asks one host for its members.
func (a *Agent) lookUpAt(ctx context.Context, n *network, p wire.PeerID, members []int) map[int]address {
	found := map[int]address{}
	for {
		var addrs []address
		if p == a.self {
			addrs = n.wait(ctx, members)
		} else {
			r, err := a.ask(ctx, p, question{VNI: n.vni, Members: members, Wait: maxWait.Milliseconds()})
			if err != nil {
				a.log.Debug("asking for members of a network", "peer", p, "vni", n.vni, "error", err)
			}
			addrs = r.Addrs
		}
		var left []int
		for k, at := range addrs {
			if i := members[k]; at == ended || n.onHost(at, p) {
				found[i] = at
			} else {
				left = append(left, i)
			}
		}
		if addrs != nil {
			members = left
		}
		if p != a.self {
			n.remember(found)
		}
		if len(members) == 0 || n.ended.Load() || !pause(ctx, askAgain) {
			return found
		}
	}
}

// remember keeps what another host has said. Its members do not move: one that is lost ends the
// network.
func (n *network) remember(found map[int]address) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, at := range found {
		if at != ended {
			n.places[i] = at
		}
	}
}

// pause waits for d. It returns false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
