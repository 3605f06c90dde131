//go:build linux

package exchange

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

const (
	// idlePeers is how many a coordinator of a middling mesh knows.
	idlePeers = 200
	// settle is what connections that have just been made are given to finish with each other.
	settle = 5 * time.Second
)

// BenchmarkIdlePeers has members of another process connect to one, which becomes so much larger by each.
func BenchmarkIdlePeers(b *testing.B) {
	var heap, rss float64
	var theirs rival
	for range b.N {
		n, h := meshNode(b, detKey(1), overQUIC)
		met := make(chan wire.PeerID, idlePeers)
		h.OnConnect(func(p wire.PeerID) { met <- p })
		heap0, rss0 := memory(b)
		leave := startIdle(b, n.id, h.Addrs()[0])
		for range idlePeers {
			select {
			case <-met:
			case <-time.After(time.Minute):
				b.Fatalf("not all of %d peers have connected", idlePeers)
			}
		}
		time.Sleep(settle)
		heap1, rss1 := memory(b)
		heap, rss = heap+heap1-heap0, rss+rss1-rss0
		leave()
		r := bitswap(b, "idle", fmt.Sprint(idlePeers))
		theirs.Heap, theirs.RSS = theirs.Heap+r.Heap, theirs.RSS+r.RSS
	}
	all := float64(b.N) * 1024
	b.ReportMetric(heap/idlePeers/all, "KiB-heap/peer")
	b.ReportMetric(rss/idlePeers/all, "KiB-RSS/peer")
	if theirs.Heap > 0 {
		b.ReportMetric(theirs.Heap/all, "KiB-heap/peer-bitswap")
		b.ReportMetric(theirs.RSS/all, "KiB-RSS/peer-bitswap")
	}
}

// startIdle starts the process of TestIdleMembers. leave has it end.
func startIdle(b *testing.B, id wire.PeerID, addr string) (leave func()) {
	b.Helper()
	c := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestIdleMembers$")
	c.Env = append(os.Environ(), "GAGGLE_IDLE="+addr+" "+id.String())
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	return func() {
		in.Close()
		if err := c.Wait(); err != nil {
			b.Error(err)
		}
	}
}

// TestIdleMembers is the other process of BenchmarkIdlePeers: its members connect to GAGGLE_IDLE, "ADDRESS
// PEER", and stay until its input ends.
func TestIdleMembers(t *testing.T) {
	addr, id, ok := strings.Cut(os.Getenv("GAGGLE_IDLE"), " ")
	if !ok {
		t.Skip("it is a part of BenchmarkIdlePeers")
	}
	to, err := wire.ParsePeerID(id)
	if err != nil {
		t.Fatal(err)
	}
	for range idlePeers {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, h := meshNode(t, key, overQUIC)
		if err := h.Connect(context.Background(), to, []string{addr}); err != nil {
			t.Fatal(err)
		}
	}
	io.Copy(io.Discard, os.Stdin)
}

// memory returns the bytes of the heap that are in use, and those of the process that are resident.
func memory(b *testing.B) (heap, rss float64) {
	b.Helper()
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return float64(s.HeapAlloc), float64(pages * os.Getpagesize())
}
