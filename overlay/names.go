package overlay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// holdNames is how long the answer to a question is held back until the members it is about are
	// there. Libraries ask again after 5 s.
	holdNames = 4 * time.Second
	// nameLife is how long an answer holds. A member keeps its address as long as it is there.
	nameLife = 5
	// maxQuestions bounds the questions of one endpoint that are being answered.
	maxQuestions = 32
	// maxTCPNames bounds its connections for names.
	maxTCPNames = 8
	// maxUDPNames is what a message over UDP may have unless the question says more (RFC 1035,
	// 6891), and the most it can say.
	maxUDPNames, maxEDNS = 512, 4096
	// maxNames bounds any message: wire.MaxGang addresses.
	maxNames = 64 << 10
	// tcpIdle is how long a connection for names may be idle.
	tcpIdle = 10 * time.Second
)

// names answers the questions of one endpoint, at sockets in its namespace.
type names struct {
	e    *endpoint
	udp  net.PacketConn
	tcp  net.Listener
	ctx  context.Context
	end  context.CancelFunc
	room chan struct{} // of maxQuestions
	rate bucket
	work sync.WaitGroup
}

func (e *endpoint) serveNames() (*names, error) {
	udp, err := net.FilePacketConn(e.space.NamesUDP)
	if err != nil {
		return nil, err
	}
	tcp, err := net.FileListener(e.space.NamesTCP)
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	s := &names{e: e, udp: udp, tcp: tcp, room: make(chan struct{}, maxQuestions)}
	s.ctx, s.end = context.WithCancel(e.agent.ctx)
	s.work.Go(s.serveUDP)
	s.work.Go(s.serveTCP)
	return s, nil
}

func (s *names) close() {
	s.end()
	s.udp.Close()
	s.tcp.Close()
	s.work.Wait()
}

func (s *names) serveUDP() {
	buf := make([]byte, maxEDNS)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of an asker that has gone
		}
		if !s.rate.take(time.Now()) {
			continue
		}
		q := append([]byte(nil), buf[:n]...)
		select {
		case s.room <- struct{}{}:
		default:
			continue // it asks again
		}
		s.work.Go(func() {
			defer func() { <-s.room }()
			if r := s.respond(q, maxUDPNames); r != nil {
				_, _ = s.udp.WriteTo(r, from)
			}
		})
	}
}

func (s *names) serveTCP() {
	room := make(chan struct{}, maxTCPNames)
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			c.Close()
			continue
		}
		s.work.Go(func() {
			defer func() { <-room }()
			defer c.Close()
			defer context.AfterFunc(s.ctx, func() { c.Close() })()
			_ = s.converse(c) // that is the asker's to see
		})
	}
}

// converse answers what comes over a connection, each message with its length before it.
func (s *names) converse(c net.Conn) error {
	for {
		if err := c.SetDeadline(time.Now().Add(tcpIdle + holdNames)); err != nil {
			return err
		}
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		q := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err := io.ReadFull(c, q); err != nil {
			return err
		}
		if !s.rate.take(time.Now()) {
			return nil
		}
		r := s.respond(q, maxNames-1)
		if r == nil {
			return nil
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...)); err != nil {
			return err
		}
	}
}

// respond answers a message in at most size bytes, or more if it says that it takes more; nil if it
// is no question.
func (s *names) respond(b []byte, size int) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.Response {
		return nil
	}
	s.e.agent.count.names.Add(1)
	q, err := p.Question()
	if err != nil || h.OpCode != 0 {
		return reply(h, nil, dnsmessage.RCodeFormatError, nil, size)
	}
	if size == maxUDPNames {
		size = max(size, edns(&p))
	}
	if q.Class != dnsmessage.ClassINET {
		return reply(h, &q, dnsmessage.RCodeRefused, nil, size)
	}
	asked := time.Now()
	code, addrs := s.find(strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")), q.Type)
	if len(addrs) > 0 {
		s.e.agent.count.named.add(time.Since(asked))
	}
	return reply(h, &q, code, addrs, size)
}

// find returns the addresses of a name. It waits for members that are not there yet.
func (s *names) find(name string, kind dnsmessage.Type) (dnsmessage.RCode, []netip.Addr) {
	n := s.e.net.Load()
	if n == nil {
		return dnsmessage.RCodeServerFailure, nil
	}
	members, there := n.names[name]
	switch {
	case !there:
		return dnsmessage.RCodeNameError, nil
	case kind != dnsmessage.TypeA && kind != dnsmessage.TypeALL:
		return dnsmessage.RCodeSuccess, nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, holdNames)
	defer cancel()
	var out []netip.Addr
	missing := false
	for _, at := range s.e.agent.lookUp(ctx, n, members) {
		switch at {
		case absent:
			missing = true
		case ended:
		default:
			out = append(out, at.ip())
		}
	}
	if len(out) == 0 && missing {
		return dnsmessage.RCodeServerFailure, nil
	}
	return dnsmessage.RCodeSuccess, out
}

// edns returns how long an answer the asker takes, 0 if it does not say.
func edns(p *dnsmessage.Parser) int {
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return 0
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return 0
		}
		if h.Type == dnsmessage.TypeOPT {
			return min(int(h.Class), maxEDNS)
		}
		if p.SkipAdditional() != nil {
			return 0
		}
	}
}

// reply builds a message, which is cut, and says so, if the addresses do not fit.
func reply(h dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode, addrs []netip.Addr, size int) []byte {
	const perAddr = 16 // with the name compressed
	h = dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired,
		RecursionAvailable: true, RCode: code}
	if q != nil {
		fits := (size - 12 - len(q.Name.String()) - 6) / perAddr
		if len(addrs) > fits {
			h.Truncated, addrs = true, addrs[:max(0, fits)]
		}
	}
	b := dnsmessage.NewBuilder(make([]byte, 0, 512), h)
	b.EnableCompression()
	if q != nil {
		if b.StartQuestions() != nil || b.Question(*q) != nil || b.StartAnswers() != nil {
			return nil
		}
		for _, at := range addrs {
			head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: nameLife}
			if b.AResource(head, dnsmessage.AResource{A: at.As4()}) != nil {
				return nil
			}
		}
	}
	m, err := b.Finish()
	if err != nil {
		return nil
	}
	return m
}
