package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// ServeClient answers one request of a certified member and closes the stream. A refusal is an
// answer, not an error here.
func (s *Server) ServeClient(ctx context.Context, rw io.ReadWriteCloser, cert *wire.Certificate) error {
	end, ok := s.begin(ctx, rw)
	if !ok {
		defer rw.Close()
		return errors.Join(s.closed(), writeFrame(rw, &wire.Response{Error: wire.AsError(s.closed())}))
	}
	defer end()
	frames := wire.NewFrameReader(rw)
	var req wire.Request
	if err := readFrame(frames, rw, &req); err != nil {
		return fmt.Errorf("reading the request of %s: %w", cert.Peer, err)
	}
	c := &client{s: s, rw: rw, frames: frames, cert: cert}
	if err := c.answer(&req); err != nil {
		return writeFrame(rw, &wire.Response{Error: wire.AsError(err)})
	}
	return nil
}

// A client is one request being answered.
type client struct {
	s      *Server
	rw     io.ReadWriteCloser
	frames *wire.FrameReader
	cert   *wire.Certificate
}

func (c *client) write(r *wire.Response) error { return writeFrame(c.rw, r) }

func (c *client) answer(req *wire.Request) error {
	switch {
	case req.Submit != nil:
		return c.submit(req.Submit)
	case req.Attach != nil:
		return c.attach(req.Attach.Job)
	case req.Cancel != nil:
		return c.order(req.Cancel.Job, sched.Cancelled{Job: req.Cancel.Job})
	case req.Release != nil:
		return c.order(req.Release.Job, sched.Released{Job: req.Release.Job})
	case req.Status != nil:
		return c.status(req.Status.Job)
	case req.Explain != nil:
		return c.explain(req.Explain)
	case req.Nodes != nil:
		return c.nodes()
	case req.Judge != nil:
		return c.judge(req.Judge)
	case req.Where != nil:
		return c.where(req.Where)
	case req.Known != nil:
		return c.known(req.Known)
	case req.Claims != nil:
		return c.claims(req.Claims)
	}
	return wire.Errorf(wire.CauseVersion, "update gaggle on the older of the two machines", "the coordinator does not know this request")
}

// order passes on what the client wants of a job and answers with its state.
func (c *client) order(id wire.JobID, e sched.Event) error {
	j, err := c.job(id)
	if err != nil {
		return err
	}
	if _, release := e.(sched.Released); release && c.s.endedJob(id) != nil {
		if err := c.s.unpinTargets(j); err != nil {
			return err
		}
	}
	if err := c.s.send(e); err != nil {
		return err
	}
	return c.status(id)
}

func (c *client) status(id wire.JobID) error {
	if id == (wire.JobID{}) {
		jobs, err := c.jobs()
		if err != nil {
			return err
		}
		return c.write(&wire.Response{Jobs: jobs, Trouble: c.s.troubled()})
	}
	j, err := c.job(id)
	if err != nil {
		return err
	}
	if err := c.s.ask(func(st *sched.State) { j.Networks = st.Networks(id) }); err != nil {
		return err
	}
	c.s.addCrossed(j.Networks)
	r := &wire.Response{Jobs: []wire.JobStatus{j}, Trouble: c.s.troubled()}
	for _, t := range j.Targets {
		r.Peers = c.s.infos(r.Peers, t.Held.Peers)
	}
	r.Grant = c.s.grantFor(j.Space, c.cert.Peer)
	return c.write(r)
}

func (c *client) explain(ref *wire.TaskRef) error {
	j, err := c.job(ref.Job)
	if err != nil {
		return err
	}
	var tasks []wire.TaskStatus
	if err := c.s.ask(func(st *sched.State) { tasks = st.Tasks(ref.Job, ref.Task) }); err != nil {
		return err
	}
	r := &wire.Response{Tasks: tasks, Grant: c.s.grantFor(j.Space, c.cert.Peer)}
	size := 0
	for i := range r.Tasks {
		t := &r.Tasks[i]
		if size += len(t.Encoded); size > wire.MaxFrame/2 {
			t.Encoded = nil
		}
		r.Peers = c.s.infos(r.Peers, []wire.PeerID{t.Node})
	}
	return c.write(r)
}

func (c *client) nodes() error {
	r := &wire.Response{Traffic: &wire.Traffic{SubGraphBytes: c.s.graphBytes.Load()}, Trouble: c.s.troubled()}
	if err := c.s.ask(func(st *sched.State) { r.Nodes = st.Nodes() }); err != nil {
		return err
	}
	c.s.barredKeys(r.Nodes)
	c.s.addPaths(r.Nodes)
	if c.s.cfg.Relayed != nil {
		r.Traffic.RelayedBytes = c.s.cfg.Relayed()
	}
	return c.write(r)
}

// addPaths fills in what the members told of their paths.
func (s *Server) addPaths(nodes []wire.NodeStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range nodes {
		if n := s.nodes[nodes[i].Info.Peer]; n != nil {
			nodes[i].Paths = n.paths
		}
	}
}

// judge shuts a node out by hand, or lets it in.
func (c *client) judge(req *wire.Judge) error {
	if !c.cert.Has(wire.RoleClient) {
		return wire.Errorf(wire.CauseUnauthorized, "ask from a machine that may submit (coord login)", "this machine may not judge others")
	}
	if len(req.Reason) > wire.MaxText {
		return wire.Errorf(wire.CauseTooLarge, "", "the reason exceeds %d bytes", wire.MaxText)
	}
	var node *wire.NodeStatus
	err := c.s.ask(func(st *sched.State) {
		for _, n := range st.Nodes() {
			if n.Info.Peer == req.Peer {
				node = &n
			}
		}
	})
	switch {
	case err != nil:
		return err
	case node == nil:
		return wire.Errorf(wire.CauseNotFound, "coord nodes lists them", "no node %s", req.Peer)
	case req.Release && node.Lied && node.Owner == c.cert.Owner:
		return wire.Errorf(wire.CauseUnauthorized, "another owner of the mesh can release it",
			"%s gave wrong values, and its owner cannot vouch for it", node.Info.Name)
	}
	e := sched.Quarantined{Peer: req.Peer, Over: req.Release, ByHand: true, At: time.Now(), Reason: cmp.Or(req.Reason, "by hand")}
	if err := c.s.send(e); err != nil {
		return err
	}
	return c.nodes()
}

func (c *client) where(w *wire.Where) error {
	if !c.cert.May(w.Space) {
		return wire.Errorf(wire.CauseUnauthorized, "use a certificate of that tenant", "space %q is not yours", w.Space)
	}
	if len(w.Objects) > wire.MaxBatch {
		return wire.Errorf(wire.CauseTooLarge, "", "asked for %d objects at once; the bound is %d", len(w.Objects), wire.MaxBatch)
	}
	r := &wire.Response{Grant: c.s.grantFor(w.Space, c.cert.Peer)}
	err := c.s.ask(func(st *sched.State) {
		for _, o := range w.Objects {
			peers := st.Holders(w.Space, o.Digest)
			r.Found = append(r.Found, wire.Held{Object: o, Peers: peers[:min(len(peers), wire.MaxHolders)]})
		}
	})
	if err != nil {
		return err
	}
	for _, h := range r.Found {
		r.Peers = c.s.infos(r.Peers, h.Peers)
	}
	return c.write(r)
}

func (c *client) known(k *wire.Known) error {
	if !c.cert.May(k.Space) {
		return wire.Errorf(wire.CauseUnauthorized, "use a certificate of that tenant", "space %q is not yours", k.Space)
	}
	if !k.Trust.Valid() {
		return wire.Errorf(wire.CauseInvalid, "update the coordinator", "the policy of trust %d is not known here", int(k.Trust))
	}
	if len(k.Thunks) > wire.MaxBatch {
		return wire.Errorf(wire.CauseTooLarge, "", "asked for %d values at once; the bound is %d", len(k.Thunks), wire.MaxBatch)
	}
	r := &wire.Response{Values: make([][]byte, len(k.Thunks))}
	err := c.s.ask(func(st *sched.State) {
		for i, id := range k.Thunks {
			if v, ok := st.Value(k.Space, id, k.Trust, c.cert.Owner); ok {
				_, r.Values[i] = v.Encode()
			}
		}
	})
	if err != nil {
		return err
	}
	return c.write(r)
}

// infos adds what is known of the peers to list, each once.
func (s *Server) infos(list []wire.PeerInfo, peers []wire.PeerID) []wire.PeerInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
next:
	for _, p := range peers {
		info := s.peers[p]
		if info == nil {
			continue
		}
		for _, have := range list {
			if have.Peer == p {
				continue next
			}
		}
		list = append(list, *info)
	}
	return list
}

func (s *Server) grantFor(space wire.Space, peer wire.PeerID) []byte {
	return wire.SignGrant(s.cfg.Key, space, peer, s.Now().Add(wire.GrantLife)).Encode()
}
