package peer

import (
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"sync"
	"time"

	"gaggle/wire"
)

// An Answer is how a peer answered a knock.
type Answer struct {
	Transport string        // "UDP" or "TCP"
	Took      time.Duration // of the handshakes; 0 if there was no answer
	Err       error         // as of Connect; nil if it answered
}

// knockLimit bounds a knock: QUIC gives up after 5 s.
const knockLimit = 6 * time.Second

// Knock tries whether a peer answers at some addresses, by each transport that they name, as a
// stranger: nothing is shown, and a host that runs with the same key does not notice.
func Knock(ctx context.Context, mesh, p wire.PeerID, addrs []string) []Answer {
	var answers []Answer
	for _, t := range []string{"UDP", "TCP"} {
		if slices.ContainsFunc(addrs, ofTransport(t)) {
			answers = append(answers, Answer{Transport: t})
		}
	}
	var all sync.WaitGroup
	for i := range answers {
		a := &answers[i]
		some := slices.DeleteFunc(slices.Clone(addrs), func(s string) bool { return !ofTransport(a.Transport)(s) })
		all.Go(func() { a.Took, a.Err = knock(ctx, mesh, p, some) })
	}
	all.Wait()
	return answers
}

func ofTransport(t string) func(addr string) bool {
	return func(addr string) bool { return strings.Contains(addr, "/"+strings.ToLower(t)+"/") }
}

func knock(ctx context.Context, mesh, p wire.PeerID, addrs []string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, knockLimit)
	defer cancel()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return 0, err
	}
	h, err := New(Config{Key: key, Mesh: mesh, Listen: []string{}})
	if err != nil {
		return 0, err
	}
	h.AddAddrs(p, addrs)
	begun := time.Now()
	_, err = h.dial(ctx, p)
	took := time.Since(begun)
	if closed := h.Close(); err == nil {
		err = closed
	}
	if err != nil {
		took = 0
	}
	return took, err
}
