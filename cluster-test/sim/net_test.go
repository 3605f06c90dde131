package sim

import (
	"io"
	"net"
	"sync"
	"time"
)

// A network joins hosts by name with a delay, and can cut any of them off.
type network struct {
	delay time.Duration

	mu    sync.Mutex // guards the fields below
	cut   map[string]bool
	conns map[*pipe]bool
}

func newNetwork(delay time.Duration) *network {
	return &network{delay: delay, cut: map[string]bool{}, conns: map[*pipe]bool{}}
}

// reach reports whether packets pass between two hosts.
func (n *network) reach(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return a == b || !n.cut[a] && !n.cut[b]
}

// setCut takes a host off the network or puts it back. Streams break when their ends would
// notice, 30 s after, as QUIC's do, unless the cut is healed before: then what was sent arrives.
func (n *network) setCut(host string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[host] = cut
	for c := range n.conns {
		c.wake()
	}
}

const quicIdle = 30 * time.Second

// dial opens a stream between two hosts; each end sees what the other writes after the delay.
func (n *network) dial(a, b string) (near, far io.ReadWriteCloser, err error) {
	if !n.reach(a, b) {
		return nil, nil, net.ErrClosed
	}
	ab, ba := newPipe(n, a, b), newPipe(n, b, a)
	n.mu.Lock()
	n.conns[ab], n.conns[ba] = true, true
	n.mu.Unlock()
	return &stream{in: ba, out: ab}, &stream{in: ab, out: ba}, nil
}

type stream struct{ in, out *pipe }

func (s *stream) Read(b []byte) (int, error)  { return s.in.read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.out.write(b) }

// Close lets what was written arrive.
func (s *stream) Close() error {
	s.in.close()
	s.out.finish()
	return nil
}

// A pipe carries bytes one way.
type pipe struct {
	net      *network
	from, to string

	mu     sync.Mutex // guards the fields below; taken after network.mu
	cond   sync.Cond
	queue  []packet
	fin    bool      // nothing more is written
	closed bool      // nothing more is read
	silent time.Time // since when the two cannot reach each other; zero if they can
}

type packet struct {
	at   time.Time // when it arrives
	data []byte
}

func newPipe(n *network, from, to string) *pipe {
	p := &pipe{net: n, from: from, to: to}
	p.cond.L = &p.mu
	return p
}

// wake looks at the cut anew. Called under network.mu.
func (p *pipe) wake() {
	reach := !p.net.cut[p.from] && !p.net.cut[p.to]
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case reach:
		p.silent = time.Time{}
	case p.silent.IsZero():
		p.silent = time.Now()
		time.AfterFunc(quicIdle, p.breakIfSilent)
	}
	p.cond.Broadcast()
}

func (p *pipe) breakIfSilent() {
	p.mu.Lock()
	silent := !p.silent.IsZero() && time.Since(p.silent) >= quicIdle
	p.mu.Unlock()
	if silent {
		p.close()
	}
}

func (p *pipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fin = true
	p.cond.Broadcast()
}

func (p *pipe) close() {
	p.mu.Lock()
	p.closed = true
	p.cond.Broadcast()
	p.mu.Unlock()
	p.net.mu.Lock()
	delete(p.net.conns, p)
	p.net.mu.Unlock()
}

// maxQueued bounds what is under way in one direction, as a flow control window does.
const maxQueued = 4096

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) >= maxQueued && !p.closed && !p.fin {
		p.cond.Wait()
	}
	if p.closed || p.fin {
		return 0, net.ErrClosed
	}
	p.queue = append(p.queue, packet{time.Now().Add(p.net.delay), append([]byte(nil), b...)})
	time.AfterFunc(p.net.delay, func() {
		p.mu.Lock()
		p.cond.Broadcast()
		p.mu.Unlock()
	})
	return len(b), nil
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		arrived := len(p.queue) > 0 && !p.queue[0].at.After(time.Now()) && p.silent.IsZero()
		switch {
		case arrived:
			n := copy(b, p.queue[0].data)
			if p.queue[0].data = p.queue[0].data[n:]; len(p.queue[0].data) == 0 {
				p.queue = p.queue[1:]
				p.cond.Broadcast()
			}
			return n, nil
		case p.closed, p.fin && len(p.queue) == 0:
			return 0, io.EOF
		}
		p.cond.Wait()
	}
}
