package peer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"gaggle/wire"
)

// maxJoins bounds machines that join at once; more are told to try again.
const maxJoins = 64

// A joinRequest asks for a certificate, with a ticket or an old certificate.
type joinRequest struct {
	Ticket string `cbor:"ticket,omitempty"`
	Cert   []byte `cbor:"cert,omitempty"`
	Owner  string `cbor:"owner,omitempty"`
	Name   string `cbor:"name,omitempty"`
	Now    int64  `cbor:"now"`
}

// A Registry is what a coordinator gives certificates by. Its functions may be called from several
// goroutines.
type Registry struct {
	Mesh ed25519.PrivateKey // signs the certificates
	// Redeem is called with the serial of a ticket that is good for a number of joins. It records a
	// use, durably, and reports whether that was one of so many.
	Redeem func(serial, uses uint64) bool
	// Issued, if not nil, is told of a certificate before it is given, with what the machine calls
	// itself, "" if it was renewed.
	Issued func(c *wire.Certificate, name string)
}

// A registrar gives out certificates.
type registrar struct {
	Registry
	h     *Host
	slots chan struct{} // capacity maxJoins

	mu   sync.Mutex // guards the field below
	used map[use]bool
}

// A use is a ticket that this process has traded, and who got the certificate.
type use struct {
	serial uint64
	peer   wire.PeerID
}

// ServeJoin lets peers without certificate trade a ticket for one, and peers whose certificate
// ran out at most wire.RenewGrace ago renew it. Whoever lost the answer may ask again with the same
// ticket while this process runs.
func (h *Host) ServeJoin(reg Registry) {
	r := &registrar{Registry: reg, h: h, slots: make(chan struct{}, maxJoins), used: map[use]bool{}}
	h.p2p.SetStreamHandler(protocol.ID(wire.ProtocolJoin), func(s network.Stream) {
		if !h.begin() {
			_ = s.Reset()
			return
		}
		defer h.work.Done()
		if err := r.serve(s); err != nil {
			_ = s.Reset()
			return
		}
		_ = s.Close()
	})
}

func (r *registrar) serve(s network.Stream) error {
	l := r.h.linkOf(s.Conn())
	if l == nil {
		return errEnded
	}
	defer l.asking.Add(-1)
	if l.asking.Add(1) > maxAsking {
		return errors.New("it asks too often at once")
	}
	var req joinRequest
	err := s.SetDeadline(time.Now().Add(certTimeout))
	if err == nil {
		err = readFrame(s, &req) // before it takes a place of others: it may never come
	}
	if err != nil {
		return err
	}
	answer := credential{Now: r.h.now().UnixMicro()}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
		cert, err := r.certify(l.peer, &req)
		if err != nil {
			r.h.log.Info("a machine was not let in", "peer", l.peer, "name", printable(req.Name), "error", err)
			answer.refuse(r.h, l.peer, err)
		} else {
			r.h.log.Info("a machine has a new certificate", "peer", l.peer, "name", printable(req.Name), "owner", cert.Owner)
			answer.Cert = cert.Encode()
		}
	default:
		answer.Error = wire.Errorf(wire.CauseBusy, "try again in a few seconds", "%d machines are joining at this moment", maxJoins)
	}
	return wire.WriteFrame(s, &answer)
}

// certify judges a request by the peer that the handshake has proved.
func (r *registrar) certify(p wire.PeerID, req *joinRequest) (*wire.Certificate, error) {
	c := wire.Certificate{Peer: p}
	err := r.h.Revoked(p)
	if err != nil {
		return nil, err
	}
	if req.Ticket != "" {
		err = r.redeem(&c, req)
	} else {
		err = r.renew(&c, req)
	}
	if cause := wire.CauseOf(err); err == nil || cause == wire.CauseExpired || cause == wire.CauseClock {
		if skew := skewError(r.h.now(), req.Now); skew != nil {
			return nil, skew
		}
	}
	if err != nil {
		return nil, err
	}
	now := r.h.now()
	c.NotBefore, c.Expires = now.Unix(), now.Add(wire.CertLife).Unix()
	cert := wire.SignCertificate(r.Mesh, c)
	if r.Issued != nil {
		r.Issued(cert, printable(req.Name))
	}
	return cert, nil
}

// redeem fills in what a ticket gives.
func (r *registrar) redeem(c *wire.Certificate, req *joinRequest) error {
	t, err := wire.ParseTicket(req.Ticket)
	if err != nil {
		return err
	}
	if err := t.Verify(wire.PeerOf(r.Mesh), r.h.now()); err != nil {
		return err
	}
	if err := skewError(r.h.now(), req.Now); err != nil {
		return err
	}
	if from := r.h.TicketsFrom(); t.Issued < from {
		return wire.Errorf(wire.CauseRevoked, "ask for a new one (coord ticket)",
			"the ticket is void, as all that were issued before %s", time.Unix(from, 0).UTC().Format(time.RFC3339))
	}
	c.Roles, c.Owner, c.Tenants = t.Roles, t.Owner, t.Tenants
	if c.Owner == "" {
		c.Owner = printable(req.Owner)
	}
	if t.Serial == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	this := use{t.Serial, c.Peer}
	if r.used[this] {
		return nil
	}
	if uses := max(t.Uses, 1); !r.Redeem(t.Serial, uses) {
		many := "one machine"
		if uses > 1 {
			many = fmt.Sprintf("%d machines", uses)
		}
		return wire.Errorf(wire.CauseUnauthorized, "ask for a new one (coord ticket)", "the ticket is good for %s and has been used", many)
	}
	if len(r.used) >= wire.MaxPeers {
		clear(r.used)
	}
	r.used[this] = true
	return nil
}

// renew fills in what an old certificate gives.
func (r *registrar) renew(c *wire.Certificate, req *joinRequest) error {
	old, err := wire.DecodeCertificate(req.Cert)
	if err != nil {
		return wire.Errorf(wire.CauseUnauthorized, "join with a ticket", "neither a ticket nor a certificate was shown (%v)", err)
	}
	now := r.h.now()
	err = old.Verify(wire.PeerOf(r.Mesh), c.Peer, now)
	if wire.CauseOf(err) == wire.CauseExpired && now.Unix() <= time.Unix(old.Expires, 0).Add(wire.RenewGrace).Unix() {
		err = nil
	}
	c.Roles, c.Owner, c.Tenants = old.Roles, old.Owner, old.Tenants
	return err
}

// printable cuts foreign text down to a name.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), wire.MaxName)])
	return strings.ToValidUTF8(s, "")
}

// Renew asks a coordinator, at the addresses known for it, for a new certificate in place of
// the host's own, which may have run out at most wire.RenewGrace ago. It sets and returns the
// new one.
func (h *Host) Renew(ctx context.Context, coordinator wire.PeerID) (*wire.Certificate, error) {
	old := h.Certificate()
	if old == nil {
		return nil, wire.Errorf(wire.CauseUnauthorized, "join with a ticket", "this machine has no certificate to renew")
	}
	c, err := h.ask(ctx, coordinator, joinRequest{Cert: old.Encode()})
	if err != nil {
		return nil, fmt.Errorf("renewing the certificate: %w", err)
	}
	h.SetCertificate(c)
	return c, nil
}

// Join trades a ticket for a certificate of key's holder, at the coordinator the ticket names.
// owner is who answers for this machine, unless the ticket says; name is what to call it in
// the coordinator's log. Errors are as for Connect; an expired ticket is CauseExpired.
func Join(ctx context.Context, key ed25519.PrivateKey, t *wire.Ticket, owner, name string) (*wire.Certificate, error) {
	return join(ctx, Config{Key: key, Mesh: t.Mesh, Listen: []string{}}, t, owner, name)
}

func join(ctx context.Context, cfg Config, t *wire.Ticket, owner, name string) (_ *wire.Certificate, err error) {
	h, err := New(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	h.AddAddrs(t.Coordinator, t.Addrs)
	c, err := h.ask(ctx, t.Coordinator, joinRequest{Ticket: t.Text(), Owner: owner, Name: name})
	if wire.CauseOf(err) == wire.CauseUnreachable {
		// Nobody is there to judge the ticket; if it is old, that is the better thing to say.
		if old := t.Verify(t.Mesh, h.now()); old != nil {
			return nil, old
		}
	}
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	return c, nil
}

// ask sends a request to join to a coordinator, on a connection with or without certificates.
func (h *Host) ask(ctx context.Context, coordinator wire.PeerID, req joinRequest) (*wire.Certificate, error) {
	var m credential
	err := h.persist(ctx, coordinator, func() error {
		l := h.certified(coordinator)
		if l == nil {
			var err error
			if l, err = h.dial(ctx, coordinator); err != nil {
				return err
			}
		}
		cctx, cancel := context.WithTimeoutCause(ctx, certTimeout, errSilent)
		defer cancel()
		req.Now = h.now().UnixMicro()
		err := call(cctx, l.conn, wire.ProtocolJoin, &req, &m)
		if err == nil || ctx.Err() != nil {
			return err
		}
		return l.failed(err)
	})
	if err != nil {
		return nil, err
	}
	if err := h.ended(&m); err != nil {
		return nil, err
	}
	if m.Error != nil {
		return nil, m.Error
	}
	c, err := wire.DecodeCertificate(m.Cert)
	if err == nil {
		err = c.Verify(h.mesh, h.ID(), h.now())
	}
	if err != nil {
		return nil, fmt.Errorf("the certificate that %s gave is not good: %w", coordinator, err)
	}
	return c, nil
}
