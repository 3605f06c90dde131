package wired

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// A pathCase is a way between two namespaces.
type pathCase struct {
	name         string
	from, server *os.File
	addr         netip.Addr
	gbps, cpu    map[int][]float64 // by streams; CPU time of both iperf3 in s/GiB
	rtt          []float64         // us
}

// BenchmarkPaths compares throughput, CPU time of both ends and round trips of ways between
// hosts and on one, measured in turns: GAGGLE_ROUNDS of GAGGLE_SECONDS each. Ratios are medians of those
// of a round. It needs iperf3 and ping.
func BenchmarkPaths(b *testing.B) {
	needRoot(b)
	for _, program := range []string{"iperf3", "ping"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skip("needs ", program)
		}
	}
	x, y := bareHosts(b, 1500)
	all := paths(b, x, y)
	rounds, seconds := sizes("GAGGLE_ROUNDS", "5")[0], sizes("GAGGLE_SECONDS", "2")[0]
	for _, c := range all {
		stop := serve(b, c.server)
		defer stop()
	}
	for b.Loop() {
		for r := range rounds {
			for _, streams := range streams(seconds) {
				for i := range all {
					c := all[(i+r)%len(all)]
					gbps, cpu := iperf(b, c, seconds, streams)
					c.gbps[streams] = append(c.gbps[streams], gbps)
					c.cpu[streams] = append(c.cpu[streams], cpu)
				}
			}
			for i := range all {
				c := all[(i+r)%len(all)]
				c.rtt = append(c.rtt, ping(b, c))
			}
		}
	}
	report(all)
}

// streams are the numbers of streams that throughput is measured with; without seconds only round
// trips are.
func streams(seconds int) []int {
	if seconds == 0 {
		return nil
	}
	return []int{1, 4}
}

// paths lays two bridges and two planes side by side over u0.
func paths(b *testing.B, x, y *host) []*pathCase {
	for _, h := range [][2]*host{{x, y}, {y, x}} {
		if err := in(h[0].ns, func() error { return bridge(h[0].at, h[1].at) }); err != nil {
			b.Fatal(err)
		}
		h[0].open(b, Config{Trusted: trusted})
	}
	bridged := func(h *host, name string, n byte) (*os.File, netip.Addr) {
		ns, err := newNS()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ns.Close() })
		a := netip.AddrFrom4([4]byte{10, 100, 0, n})
		err = in(h.ns, func() error {
			r, err := openRTNL()
			if err != nil {
				return err
			}
			defer r.close()
			return cniAdd(r, name, ns, a)
		})
		if err != nil {
			b.Fatal(err)
		}
		return ns, a
	}
	b1, _ := bridged(x, "b1", 1)
	b2, b2at := bridged(y, "b2", 2)
	b3, b3at := bridged(x, "b3", 3)
	s1, s2, s3 := x.endpoint(b, 7), y.endpoint(b, 7), x.endpoint(b, 7)
	e1, e2 := x.endpoint(b, 8), y.endpoint(b, 8)
	meet(b, Direct, s1, s2)
	meet(b, External, e1, e2)
	var all []*pathCase
	for _, c := range []pathCase{
		{name: "bridge+vxlan", from: b1, server: b2, addr: b2at},
		{name: "direct", from: s1.ns, server: s2.ns, addr: s2.addr},
		{name: "external", from: e1.ns, server: e2.ns, addr: e2.addr},
		{name: "veth", from: x.ns, server: y.ns, addr: y.at},
		{name: "bridge, local", from: b1, server: b3, addr: b3at},
		{name: "ours, local", from: s1.ns, server: s3.ns, addr: s3.addr},
	} {
		c.gbps, c.cpu = map[int][]float64{}, map[int][]float64{}
		all = append(all, &c)
	}
	return all
}

func serve(b *testing.B, ns *os.File) (stop func()) {
	cmd := exec.Command("iperf3", "-s")
	if err := in(ns, cmd.Start); err != nil {
		b.Fatal(err)
	}
	waitFor(b, "iperf3 to listen", func() bool {
		return in(ns, func() error {
			c, err := net.Dial("tcp4", "127.0.0.1:5201")
			if err == nil {
				c.Close()
			}
			return err
		}) == nil
	})
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// output runs a program in a namespace.
func output(b *testing.B, ns *os.File, name string, args ...string) []byte {
	cmd := exec.Command(name, args...)
	var out io.ReadCloser
	err := in(ns, func() (err error) {
		if out, err = cmd.StdoutPipe(); err == nil {
			err = cmd.Start()
		}
		return err
	})
	if err != nil {
		b.Fatal(name, ": ", err)
	}
	text, err := io.ReadAll(out)
	if e := cmd.Wait(); e != nil || err != nil {
		b.Fatalf("%s %v: %v %v\n%s", name, args, err, e, text)
	}
	return text
}

func iperf(b *testing.B, c *pathCase, seconds, streams int) (gbps, cpu float64) {
	text := output(b, c.from, "iperf3", "-c", c.addr.String(), "-t", strconv.Itoa(seconds), "-P", strconv.Itoa(streams), "-J")
	var r struct {
		End struct {
			Received struct {
				Bytes, Seconds float64
				Rate           float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			CPU struct {
				Host   float64 `json:"host_total"`
				Remote float64 `json:"remote_total"`
			} `json:"cpu_utilization_percent"`
		}
	}
	if err := json.Unmarshal(text, &r); err != nil || r.End.Received.Bytes == 0 {
		b.Fatalf("%s: %v\n%s", c.name, err, text)
	}
	e := r.End
	return e.Received.Rate / 1e9, (e.CPU.Host + e.CPU.Remote) / 100 * e.Received.Seconds / (e.Received.Bytes / (1 << 30))
}

var pingTime = regexp.MustCompile(`time=([\d.]+)`)

// ping returns the median of 300 round trips, 2 ms apart.
func ping(b *testing.B, c *pathCase) float64 {
	var all []float64
	for _, m := range pingTime.FindAllSubmatch(output(b, c.from, "ping", "-i", "0.002", "-c", "300", c.addr.String()), -1) {
		ms, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, ms*1e3)
	}
	if len(all) < 200 {
		b.Fatalf("%s: %d of 300 pings answered", c.name, len(all))
	}
	return median(all)
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// report prints medians, and medians of ratios to the bridge of the same round.
func report(all []*pathCase) {
	fmt.Printf("%-14s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "path", "Gbit/s", "ratio", "s/GiB", "ratio", "4: Gb/s", "ratio", "s/GiB", "ratio", "ping us", "ratio")
	for i, c := range all {
		base := all[0]
		if i >= 4 {
			base = all[4]
		}
		fmt.Printf("%-14s", c.name)
		for _, pair := range [][2][]float64{{c.gbps[1], base.gbps[1]}, {c.cpu[1], base.cpu[1]}, {c.gbps[4], base.gbps[4]}, {c.cpu[4], base.cpu[4]}, {c.rtt, base.rtt}} {
			if len(pair[0]) == 0 {
				fmt.Printf(" %8s %8s", "-", "-")
				continue
			}
			var ratios []float64
			for i := range pair[0] {
				ratios = append(ratios, pair[0][i]/pair[1][i])
			}
			fmt.Printf(" %8.2f %8.2f", median(pair[0]), median(ratios))
		}
		fmt.Println()
	}
	fmt.Printf("load %s", loadavg())
}

func loadavg() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return time.Now().String() + "\n"
	}
	return string(b)
}
