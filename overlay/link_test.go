package overlay

import (
	"context"
	"testing"
	"time"

	"gaggle/wire"
)

// waiting returns a link whose goroutine does not run.
func waiting(t *testing.T) *link {
	a := New(Config{Self: wire.PeerID{1}})
	t.Cleanup(func() { a.Close() })
	return newLink(a, wire.PeerID{2})
}

// numbered is a network of which no more is known.
func numbered(vni uint32) *network { return &network{vni: vni} }

// A network that sends a lot does not keep another from a host: they take turns.
func TestNetworksTakeTurns(t *testing.T) {
	l := waiting(t)
	large, small := &packet{b: make([]byte, 60_000)}, &packet{b: make([]byte, 100)}
	pushed := 0
	for {
		if _, ok := l.push(numbered(7), large); !ok {
			break
		}
		pushed++
	}
	if pushed != maxLane/(60_000+frameHead) {
		t.Errorf("a lane takes %d packets", pushed)
	}
	for range 1000 {
		if why, ok := l.push(numbered(8), small); !ok {
			t.Fatalf("a packet of another network is dropped: %s", why)
		}
	}
	var order []uint32
	frames := 0
	for n, b := l.take(); b != nil; n, b = l.take() {
		order = append(order, n.net.vni)
		if len(b) > turn+60_000 {
			t.Errorf("a turn of %d bytes", len(b))
		}
		for len(b) > 0 {
			length, vni, _ := readHead(b)
			if vni != n.net.vni {
				t.Fatalf("a frame of network %d in the lane of %d", vni, n.net.vni)
			}
			b = b[frameHead+length:]
			frames++
		}
		l.done(n, b, nil)
	}
	if len(order) < 4 || order[0] != 7 || order[1] != 8 || order[2] != 7 || order[3] != 8 || frames != pushed+1000 {
		t.Errorf("%d of %d frames came in the order %v", frames, pushed+1000, order)
	}
}

// What waits for a host that takes nothing is dropped, and gives its room back.
func TestStuckHost(t *testing.T) {
	l := waiting(t)
	p := &packet{b: make([]byte, 1000)}
	for vni := range uint32(100) {
		l.push(numbered(vni), p)
	}
	n, b := l.take()
	l.began = time.Now().Add(-2 * stallAfter)
	if why, ok := l.push(numbered(7), p); ok || why != DropQueue {
		t.Errorf("a packet is queued for it: %s, %t", why, ok)
	}
	if got := l.agent.Stats().Queued; got != int64(len(b)) {
		t.Errorf("%d bytes wait, want the %d that are being written", got, len(b))
	}
	l.done(n, b, nil)
	if got := l.agent.Stats().Queued; got != 0 {
		t.Errorf("%d bytes wait afterwards", got)
	}
	if got := l.agent.Stats().Drops[DropUnreachable]; got != 99 {
		t.Errorf("%d packets are counted as dropped, want all but the one that is being written", got)
	}
	if why, ok := l.push(numbered(7), p); !ok {
		t.Errorf("when it takes something again: %s", why)
	}
}

func TestEndedNetworksMakeRoom(t *testing.T) {
	a := New(Config{Self: wire.PeerID{1}})
	defer a.Close()
	learn := func(vni uint32) error {
		a.Learn(&wire.Network{VNI: vni, Space: "lab", Members: []wire.NetMember{{Task: "x", Count: 1, Host: 1, Peer: wire.PeerID{1}}}})
		_, err := a.known(vni)
		return err
	}
	for vni := range uint32(maxNetworks) {
		if err := learn(vni + 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := learn(9000); err == nil {
		t.Error("one too many is taken in")
	}
	a.Forget(3)
	a.Forget(2)
	if err := learn(9000); err != nil {
		t.Error(err)
	}
	if a.network(3) != nil || a.network(2) == nil {
		t.Error("another than that which ended first made room")
	}
}

// All who wait for a member share one watch, which ends with the last of them.
func TestWatchesAreShared(t *testing.T) {
	p := wire.PeerID{1}
	a := New(Config{Self: p})
	defer a.Close()
	a.Learn(&wire.Network{VNI: 7, Space: "lab", Members: []wire.NetMember{{Task: "db", Count: 1, Host: 1, Peer: p, Ready: 6379}}})
	n := a.network(7)
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error)
	const waiters = 20
	for range waiters {
		go func() { errs <- a.Ready(ctx, 7) }()
	}
	for {
		n.mu.Lock()
		w := n.watches[0]
		all := w != nil && w.waiters == waiters
		n.mu.Unlock()
		if all {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	for range waiters {
		if err := <-errs; err == nil || err.Error() != "db-0 does not listen on port 6379: context canceled" {
			t.Errorf("Ready() = %v", err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.watches) != 0 {
		t.Errorf("%d watches are left", len(n.watches))
	}
}
