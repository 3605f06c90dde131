package wired

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A probe is an IPv4 packet as large as slots may send, so that a way which drops large ones is not
// taken for good. What follows its header:
//
//	"gaggle?" or "gaggle!" | way (1) | nonce (8) | port of VXLAN where the question comes from (2) | zeros
const (
	question  = "gaggle?"
	answer    = "gaggle!"
	ipHeader  = 20
	probeSize = len(question) + 1 + 8 + 2
)

const (
	probePatience = 250 * time.Millisecond // for an answer: a trusted network is near
	probeTries    = 3
)

// ErrNoWay says that a host in a trusted network did not answer by VXLAN.
var ErrNoWay = errors.New("the host does not answer by VXLAN: is UDP let through, do packets of full size fit?")

type nonce [8]byte

// Try finds the way by which a host can be reached: Direct, or else External. Both hosts
// must be in RecvMiss, which answers. It takes up to 1.5 s; the error wraps ErrUntrusted,
// ErrNoWay or that of ctx.
func (p *Plane) Try(ctx context.Context, host netip.AddrPort) (Way, error) {
	for _, way := range []Way{Direct, External} {
		err := p.Check(ctx, host, way)
		if err == nil {
			return way, nil
		}
		if way == Direct && !errors.Is(err, ErrNoWay) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s: %w", host, ErrNoWay)
}

// Check tries one way, Direct or External, as Try does.
func (p *Plane) Check(ctx context.Context, host netip.AddrPort, way Way) error {
	var id nonce
	rand.Read(id[:])
	heard := make(chan struct{}, probeTries)
	p.mu.Lock()
	p.probes[id] = heard
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.probes, id)
	}()
	for range probeTries {
		if err := p.sendProbe(question, id, host, way); err != nil {
			return err
		}
		select {
		case <-heard:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(probePatience):
		}
	}
	return ErrNoWay
}

// sendProbe sends by the same program, in a network that is no tenant's.
func (p *Plane) sendProbe(what string, id nonce, host netip.AddrPort, way Way) error {
	u, err := p.towards(host.Addr())
	if err != nil {
		return err
	}
	r, err := p.routeOf(host.Addr(), To{Way: way, Host: host})
	if err != nil {
		return err
	}
	p.gate.RLock()
	err = p.objects.Tried.Put(be(host.Addr()), &r)
	p.gate.RUnlock()
	if err != nil {
		return fmt.Errorf("trying the way to %s: %w", host, err)
	}
	b := make([]byte, Room+p.mtu)
	putHeader(b, probe, probeVNI)
	packet := b[Room:]
	putIPv4(packet, 0xfd, u.addr, host.Addr()) // 253: for experiments (RFC 3692)
	body := append(packet[:ipHeader], what...)
	body = append(body, byte(way))
	body = append(body, id[:]...)
	_ = append(body, byte(p.port>>8), byte(p.port))
	return p.miss.send(b)
}

// probed answers a probe, or tells who waits for it.
func (p *Plane) probed(f Frame) {
	if len(f.Packet) < ipHeader+probeSize {
		return
	}
	body := f.Packet[ipHeader:]
	what, way, port := string(body[:len(question)]), Way(body[len(question)]), body[probeSize-2:]
	id := nonce(body[len(question)+1:])
	switch {
	case what == question && (way == Direct || way == External):
		host := netip.AddrPortFrom(f.Remote, uint16(port[0])<<8|uint16(port[1]))
		if err := p.sendProbe(answer, id, host, way); err != nil {
			p.log.Debug("answering a probe", "host", host, "error", err)
		}
	case what == answer:
		p.mu.Lock()
		heard := p.probes[id]
		p.mu.Unlock()
		if heard != nil {
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}
}
