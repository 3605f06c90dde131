package overlay

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// A cable is two sites, with what goes from one to the other at a rate, less what is lost.
type cable struct {
	b    *testing.B
	x, y *site
}

func newCable(b *testing.B, rate string, perMille int) *cable {
	b.Helper()
	for _, program := range []string{"ip", "tc", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skip(err)
		}
	}
	c := &cable{b, newSite(b), newSite(b)}
	connect(c.x, c.y, "192.168.77.1", "192.168.77.2")
	for s, dev := range map[*site]string{c.x: deviceName, c.y: farName} {
		// Packets one by one: what QUIC hands over at once would be lost at once.
		c.run(s, "ip", "link", "set", dev, "gso_max_segs", "1")
		c.run(s, "tc", "qdisc", "add", "dev", dev, "root", "tbf", "rate", rate, "burst", "32kb", "latency", "20ms")
		if perMille > 0 {
			c.run(s, "nft", fmt.Sprintf("add table ip lossy; add chain ip lossy in { type filter hook input priority 0; }; "+
				"add rule ip lossy in ip protocol udp numgen random mod 1000 < %d drop", perMille))
		}
	}
	return c
}

// run runs a program in a site.
func (c *cable) run(s *site, argv ...string) {
	c.b.Helper()
	s.do(func() error {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", argv, err, out)
		}
		return nil
	})
}

// hosts are two of the mesh, one at each end of the cable, and machines over them. Without beside their
// agents know of no datagrams, as those of older versions.
func (c *cable) hosts(port int, beside bool) (hosts []*peer.Host, ms []*machine) {
	c.b.Helper()
	mesh := newParty(c.b)
	for _, s := range []*site{c.x, c.y} {
		var h *peer.Host
		s.do(func() error {
			h = mesh.host(fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port))
			return nil
		})
		hosts = append(hosts, h)
		var peers Peers = Over(h)
		if !beside {
			peers = older{peers}
		}
		ms = append(ms, newMachine(c.b, uint16(len(hosts)), Config{Self: h.ID(), Peers: peers}))
	}
	for i, h := range hosts {
		h.AddAddrs(hosts[1-i].ID(), []string{fmt.Sprintf("/ip4/192.168.77.%d/udp/%d/quic-v1", 2-i, port)})
	}
	learn(c.b, 7, []wire.NetMember{ms[0].member("a", 0, 1), ms[1].member("b", 0, 1), ms[0].member("c", 0, 1)}, ms...)
	return hosts, ms
}

// older are peers whose streams have no datagrams.
type older struct{ Peers }

func (o older) Handle(protocol string, fn func(Stream)) {
	o.Peers.Handle(protocol, func(s Stream) { fn(alone{s}) })
}

type alone struct{ Stream }

func (alone) Datagrams() Datagrams { return nil }

// sink takes what connections to a port of the box send, and says at the end how much it was.
func (b *box) sink(port int) {
	b.listen(port, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		fmt.Fprintf(c, "%12d", n)
	})
}

// pour sends that many bytes and waits until they have arrived.
func pour(b *testing.B, w io.ReadWriter, end func() error, size int) {
	buf := make([]byte, 256<<10)
	for left := size; left > 0; left -= len(buf) {
		if _, err := w.Write(buf[:min(left, len(buf))]); err != nil {
			b.Error(err)
			return
		}
	}
	var n int
	end()
	said := make([]byte, 12)
	if _, err := io.ReadFull(w, said); err != nil {
		b.Error(err)
	} else if fmt.Sscan(string(said), &n); n != size {
		b.Errorf("%d of %d bytes have arrived", n, size)
	}
}

// streams returns what sends that many bytes by a stream of the mesh and waits until they have arrived.
func streams(b *testing.B, from, to *peer.Host) func(size int) {
	const proto = "/test/raw/1"
	to.Handle(proto, func(s *peer.Stream) {
		n, _ := io.Copy(io.Discard, s)
		fmt.Fprintf(s, "%12d", n)
		s.Close()
	})
	return func(size int) {
		s, err := from.Open(soon(b), to.ID(), proto)
		if err != nil {
			b.Error(err)
			return
		}
		pour(b, s, s.CloseWrite, size)
		s.Close()
	}
}

// BenchmarkLoss has one TCP connection of tasks send from host to host, then four, over a path that loses
// packets, and the same bytes go over a stream of the mesh, in turns. What ends TCP at each host and sends
// its bytes by such streams can be no faster than these.
func BenchmarkLoss(b *testing.B) {
	const size, rounds = 24 << 20, 3
	for _, rate := range []string{"100mbit", "1gbit"} {
		for _, perMille := range []int{0, 1, 10} {
			b.Run(fmt.Sprintf("%s-%d.%d%%", rate, perMille/10, perMille%10), func(b *testing.B) {
				c := newCable(b, rate, perMille)
				hosts, ms := c.hosts(7070, true)
				from, to := ms[0].join(7, 0), ms[1].join(7, 1)
				to.sink(80)
				var again atomic.Int64
				stream := streams(b, hosts[0], hosts[1])
				connection := func(size int) {
					conn, err := from.dial("tcp", to.addr(80))
					if err != nil {
						b.Error(err)
						return
					}
					pour(b, conn, conn.(*net.TCPConn).CloseWrite, size)
					again.Add(int64(retransmissions(b, conn.(*net.TCPConn))))
					conn.Close()
				}
				four := func(one func(int)) func(int) {
					return func(size int) {
						var all sync.WaitGroup
						for range 4 {
							all.Go(func() { one(size / 4) })
						}
						all.Wait()
					}
				}
				ways := []struct {
					name string
					send func(int)
					took []time.Duration
				}{{"1-tcp", connection, nil}, {"1-stream", stream, nil}, {"4-tcp", four(connection), nil}, {"4-streams", four(stream), nil}}
				stream(1 << 20) // so that QUIC has its window
				for b.Loop() {
					for range rounds {
						for i := range ways {
							began := time.Now()
							ways[i].send(size)
							ways[i].took = append(ways[i].took, time.Since(began))
						}
					}
				}
				for _, w := range ways {
					slices.Sort(w.took)
					b.ReportMetric(size*8/w.took[len(w.took)/2].Seconds()/1e6, "Mbit/s-"+w.name)
				}
				b.ReportMetric(float64(again.Load()), "segments-again")
				b.ReportMetric(float64(ms[0].Stats().Drops[DropQueue]), "drops")
			})
		}
	}
}

// retransmissions returns how many segments a connection has sent again.
func retransmissions(b *testing.B, c *net.TCPConn) (n uint32) {
	raw, err := c.SyscallConn()
	if err != nil {
		b.Error(err)
		return 0
	}
	raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			b.Error(err)
			return
		}
		n = i.Total_retrans
	})
	return n
}

// BenchmarkBeside measures round trips of UDP between two hosts while four TCP connections of the same
// network send all they can between them, of the same task or of another, in turns with datagrams and without.
func BenchmarkBeside(b *testing.B) {
	const rounds, trips = 2, 100
	for _, path := range []struct {
		rate     string
		perMille int
	}{{"20mbit", 0}, {"20mbit", 10}, {"100mbit", 0}} {
		b.Run(fmt.Sprintf("%s-%d.%d%%", path.rate, path.perMille/10, path.perMille%10), func(b *testing.B) {
			c := newCable(b, path.rate, path.perMille)
			type way struct {
				name           string
				bulk, from, to *box
				took           []time.Duration
			}
			var ways []*way
			for i, how := range []string{"stream", "datagram"} {
				_, ms := c.hosts(7070+i, how == "datagram")
				from, other, to := ms[0].join(7, 0), ms[0].join(7, 2), ms[1].join(7, 1)
				to.sink(80)
				in := to.receives()
				go sayBack(in)
				ways = append(ways, &way{how + "-same-task", from, from, to, nil}, &way{how + "-other-task", from, other, to, nil})
			}
			for b.Loop() {
				for range rounds {
					for _, w := range ways {
						w.took = append(w.took, roundTrips(b, 4, w.bulk, w.from, w.to, trips)...)
					}
				}
			}
			for _, w := range ways {
				slices.Sort(w.took)
				b.ReportMetric(float64(w.took[len(w.took)/2].Microseconds())/1e3, "ms-p50-"+w.name)
				b.ReportMetric(float64(w.took[len(w.took)*99/100].Microseconds())/1e3, "ms-p99-"+w.name)
			}
		})
	}
}

// BenchmarkFlood measures what TCP of one network and a stream of the mesh get, alone and while a task of another network sends as
// much UDP as it can between the same hosts, with datagrams and without; and round trips of UDP beside that.
func BenchmarkFlood(b *testing.B) {
	const size, rounds, trips = 16 << 20, 3, 100
	for _, how := range []string{"stream", "datagram"} {
		b.Run(how, func(b *testing.B) {
			hosts, ms := newCable(b, "100mbit", 0).hosts(7070, how == "datagram")
			learn(b, 8, []wire.NetMember{ms[0].member("a", 0, 1), ms[1].member("b", 0, 1)}, ms...)
			from, to, bad, poor := ms[0].join(7, 0), ms[1].join(7, 1), ms[0].join(8, 0), ms[1].join(8, 1)
			to.sink(80)
			go sayBack(to.receives())
			poor.receives()
			flood, err := bad.dial("udp", poor.addr(7777))
			if err != nil {
				b.Fatal(err)
			}
			flood.SetDeadline(time.Time{})
			took := map[string][]time.Duration{}
			measure := func(what string, f func(size int)) {
				began := time.Now()
				f(size)
				took[what] = append(took[what], time.Since(began))
			}
			stream := streams(b, hosts[0], hosts[1])
			bulk := func(size int) {
				conn, err := from.dial("tcp", to.addr(80))
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				pour(b, conn, conn.(*net.TCPConn).CloseWrite, size)
			}
			var trip []time.Duration
			for b.Loop() {
				for range rounds {
					measure("tcp-alone", bulk)
					measure("mesh-alone", stream)
					stop, stopped := make(chan struct{}), make(chan struct{})
					go func() {
						defer close(stopped)
						for buf := make([]byte, 1200); ; flood.Write(buf) {
							select {
							case <-stop:
								return
							default:
							}
						}
					}()
					measure("tcp-flooded", bulk)
					measure("mesh-flooded", stream)
					trip = append(trip, roundTrips(b, 0, from, from, to, trips)...)
					close(stop)
					<-stopped
				}
			}
			for name, all := range took {
				slices.Sort(all)
				b.ReportMetric(size*8/all[len(all)/2].Seconds()/1e6, "Mbit/s-"+name)
			}
			slices.Sort(trip)
			b.ReportMetric(float64(trip[len(trip)/2].Microseconds())/1e3, "ms-p50")
		})
	}
}

// roundTrips sends datagrams, one after the other, while connections of TCP are busy. One that is lost is left out.
func roundTrips(b *testing.B, connections int, busy, from, to *box, n int) (took []time.Duration) {
	for range connections {
		bulk, err := busy.dial("tcp", to.addr(80))
		if err != nil {
			b.Fatal(err)
		}
		defer bulk.Close()
		go io.Copy(bulk, zeros{})
	}
	u, err := from.dial("udp", to.addr(7777))
	if err != nil {
		b.Fatal(err)
	}
	defer u.Close()
	time.Sleep(2 * time.Second) // until the queues are what they become
	buf := make([]byte, 100)
	for i := range n {
		began := time.Now()
		buf[0] = byte(i)
		u.Write(buf)
		u.SetReadDeadline(began.Add(time.Second))
		for err = nil; err == nil; {
			if _, err = u.Read(buf); err == nil && buf[0] == byte(i) {
				took = append(took, time.Since(began))
				break
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return took
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
