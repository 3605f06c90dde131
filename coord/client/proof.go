package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// Whom a job believes (--trust own, or a number of owners) is carried out by the coordinator. That it
// was, this machine sees by itself before it puts a target in its place: for each thunk that the targets
// were made of the coordinator has to show the signed claims of those whom the job believes, with their
// certificates. What is believed without being shown is the mesh key, which this machine knows since it
// joined; whoever has that key can make nodes of any owner.
//
// The claims are asked for in batches, by the thunks that the coordinator said it had resolved the
// tasks to (the task log), so that a chain is no chain of questions. What it said is a hint and no more:
// the prover resolves each task itself, and asks for what is missing then.

// An authority judges claims with what this machine knows of a mesh by itself.
type authority struct {
	mesh    wire.PeerID   // the key that signs certificates
	owner   func() string // of this machine
	revoked func(wire.PeerID) error
	now     func() time.Time
}

// A signer is who signed a claim, as far as its certificate shows.
type signer struct {
	owner string
	err   error // why it counts for nobody
}

// claims is what was shown of resolved thunks in a space.
type claims struct {
	by     *authority
	trust  wire.Trust
	space  wire.Space
	who    map[wire.PeerID]*signer
	of     map[wire.ThunkID][]shown
	bad    map[wire.ThunkID]error         // why a claim of a thunk does not count; the last one
	away   map[wire.ThunkID][]wire.PeerID // who claims a value, and whose certificate was not shown
	asked  map[wire.ThunkID]bool
	number int // of claims that count
}

// A shown is a value with the owners whose nodes claim it: with --trust own this machine's alone.
type shown struct {
	outs   []wire.Object
	owners []string
}

func newClaims(by *authority, trust wire.Trust, space wire.Space) *claims {
	return &claims{by: by, trust: trust, space: space, who: map[wire.PeerID]*signer{}, of: map[wire.ThunkID][]shown{},
		bad: map[wire.ThunkID]error{}, away: map[wire.ThunkID][]wire.PeerID{}, asked: map[wire.ThunkID]bool{}}
}

// ask gets the claims of thunks that were not asked for before.
func (c *claims) ask(ctx context.Context, l *link, ids []wire.ThunkID) error {
	var fresh []wire.ThunkID
	for _, id := range ids {
		if !c.asked[id] {
			c.asked[id] = true
			fresh = append(fresh, id)
		}
	}
	for len(fresh) > 0 {
		part := fresh[:min(len(fresh), wire.MaxBatch)]
		r, err := l.ask(ctx, &wire.Request{Claims: &wire.Claimed{Space: c.space, Thunks: part}})
		if err != nil {
			return fmt.Errorf("asking whose values the job was given: %w", err)
		}
		if r.Left < 0 || r.Left >= len(part) {
			return wire.Errorf(wire.CauseUnproven, "", "of %d thunks the coordinator left out %d", len(part), r.Left)
		}
		c.take(r, part[:len(part)-r.Left])
		fresh = fresh[len(part)-r.Left:]
	}
	return nil
}

// take judges an answer.
func (c *claims) take(r *wire.Response, ids []wire.ThunkID) {
	for _, b := range r.Certs {
		c.certified(b)
	}
	wanted := make(map[wire.ThunkID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	for _, b := range r.Claims[:min(len(r.Claims), len(ids)*wire.MaxClaims)] {
		claim, err := wire.DecodeClaim(b)
		switch {
		case err != nil:
			for _, id := range ids { // nobody can tell of which
				c.refuse(id, err)
			}
		case claim.Space != c.space || !wanted[claim.Thunk]: // of no use to anybody here
		default:
			c.judge(claim)
		}
	}
}

// certified takes in a certificate, once for each peer.
func (c *claims) certified(b []byte) {
	cert, err := wire.DecodeCertificate(b)
	if err != nil || c.who[cert.Peer] != nil && c.who[cert.Peer].err == nil {
		return
	}
	s := &signer{owner: cert.Owner, err: cert.Verify(c.by.mesh, cert.Peer, c.by.now())}
	switch {
	case s.err != nil:
	case !cert.Has(wire.RoleNode):
		s.err = fmt.Errorf("%s is no node", cert.Peer)
	case c.by.revoked != nil:
		s.err = c.by.revoked(cert.Peer)
	}
	c.who[cert.Peer] = s
}

// judge counts a claim whose signature is right, if its signer counts.
func (c *claims) judge(claim *wire.Claim) {
	s := c.who[claim.Signer]
	switch {
	case s == nil: // it is away since the coordinator began, or said to be
		if away := c.away[claim.Thunk]; !slices.Contains(away, claim.Signer) && (away != nil || len(c.away) < wire.MaxBatch) {
			c.away[claim.Thunk] = append(away, claim.Signer)
		}
		return
	case s.err != nil:
		c.refuse(claim.Thunk, s.err)
		return
	case s.owner == "" || c.trust == wire.TrustOwn && s.owner != c.by.owner():
		return
	}
	c.number++
	list := c.of[claim.Thunk]
	i := slices.IndexFunc(list, func(v shown) bool { return slices.Equal(v.outs, claim.Value.Outputs) })
	if i < 0 {
		i, list = len(list), append(list, shown{outs: claim.Value.Outputs})
	}
	if !slices.Contains(list[i].owners, s.owner) {
		list[i].owners = append(list[i].owners, s.owner)
	}
	c.of[claim.Thunk] = list
}

func (c *claims) refuse(id wire.ThunkID, err error) {
	if len(c.bad) < wire.MaxBatch {
		c.bad[id] = err
	}
}

// believed returns the values of a resolved thunk that those claim whom the job believes.
func (c *claims) believed(id wire.ThunkID) (values [][]wire.Object) {
	for _, v := range c.of[id] {
		if len(v.owners) >= max(1, c.trust.Owners()) {
			values = append(values, v.outs)
		}
	}
	return values
}

// missing says what the claims of a thunk do not show.
func (c *claims) missing(id wire.ThunkID) string {
	var text string
	if c.trust == wire.TrustOwn {
		text = fmt.Sprintf("that a node of %s gave its value", c.by.owner())
	} else {
		var owners []string
		for _, v := range c.of[id] {
			if len(v.owners) > len(owners) {
				owners = v.owners
			}
		}
		text = fmt.Sprintf("that nodes of %d owners gave the same value, only that those of %d did %q", c.trust.Owners(), len(owners), owners)
	}
	if away := c.away[id]; len(away) > 0 {
		var names []string
		for _, p := range away {
			names = append(names, p.Short())
		}
		text += ": the certificate is missing of " + strings.Join(names, ", ") + ", which signed a value and may be away since the coordinator began"
	}
	if err := c.bad[id]; err != nil {
		text += fmt.Sprintf(" (%v)", err)
	}
	return text
}
