package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// besides returns the datagrams of a connection as both ends of a stream on it have them.
func besides(t *testing.T, a, b *Host) (here, there *Datagrams) {
	t.Helper()
	const proto = "/test/beside/1"
	got := make(chan *Datagrams, 1)
	a.Handle(proto, func(s *Stream) {
		got <- s.Datagrams()
		io.Copy(io.Discard, s)
	})
	s, err := b.Open(soon(t), a.ID(), proto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Reset)
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	return s.Datagrams(), <-got
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	a, b := m.host(quicOnly), m.host([]string{})
	b.AddAddrs(a.ID(), a.Addrs())
	here, there := besides(t, a, b)
	if here == nil || there == nil {
		t.Fatal("a QUIC connection has no datagrams")
	}
	for _, way := range [][2]*Datagrams{{here, there}, {there, here}} {
		want := bytes.Repeat([]byte("g"), 1200)
		for got := []byte(nil); !bytes.Equal(got, want); { // one may be lost
			if err := way[0].Send(soon(t), want); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			var err error
			if got, err = way[1].Receive(ctx); err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
			cancel()
		}
		if err := way[0].Send(soon(t), make([]byte, 1500)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Send of 1,500 bytes: %v, want ErrTooLarge", err)
		}
	}
	if again, _ := besides(t, a, b); again != here {
		t.Error("another stream of the connection has other datagrams")
	}
	b.Disconnect(a.ID())
	if _, err := here.Receive(soon(t)); err == nil {
		t.Error("a datagram is received on a connection that has ended")
	}
	if err := here.Send(soon(t), []byte("x")); err == nil {
		t.Error("a datagram is sent on a connection that has ended")
	}
}

// Over TCP, and through the relay though its own connection may be QUIC, there are none.
func TestNoDatagrams(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	r, a, b := m.host(both), m.host(tcpOnly), m.host([]string{})
	b.AddAddrs(a.ID(), a.Addrs())
	if here, there := besides(t, a, b); here != nil || there != nil {
		t.Error("a TCP connection has datagrams")
	}
	if err := r.ServeRelay(RelayLimits{}); err != nil {
		t.Fatal(err)
	}
	a, b = m.hidden(r), m.hidden(r)
	b.AddAddrs(a.ID(), a.Addrs())
	if here, there := besides(t, a, b); here != nil || there != nil {
		t.Error("a relayed connection has datagrams")
	}
}

// Who floods with datagrams leaves half of the connection to its streams.
func TestDatagramsTakeTurns(t *testing.T) {
	const size, patience = 1000, time.Second
	now := time.Now()
	var turn turns
	var sent, datagrams, streams uint64
	next := func(writing bool) { // a packet is sent
		if turn.may(now, size, sent, writing, patience) {
			datagrams += size + datagramCost
			sent += size + datagramCost
			return
		}
		streams += 1400
		sent += 1400
	}
	for range 1000 {
		next(false)
	}
	if streams != 0 {
		t.Fatal("a datagram waits though no stream does")
	}
	datagrams = 0
	for range 1000 {
		next(true)
	}
	if r := float64(streams) / float64(datagrams); r < 0.8 || r > 1.25 {
		t.Errorf("streams send %.2f of what datagrams do", r)
	}
	for turn.may(now, size, sent, true, patience) {
	}
	if now = now.Add(patience); turn.may(now, size, sent, true, patience) {
		t.Error("a turn ends though streams may still have theirs")
	}
	if now = now.Add(time.Millisecond); !turn.may(now, size, sent, true, patience) {
		t.Error("datagrams wait for streams that send nothing")
	}
	datagrams = 0
	for range 12 { // those streams stay, and their readers read nothing
		for turn.may(now, size, sent, true, patience) {
			datagrams += size + datagramCost
			sent += size + datagramCost
		}
		now = now.Add(patience + time.Millisecond)
	}
	if datagrams < 5*maxDatagramTurn {
		t.Errorf("datagrams send %d bytes in 12 turns that streams let pass", datagrams)
	}
	for range 5000 { // one begins to send
		next(true)
	}
	datagrams, streams = 0, 0
	for range 1000 {
		next(true)
	}
	if r := float64(streams) / float64(datagrams); r < 0.8 || r > 1.25 {
		t.Errorf("after long turns streams send %.2f of what datagrams do", r)
	}
}
