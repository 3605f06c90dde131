package server

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// A nodeSession is the coordinator's end of one node's stream.
type nodeSession struct {
	peer   wire.PeerID
	cert   *wire.Certificate
	name   string
	slots  int
	rw     io.ReadWriteCloser
	outbox outbox

	leaving bool // it has said goodbye; owned by the reader of the stream

	// Owned by the loop and the journal's writer under Server.mu.
	told   map[wire.PeerID]*wire.PeerInfo // what it was told of other peers
	grants map[wire.Space]time.Time       // when to renew what it was given

	paths   []wire.Path    // that it told last; guarded by Server.mu
	crossed []wire.NetPath // likewise
}

// ServeNode talks to a node, or to a client's machine as the holder of its inputs, until the
// stream ends or ctx does. The certificate says who it is; the stream is closed on return. A
// newer stream of the same peer replaces this one.
func (s *Server) ServeNode(ctx context.Context, rw io.ReadWriteCloser, cert *wire.Certificate) error {
	end, ok := s.begin(ctx, rw)
	if !ok {
		rw.Close()
		return s.closed()
	}
	defer end()
	frames := wire.NewFrameReader(rw)
	var first wire.FromNode
	err := readFrame(frames, rw, &first)
	if err != nil {
		return fmt.Errorf("reading the first frame of %s: %w", cert.Peer, err)
	}
	refusal := s.checkHello(first.Hello, cert)
	if refusal == nil {
		refusal = s.twins(cert.Peer, first.Hello, time.Now())
	}
	if refusal != nil {
		return errorsJoin(refusal, writeFrame(rw, &wire.ToNode{Epoch: uint64(s.epoch), Refuse: refusal}))
	}
	n := &nodeSession{peer: cert.Peer, cert: cert, name: first.Hello.Name, slots: first.Hello.Slots, rw: rw, told: map[wire.PeerID]*wire.PeerInfo{}, grants: map[wire.Space]time.Time{}}
	n.outbox.init()
	s.enter(n, first.Hello)
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		n.outbox.drain(rw, uint64(s.epoch))
		rw.Close() // a node that cannot be told anything is no use
	}()
	err = s.send(sched.NodeUp{Peer: n.peer, Hello: *first.Hello, Owner: cert.Owner, Tenants: cert.Tenants, Until: time.Unix(cert.Expires, 0)})
	for err == nil {
		var f wire.FromNode
		if err = frames.Read(&f); err == nil {
			err = s.nodeFrame(n, &f)
		}
	}
	s.leave(n)
	n.outbox.close()
	<-wrote
	if err == io.EOF {
		err = nil
	}
	return err
}

func errorsJoin(refusal *wire.Error, err error) error {
	if err != nil {
		return fmt.Errorf("%w (and telling so: %w)", refusal, err)
	}
	return refusal
}

func (s *Server) checkHello(h *wire.Hello, cert *wire.Certificate) *wire.Error {
	switch {
	case h == nil:
		return wire.Errorf(wire.CauseInvalid, "", "the first frame is no hello")
	case h.Versions.Protocol+1 < wire.ProtocolVersion || h.Versions.Protocol > wire.ProtocolVersion+1:
		return wire.Errorf(wire.CauseVersion, "update gaggle on the older of the two machines",
			"the coordinator speaks protocol %d (%s), %s speaks %d (%s)", wire.ProtocolVersion,
			s.cfg.Versions.Release, h.Name, h.Versions.Protocol, h.Versions.Release)
	case h.Slots > 0 && !cert.Has(wire.RoleNode):
		return wire.Errorf(wire.CauseUnauthorized, "join with a ticket for nodes", "the certificate of %s does not let it run thunks", h.Name)
	case h.Slots < 0 || h.Slots > 4096 || len(h.Addrs) > wire.MaxAddrs || len(h.Labels) > wire.MaxName || len(h.Name) > 255 || h.MemBytes < 0 || h.Host > wire.MaxHost:
		return wire.Errorf(wire.CauseInvalid, "", "hello of %s exceeds a bound", cert.Peer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nodes) >= wire.MaxPeers {
		return wire.Errorf(wire.CauseBusy, "run a second coordinator", "the coordinator serves %d members already", wire.MaxPeers)
	}
	return nil
}

// enter makes n the session of its peer and queues the welcome.
func (s *Server) enter(n *nodeSession, h *wire.Hello) {
	n.outbox.add(func(f *wire.ToNode) {
		f.Welcome = &wire.Welcome{Versions: s.cfg.Versions, Beat: beatEvery, Now: time.Now().UnixMicro(), Clock: s.Now().UnixMicro(), MemberOf: s.cfg.Mesh, Says: sayEvery}
	})
	n.outbox.flush()
	s.mu.Lock()
	s.tellUnpins(n)
	old := s.nodes[n.peer]
	s.nodes[n.peer] = n
	s.keepCert(n.cert)
	s.peers[n.peer] = &wire.PeerInfo{Peer: n.peer, Name: h.Name, Addrs: h.Addrs, Life: h.Life}
	for _, other := range s.nodes {
		if known := other.told[n.peer]; known != nil && known.Life != h.Life {
			other.outbox.add(func(f *wire.ToNode) { s.introduce(other, f, []wire.PeerID{n.peer}) })
			other.outbox.flush()
		}
	}
	s.mu.Unlock()
	if old != nil {
		old.rw.Close()
		return
	}
	if n.slots == 1 {
		s.tellPeople(n, "joined: 1 slot")
	} else {
		s.tellPeople(n, fmt.Sprintf("joined: %d slots", n.slots))
	}
}

// tellPeople says what became of a node, not of a machine that only submits.
func (s *Server) tellPeople(n *nodeSession, what string) {
	if s.cfg.Told != nil && n.slots > 0 {
		s.cfg.Told(n.name, what)
	}
}

// leave ends n unless a newer session has taken its place.
func (s *Server) leave(n *nodeSession) {
	s.mu.Lock()
	current, closing := s.nodes[n.peer] == n, s.closing
	if current {
		delete(s.nodes, n.peer)
	}
	s.mu.Unlock()
	switch {
	case !current || closing:
	case n.leaving:
		s.tellPeople(n, "left")
	default:
		s.tellPeople(n, "is gone: the connection to it broke")
	}
	if current {
		// The only error is ErrClosed: then nobody is left to care.
		_ = s.send(sched.NodeGone{Peer: n.peer, Left: n.leaving})
	}
}

func (s *Server) closeSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for _, n := range s.nodes {
		n.rw.Close()
	}
	why := wire.Errorf(wire.CauseUnreachable, "run coord attach once it is back", "the coordinator is shutting down")
	if s.trouble != nil {
		why.Message = "the coordinator stopped: " + s.trouble.Error()
	}
	for _, ws := range s.watch {
		for _, w := range ws {
			w.end(wire.Response{Error: why})
		}
	}
}

// nodeFrame turns a frame into events. An error means that the peer breaks the protocol.
func (s *Server) nodeFrame(n *nodeSession, f *wire.FromNode) error {
	if f.Beat != nil {
		n.leaving = f.Beat.Leaving
	}
	if f.Hello != nil {
		return wire.Errorf(wire.CauseInvalid, "", "second hello of %s", n.peer)
	}
	for _, k := range []int{len(f.Started), len(f.Results), len(f.Failures), len(f.Recalled), len(f.Have), len(f.Stored),
		len(f.Lost), len(f.Gone), len(f.Links), len(f.Progress), len(f.Paths), len(f.Crossed)} {
		if k > wire.MaxBatch {
			return wire.Errorf(wire.CauseTooLarge, "", "list of %d in a frame of %s", k, n.peer)
		}
	}
	if n.outbox.overflowed() {
		return wire.Errorf(wire.CauseBusy, "", "%s does not read what it is sent", n.peer)
	}
	if err := mayReport(n.cert, f); err != nil {
		return err
	}
	if f.Paths != nil {
		s.mu.Lock()
		n.paths = f.Paths[:min(len(f.Paths), wire.MaxPaths)]
		s.mu.Unlock()
	}
	if f.Crossed != nil {
		s.mu.Lock()
		n.crossed = f.Crossed[:min(len(f.Crossed), wire.MaxNetPaths)]
		s.mu.Unlock()
	}
	events := []sched.Event{sched.Beat{Peer: n.peer, Beat: f.Beat}}
	for _, set := range f.Have {
		events = append(events, sched.Have{Peer: n.peer, Set: set})
	}
	for _, set := range f.Stored {
		events = append(events, sched.Have{Peer: n.peer, Set: set, Durable: true})
	}
	for _, l := range f.Started {
		events = append(events, sched.Started{Peer: n.peer, Lease: l})
	}
	events, err := s.outcomes(n, f, events)
	if err != nil {
		return err
	}
	for _, l := range f.Recalled {
		events = append(events, sched.Recalled{Peer: n.peer, Lease: l})
	}
	for _, p := range f.Progress {
		events = append(events, sched.Progressed{Peer: n.peer, Progress: p})
	}
	return s.send(append(events, holdings(n.peer, f)...)...)
}

// mayReport checks that the member may say what the frame says: only a node runs thunks, and only
// a node, which may run those of every tenant, speaks of spaces that its certificate does not name.
func mayReport(cert *wire.Certificate, f *wire.FromNode) error {
	if cert.Has(wire.RoleNode) {
		return nil
	}
	if len(f.Results)+len(f.Failures)+len(f.Started)+len(f.Recalled)+len(f.Progress) > 0 {
		return wire.Errorf(wire.CauseUnauthorized, "join with a ticket for nodes", "%s reports runs but is no node", cert.Peer)
	}
	for _, sets := range [][]wire.SpaceSet{f.Have, f.Stored, f.Lost} {
		for _, set := range sets {
			if !cert.May(set.Space) {
				return wire.Errorf(wire.CauseUnauthorized, "", "%s speaks of space %q, which is not its own", cert.Peer, set.Space)
			}
		}
	}
	for _, g := range f.Gone {
		if !cert.May(g.Space) {
			return wire.Errorf(wire.CauseUnauthorized, "", "%s speaks of space %q, which is not its own", cert.Peer, g.Space)
		}
	}
	return nil
}

// holdings is the events about what peers no longer hold and about links.
func holdings(peer wire.PeerID, f *wire.FromNode) (events []sched.Event) {
	for _, set := range f.Lost {
		lost := sched.Lost{Peer: peer, Space: set.Space}
		for _, o := range set.Objects {
			lost.Digests = append(lost.Digests, o.Digest)
		}
		events = append(events, lost)
	}
	for _, g := range f.Gone {
		events = append(events, sched.Lost{Peer: g.Peer, Space: g.Space, Digests: []wire.Digest{g.Digest}, Wrong: g.Wrong})
	}
	for _, l := range f.Links {
		if l.BytesPerSec > 0 && l.RTT >= 0 {
			events = append(events, sched.LinkRate{From: l.From, To: peer, BytesPerSec: l.BytesPerSec, RTT: l.RTT})
		}
	}
	return events
}

// outcomes adds the results and failures of a frame, each covered by its signed receipt.
func (s *Server) outcomes(n *nodeSession, f *wire.FromNode, events []sched.Event) ([]sched.Event, error) {
	if len(f.Results)+len(f.Failures) == 0 {
		return events, nil
	}
	batch, err := wire.DecodeReceiptBatch(f.Receipts)
	if err != nil {
		return nil, fmt.Errorf("results of %s: %w", n.peer, err)
	}
	if batch.Signer != n.peer {
		return nil, wire.Errorf(wire.CauseUnauthorized, "", "receipts of %s sent by %s", batch.Signer, n.peer)
	}
	for _, r := range f.Results {
		v, err := wire.DecodeValue(r.Value)
		if err != nil {
			return nil, fmt.Errorf("results of %s: %w", n.peer, err)
		}
		covered := slices.ContainsFunc(batch.Receipts, func(c wire.Receipt) bool {
			return c.Thunk == r.Thunk && c.Space == r.Space && c.Value == wire.Sum(r.Value)
		})
		if !covered {
			return nil, wire.Errorf(wire.CauseUnauthorized, "", "result of %s for %s without a receipt", n.peer, r.Thunk)
		}
		if len(r.Signature) > 0 {
			if err := wire.KeptClaim(r.Space, r.Thunk, v, n.peer, r.Signature).Verify(); err != nil {
				return nil, fmt.Errorf("results of %s: %w", n.peer, err)
			}
		}
		events = append(events, sched.Resulted{Peer: n.peer, Result: r, Value: v})
	}
	for _, a := range f.Failures {
		a.Failure.Node = n.peer
		a.Failure.Stdout = tail(a.Failure.Stdout)
		a.Failure.Stderr = tail(a.Failure.Stderr)
		events = append(events, sched.AttemptFailed{Peer: n.peer, Attempt: a})
	}
	return events, nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-wire.MaxTail):] }

// toNode queues an action for the node it names. One that is not connected misses it: what
// matters is decided anew when it comes back.
func (s *Server) toNode(a sched.Action) {
	switch a := a.(type) {
	case sched.Offer:
		s.queue(a.Node, func(n *nodeSession, f *wire.ToNode) {
			s.grant(n, f, a.Offer.Space)
			for _, h := range slices.Concat(a.Offer.Holders, a.Offer.Expect) {
				s.introduce(n, f, h.Peers)
				s.introduce(n, f, h.Coming)
			}
			f.Offers = append(f.Offers, a.Offer)
		})
	case sched.Copy:
		s.queue(a.Node, func(n *nodeSession, f *wire.ToNode) {
			s.grant(n, f, a.Copy.Space)
			s.introduce(n, f, a.Copy.Held.Peers)
			f.Copy = append(f.Copy, a.Copy)
		})
	case sched.Probe:
		s.queue(a.Node, func(n *nodeSession, f *wire.ToNode) {
			s.grant(n, f, wire.Public)
			s.introduce(n, f, []wire.PeerID{a.From})
			f.Probe = append(f.Probe, a.From)
		})
	case sched.Withdraw:
		s.queue(a.Node, func(_ *nodeSession, f *wire.ToNode) {
			f.Withdraw = append(f.Withdraw, wire.Withdrawal{Space: a.Space, Thunk: a.Thunk})
		})
	case sched.Network:
		s.queue(a.Node, func(n *nodeSession, f *wire.ToNode) {
			for i := range a.Network.Members {
				s.introduce(n, f, []wire.PeerID{a.Network.Members[i].Peer})
			}
			f.Networks = append(f.Networks, *a.Network)
		})
	case sched.Host:
		s.queue(a.Node, func(_ *nodeSession, f *wire.ToNode) { f.Host = a.Host })
	case sched.Recall:
		s.queue(a.Node, func(_ *nodeSession, f *wire.ToNode) { f.Recall = append(f.Recall, a.Lease) })
	case sched.Cancel:
		s.queue(a.Node, func(_ *nodeSession, f *wire.ToNode) { f.Cancel = append(f.Cancel, a.Lease) })
	case sched.Ack:
		s.queue(a.Node, func(_ *nodeSession, f *wire.ToNode) { f.Acked = append(f.Acked, a.Lease) })
	case sched.Pin:
		s.queue(a.Node, func(_ *nodeSession, f *wire.ToNode) { f.Pin = append(f.Pin, a.Pin) })
	case sched.Unpin:
		s.unpin(a.Node, a.Pin)
	default:
		panic(fmt.Sprintf("server: unknown action %T", a))
	}
}

func (s *Server) queue(peer wire.PeerID, add func(*nodeSession, *wire.ToNode)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[peer]; n != nil {
		n.outbox.add(func(f *wire.ToNode) { add(n, f) })
	}
}

// flushOutboxes lets the writers go: what one batch has for a node travels together.
func (s *Server) flushOutboxes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		n.outbox.flush()
	}
}

// talk says something to every node that was told nothing for a while, until ctx ends. It does not
// hang on the loop: a coordinator that is slow is no reason for its nodes to look for another.
func (s *Server) talk(ctx context.Context) {
	tick := time.NewTicker(sayEvery / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.mu.Lock()
			for _, n := range s.nodes {
				n.outbox.say(now.Add(-sayEvery / 2))
			}
			s.mu.Unlock()
		}
	}
}

// grant adds a grant for the space unless the node has a fresh one. Called under s.mu.
func (s *Server) grant(n *nodeSession, f *wire.ToNode, space wire.Space) {
	now := s.Now()
	if now.Before(n.grants[space]) {
		return
	}
	n.grants[space] = now.Add(wire.GrantLife / 2)
	f.Grants = append(f.Grants, wire.SignGrant(s.cfg.Key, space, n.peer, now.Add(wire.GrantLife)).Encode())
}

// introduce adds the addresses of peers the node was not told yet. Called under s.mu.
func (s *Server) introduce(n *nodeSession, f *wire.ToNode, peers []wire.PeerID) {
	for _, p := range peers {
		info := s.peers[p]
		if info == nil || p == n.peer || n.told[p] == info {
			continue
		}
		n.told[p] = info
		f.Peers = append(f.Peers, *info)
	}
}
