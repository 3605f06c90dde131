package overlay

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"gaggle/overlay/peer"
	"gaggle/sandbox"
	"gaggle/wire"
)

// BenchmarkStream has one TCP connection send from one host to another over QUIC on loopback, then the
// same bytes over a stream of the mesh alone, and prints the ratio.
func BenchmarkStream(b *testing.B) {
	const proto, size, rounds = "/test/raw/1", 64 << 20, 3
	hosts, ms := overPeers(b, 2, "/ip4/127.0.0.1/udp/0/quic-v1")
	learn(b, 7, []wire.NetMember{ms[0].member("a", 0, 1), ms[1].member("b", 0, 1)}, ms...)
	from, to := ms[0].join(7, 0), ms[1].join(7, 1)
	to.listen(80, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		c.Write([]byte{byte(n >> 20)})
	})
	hosts[1].Handle(proto, func(s *peer.Stream) {
		n, _ := io.Copy(io.Discard, s)
		s.Write([]byte{byte(n >> 20)})
		s.Close()
	})
	send := func(w io.ReadWriter, end func() error) time.Duration {
		began := time.Now()
		buf := make([]byte, 256<<10)
		for range size / len(buf) {
			if _, err := w.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		end()
		if _, err := io.ReadFull(w, buf[:1]); err != nil || buf[0] != size>>20 {
			b.Fatal(buf[0], err)
		}
		return time.Since(began)
	}
	for b.Loop() {
		var overlay, raw time.Duration
		for range rounds {
			c, err := from.dial("tcp", to.addr(80))
			if err != nil {
				b.Fatal(err)
			}
			overlay += send(c, c.(*net.TCPConn).CloseWrite)
			s, err := hosts[0].Open(soon(b), hosts[1].ID(), proto)
			if err != nil {
				b.Fatal(err)
			}
			raw += send(s, s.CloseWrite)
		}
		rate := func(d time.Duration) float64 { return rounds * size * 8 / d.Seconds() / 1e9 }
		b.ReportMetric(rate(overlay), "Gbit/s-overlay")
		b.ReportMetric(rate(raw), "Gbit/s-stream")
		b.ReportMetric(raw.Seconds()/overlay.Seconds(), "ratio")
	}
}

// BenchmarkNetworkedRun has one slot run a command on a network that does nothing, with time between
// for what is made ahead, and prints the median.
func BenchmarkNetworkedRun(b *testing.B) {
	dir := root(b)
	a := newHub(b).machine(b, 1)
	learn(b, 7, []wire.NetMember{a.member("one", 0, 1)}, a)
	e := a.engine(1)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		sh(b, e, sandbox.Spec{Root: dir, Net: a.Member(7, 0)}, ":")
		took = append(took, time.Since(began))
		time.Sleep(20 * time.Millisecond)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(0, "ns/op")
}
