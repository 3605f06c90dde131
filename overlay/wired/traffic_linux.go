package wired

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// A Stat is a route with what went over it. Bytes are those of IP packets; what is yet to be cut up
// counts as one.
type Stat struct {
	VNI             uint32
	Dst             netip.Addr
	Way             Way
	Host            netip.Addr // Direct and External
	Idle            time.Duration
	SentPackets     uint64 // to Dst
	SentBytes       uint64
	ReceivedPackets uint64 // from Dst, of other hosts
	ReceivedBytes   uint64
	Lost            Drops // on their way to Dst, or as from there
}

func statOf(key *planeKey, r *planeRoute, now uint32) Stat {
	s := Stat{VNI: key.Vni, Dst: addr(key.Ip), Way: Way(r.Kind), Idle: time.Duration(now-min(now, r.Used)) << coarseBits,
		SentPackets: r.TxPackets, SentBytes: r.TxBytes, ReceivedPackets: r.RxPackets, ReceivedBytes: r.RxBytes, Lost: r.Lost.N}
	if s.Way == Direct || s.Way == External {
		s.Host = addr(r.Remote)
	}
	return s
}

// Routes returns all routes, in no order. Those that come or go meanwhile may be among them, or
// twice.
func (p *Plane) Routes() ([]Stat, error) {
	p.gate.RLock()
	defer p.gate.RUnlock()
	// At once, not one by one: a thousand routes are two calls and not two thousand.
	const most = 1024
	keys, routes := make([]planeKey, most), make([]planeRoute, most)
	now := coarse()
	var all []Stat
	var at ebpf.MapBatchCursor
	for {
		n, err := p.objects.Routes.BatchLookup(&at, keys, routes, nil)
		for i := range n {
			all = append(all, statOf(&keys[i], &routes[i], now))
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("reading routes: %w", err)
		}
	}
}

// A pastRoute is what routes that are no more are summed up by.
type pastRoute struct {
	key planeKey
	way Way
}

// note keeps what went over a route that is no more. p.mu is held.
func (p *Plane) note(key planeKey, r *planeRoute) {
	if r.TxPackets == 0 && r.RxPackets == 0 && r.Lost.N == (Drops{}) {
		return
	}
	at := pastRoute{key, Way(r.Kind)}
	sum := p.past[at]
	s := statOf(&key, r, r.Used)
	s.SentPackets += sum.SentPackets
	s.SentBytes += sum.SentBytes
	s.ReceivedPackets += sum.ReceivedPackets
	s.ReceivedBytes += sum.ReceivedBytes
	s.Lost.Add(sum.Lost, Drops{})
	p.past[at] = s
}

// Traffic returns all routes with what went over them, and what went over routes that are no more: each
// once, so that whoever adds that up misses nothing and counts nothing twice. It is to be called now and
// then, since it is kept until then.
func (p *Plane) Traffic() (live, past []Stat, err error) {
	p.mu.Lock() // no route comes or goes meanwhile
	defer p.mu.Unlock()
	if live, err = p.Routes(); err != nil {
		return nil, nil, err
	}
	for _, s := range p.past {
		past = append(past, s)
	}
	clear(p.past)
	return live, past, nil
}
