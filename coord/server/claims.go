package server

import (
	"maps"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// Whom a job believes is the submitter's policy, so the submitter can have shown that it was kept: the
// claims that nodes signed for the job's thunks, and the certificates of those nodes. The claims stand
// in the memo, the certificates are those that nodes have shown in this life of the coordinator. What
// they prove is the client's to judge (coord/client/proof.go).

// maxCerts bounds the certificates kept; beyond it those that ran out go, then any.
const maxCerts = 2 * wire.MaxPeers

// keepCert keeps what a node has shown. Called under s.mu.
func (s *Server) keepCert(c *wire.Certificate) {
	if !c.Has(wire.RoleNode) {
		return
	}
	s.certs[c.Peer] = c
	now := s.Now().Unix()
	if len(s.certs) > maxCerts {
		maps.DeleteFunc(s.certs, func(_ wire.PeerID, c *wire.Certificate) bool { return c.Expires < now })
	}
	for p := range s.certs {
		if len(s.certs) <= maxCerts {
			return
		}
		if s.nodes[p] == nil {
			delete(s.certs, p)
		}
	}
}

// certOf returns the certificate of a node that was here; nil if there is none.
func (s *Server) certOf(p wire.PeerID) *wire.Certificate {
	if s.cfg.Certificate != nil {
		if c := s.cfg.Certificate(p); c != nil {
			return c
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.certs[p]
}

// Revoked takes note that a member is none any more: what it claimed is shown to nobody.
func (s *Server) Revoked(p wire.PeerID) error {
	s.mu.Lock()
	_, known := s.certs[p]
	delete(s.certs, p)
	s.mu.Unlock()
	if !known {
		return nil
	}
	return s.send(sched.NodeGone{Peer: p, Revoked: true})
}

// claims answers with what was signed of some thunks, as far as it fits.
func (c *client) claims(q *wire.Claimed) error {
	switch {
	case !c.cert.May(q.Space):
		return wire.Errorf(wire.CauseUnauthorized, "use a certificate of that tenant", "space %q is not yours", q.Space)
	case len(q.Thunks) > wire.MaxBatch:
		return wire.Errorf(wire.CauseTooLarge, "", "asked for the claims of %d thunks at once; the bound is %d", len(q.Thunks), wire.MaxBatch)
	}
	var found [][]wire.Claim
	err := c.s.ask(func(st *sched.State) {
		for _, id := range q.Thunks {
			found = append(found, st.Claims(q.Space, id))
		}
	})
	if err != nil {
		return err
	}
	r, size := new(wire.Response), 0
	told := map[wire.PeerID]bool{}
	for i, list := range found {
		if size > partBytes {
			r.Left = len(found) - i
			break
		}
		for k := range list {
			enc := list[k].Encode()
			r.Claims, size = append(r.Claims, enc), size+len(enc)
			p := list[k].Signer
			if cert := c.s.certOf(p); cert != nil && !told[p] {
				told[p] = true
				enc := cert.Encode()
				r.Certs, size = append(r.Certs, enc), size+len(enc)
			}
		}
	}
	return c.write(r)
}
