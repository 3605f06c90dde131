package exchange

import (
	"context"
	"fmt"
	"time"

	"gaggle/wire"
)

// probeBytes are asked for to measure a rate: enough to outgrow the first windows of QUIC on a
// long link, less than a second at 8 Mbit/s.
const probeBytes = 768 << 10

// Probe measures the link from a peer with less than 1 MiB. The error is of ctx, or a
// *wire.Error of CauseUnreachable, or of CauseBusy if the peer serves too many others.
func (x *Exchange) Probe(ctx context.Context, from wire.PeerID) (wire.Link, error) {
	if !x.begin() {
		return wire.Link{}, context.Canceled
	}
	defer x.work.Done()
	l, err := x.probe(ctx, from)
	switch {
	case err == nil:
		return l, nil
	case ctx.Err() != nil:
		return wire.Link{}, context.Cause(ctx)
	case verdictOf(err) == busy:
		return wire.Link{}, wire.Errorf(wire.CauseBusy, "", "measuring the link from %s: %v", from, err)
	}
	return wire.Link{}, wire.Errorf(wire.CauseUnreachable, "", "measuring the link from %s: %v", from, err)
}

func (x *Exchange) probe(ctx context.Context, from wire.PeerID) (wire.Link, error) {
	m := x.member(from)
	st, err := x.open(ctx, from, wire.Public, m)
	if err != nil {
		return wire.Link{}, err
	}
	defer st.close()
	stop := context.AfterFunc(ctx, st.s.Reset)
	defer stop()
	// The first round trip pays for the stream too; the second does not.
	var rtt, took time.Duration
	for range 2 {
		if rtt, _, err = st.probe(0); err != nil {
			return wire.Link{}, err
		}
	}
	if _, took, err = st.probe(probeBytes); err != nil {
		return wire.Link{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rtt = rtt
	m.speed.add(probeBytes, took)
	return wire.Link{From: from, BytesPerSec: m.speed.rate(), RTT: rtt}, nil
}

// probe asks for n bytes of noise. It returns how long the answer took to begin, and from then to
// the end.
func (st *session) probe(n uint64) (first, rest time.Duration, err error) {
	begun := time.Now()
	if err := st.send(appendProbe(nil, n)); err != nil {
		return 0, 0, err
	}
	size, v, err := st.head()
	if err != nil {
		return 0, 0, err
	}
	if v != found || size != n {
		return 0, 0, fmt.Errorf("a probe of %d bytes was answered with %d", n, size)
	}
	first = time.Since(begun)
	err = st.body(n, st.read, func([]byte) bool { return true })
	return first, time.Since(begun) - first, err
}
