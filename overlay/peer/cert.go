package peer

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

	"gaggle/wire"
)

const (
	// certTimeout bounds the exchange of certificates: a few round trips on a bad link, or with a busy
	// coordinator to which a whole mesh comes back at once. Giving up earlier makes it busier.
	certTimeout = 20 * time.Second
	// maxHandshake bounds a frame of the exchange and of joining: a certificate or ticket of
	// wire.MaxText, an error and names.
	maxHandshake = 16 << 10
)

// A credential is one frame of the exchange of certificates.
type credential struct {
	Cert  []byte      `cbor:"cert,omitempty"`
	Now   int64       `cbor:"now"` // Unix microseconds
	Error *wire.Error `cbor:"error,omitempty"`
	Known []byte      `cbor:"known,omitempty"` // digest of the revocations it knows
	Ended []byte      `cbor:"ended,omitempty"` // the receiver's own wire.Revocation
	Zstd  bool        `cbor:"zstd,omitempty"`  // it reads compressed answers of wire.ProtocolBlob
}

// credential returns what we show.
func (h *Host) credential() credential {
	m := credential{Now: h.now().UnixMicro(), Known: h.revoked.known(), Zstd: true}
	if c := h.Certificate(); c != nil {
		m.Cert = c.Encode()
	}
	return m
}

// refuse says why a peer is refused; if its membership was revoked, with the proof.
func (m *credential) refuse(h *Host, p wire.PeerID, err error) {
	m.Error = wire.AsError(err)
	if r := h.revoked.of(p); r != nil {
		m.Ended = r.Encode()
	}
}

// readFrame reads one frame of at most maxHandshake bytes.
func readFrame(r io.Reader, v any) error {
	return wire.NewFrameReader(io.LimitReader(r, maxHandshake)).Read(v)
}

// openRaw begins a stream of a protocol on one connection, where libp2p would choose one. The
// protocol is agreed on with the first bytes, without a round trip of its own.
func openRaw(ctx context.Context, c network.Conn, proto string) (network.Stream, io.ReadWriteCloser, error) {
	s, err := c.NewStream(network.WithAllowLimitedConn(ctx, "members may be relayed"))
	if err != nil {
		return nil, nil, err
	}
	if err := s.SetProtocol(protocol.ID(proto)); err != nil {
		_ = s.Reset()
		return nil, nil, err
	}
	return s, multistream.NewMSSelect(io.ReadWriteCloser(s), proto), nil
}

// call sends one frame on a stream of its own and reads the answer.
func call(ctx context.Context, c network.Conn, proto string, ask, answer any) error {
	s, rw, err := openRaw(ctx, c, proto)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	if err = wire.WriteFrame(rw, ask); err == nil {
		err = readFrame(rw, answer)
	}
	if err != nil {
		_ = s.Reset()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	_ = rw.Close() // the answer is here; that the peer was first to close is no failure
	return nil
}

// judge checks what a peer has shown. Where the clocks differ so much that a certificate cannot be
// judged, that is the error.
func (h *Host) judge(p wire.PeerID, m *credential) (*wire.Certificate, error) {
	if err := h.Revoked(p); err != nil {
		return nil, err
	}
	if len(m.Cert) == 0 {
		return nil, wire.Errorf(wire.CauseUnauthorized, "join the mesh with a ticket (coord ticket prints one)", "%s has no certificate", p)
	}
	c, err := wire.DecodeCertificate(m.Cert)
	if err != nil {
		return nil, wire.Errorf(wire.CauseUnauthorized, "", "the certificate of %s is damaged (%v)", p, err)
	}
	err = c.Verify(h.mesh, p, h.now())
	if cause := wire.CauseOf(err); err == nil || cause == wire.CauseExpired || cause == wire.CauseClock {
		if skew := skewError(h.now(), m.Now); skew != nil {
			return nil, skew
		}
	}
	return c, err
}

// skewError names a difference of clocks above wire.MaxClockSkew.
func skewError(here time.Time, there int64) error {
	t := time.UnixMicro(there)
	d := here.Sub(t)
	if d.Abs() <= wire.MaxClockSkew {
		return nil
	}
	return wire.Errorf(wire.CauseClock, "set the clock of the machine that is wrong (timedatectl set-ntp true)",
		"clocks differ by %s: it is %s on one machine and %s on the other", d.Abs().Round(time.Second),
		here.UTC().Format(time.RFC3339), t.UTC().Format(time.RFC3339))
}

// answerCert is the handler of wire.ProtocolCert.
func (h *Host) answerCert(s network.Stream) {
	if !h.begin() {
		_ = s.Reset()
		return
	}
	defer h.work.Done()
	l := h.linkOf(s.Conn())
	if l == nil {
		_ = s.Reset()
		return
	}
	defer l.asking.Add(-1)
	if l.asking.Add(1) > maxAsking {
		_ = s.Reset()
		return
	}
	var m credential
	err := s.SetDeadline(time.Now().Add(certTimeout))
	if err == nil {
		err = readFrame(s, &m)
	}
	if err != nil {
		_ = s.Reset()
		return
	}
	l.zstd.Store(m.Zstd)
	answer := h.credential()
	cert, err := h.judge(l.peer, &m)
	if err != nil {
		answer.refuse(h, l.peer, err)
		h.log.Info("a peer was refused", "peer", l.peer, "addr", l.conn.RemoteMultiaddr(), "error", err)
	} else if len(answer.Cert) == 0 {
		answer.Error = wire.Errorf(wire.CauseUnauthorized, "", "%s has no certificate yet", h.ID())
	} else {
		h.enter(l, cert) // before the answer: who has it may open streams
		// What is learned from here on is told to this peer as to all; it must see the rest in the answer.
		answer.Known = h.revoked.known()
	}
	if wire.WriteFrame(s, &answer) != nil {
		_ = s.Reset()
		return
	}
	_ = s.Close()
}

// showCert runs the exchange on a connection. Concurrent calls run one after the other.
func (h *Host) showCert(ctx context.Context, l *link) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	mine := h.credential()
	if len(mine.Cert) == 0 {
		return wire.Errorf(wire.CauseUnauthorized, "join with a ticket first", "this machine has no certificate of the mesh")
	}
	var m credential
	begun := time.Now()
	if err := call(ctx, l.conn, wire.ProtocolCert, &mine, &m); err != nil {
		return err
	}
	l.rtt.Store(int64(time.Since(begun)))
	l.zstd.Store(m.Zstd)
	if err := h.ended(&m); err != nil {
		return err
	}
	cert, err := h.judge(l.peer, &m)
	if refused := m.Error; refused != nil {
		// Of two opinions about one clock theirs is as good as ours, but a peer of another mesh
		// may not tell us what is wrong with us.
		if err == nil || wire.CauseOf(err) != wire.CauseUnauthorized {
			err = refused
		}
	}
	if err != nil {
		return err
	}
	h.enter(l, cert)
	h.compare(l, m.Known)
	return nil
}

// ended returns the refusal of this host if its membership was revoked, as the answer proves.
func (h *Host) ended(m *credential) error {
	if len(m.Ended) == 0 {
		return nil
	}
	// What is no proof is no reason to believe it.
	if r, err := wire.DecodeRevocation(m.Ended); err != nil || r.Peer != h.ID() || h.Learn([][]byte{m.Ended}) != nil {
		return nil
	}
	return h.Revoked(h.ID())
}

// certify makes sure that certificates were exchanged on a connection and hold.
func (h *Host) certify(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeoutCause(ctx, certTimeout, errSilent)
	defer cancel()
	shown := l.shown()
	switch {
	case shown != nil && !h.outdated(shown):
		return nil
	case shown != nil || !l.inbound:
		return h.showCert(ctx, l)
	}
	// Who dialled shows first.
	select {
	case <-l.ready:
		return nil
	case <-l.ended:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var (
	errSilent = errors.New("it did not show a certificate in time")
	errEnded  = errors.New("the connection ended")
)
