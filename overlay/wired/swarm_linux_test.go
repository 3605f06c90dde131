package wired

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A swarm is two Docker hosts with an overlay network, which scripts/swarm keeps: what an operator has
// for tenants without us.
type swarm struct{ a, b *docker }

// A docker speaks to a daemon.
type docker struct {
	http http.Client
	pid  int // of its host
}

func dialDocker(dir, name string) (*docker, error) {
	text, err := os.ReadFile(filepath.Join(dir, name+".pid"))
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	d := &docker{pid: pid}
	d.http.Transport = &http.Transport{MaxIdleConnsPerHost: 8, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(dir, name+".sock"))
	}}
	return d, err
}

// do sends a request of Docker's engine API and decodes the answer.
func (d *docker) do(method, path string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, "http://docker/v1.41"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("docker %s %s: %s: %s", method, path, resp.Status, said)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(said, answer)
	}
	return err
}

// start starts a container that does nothing.
func (d *docker) start(name, network string) error {
	type host struct{ NetworkMode string }
	err := d.do("POST", "/containers/create?name="+name, struct {
		Image      string
		Cmd        []string
		HostConfig host
	}{"tenant", []string{"sleep", "inf"}, host{network}}, nil)
	if err != nil {
		return err
	}
	return d.do("POST", "/containers/"+name+"/start", nil, nil)
}

// endpoint opens the container's network namespace, which is beneath the daemon's mounts.
func (d *docker) endpoint(name string) (*os.File, netip.Addr, error) {
	var c struct {
		NetworkSettings struct {
			SandboxKey string
			Networks   map[string]struct{ IPAddress string }
		}
	}
	if err := d.do("GET", "/containers/"+name+"/json", nil, &c); err != nil {
		return nil, netip.Addr{}, err
	}
	at, err := netip.ParseAddr(c.NetworkSettings.Networks["tenants"].IPAddress)
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("container %s: %w", name, err)
	}
	ns, err := os.Open(filepath.Join("/proc", strconv.Itoa(d.pid), "root", c.NetworkSettings.SandboxKey))
	if err != nil {
		return nil, netip.Addr{}, err
	}
	return ns, at, in(ns, askSoon)
}

func (d *docker) remove(name string) error {
	return d.do("DELETE", "/containers/"+name+"?force=1", nil, nil)
}

// newSwarm starts one, or skips where there is no Docker.
func newSwarm(b *testing.B) *swarm {
	for _, tool := range []string{"dockerd", "docker", "busybox", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is missing: apt-get install docker.io busybox-static iproute2", tool)
		}
	}
	dir := b.TempDir()
	root := filepath.Join(dir, "root")
	if out, err := exec.Command("install", "-D", "/bin/busybox", filepath.Join(root, "bin/sleep")).CombinedOutput(); err != nil {
		b.Fatalf("making an image: %v: %s", err, out)
	}
	lab := exec.Command("../../scripts/swarm", dir, root)
	lab.Stderr = os.Stderr
	in, err := lab.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := lab.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = lab.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		b.Fatalf("scripts/swarm says %q (%v), want ready", line, err)
	}
	s := &swarm{}
	if s.a, err = dialDocker(dir, "a"); err == nil {
		s.b, err = dialDocker(dir, "b")
	}
	if err == nil { // where containers are before they join
		err = s.a.do("POST", "/networks/create", struct {
			Name     string
			Internal bool
		}{"idle", true}, nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// containers are the endpoints of a swarm: of its first host; their peer is one of the second.
type containers struct {
	*swarm
	join   bool // they are there, and only join the network
	atOnce bool // all are started together; else one after the other, as others' endpoints are made
	n      int
	at     netip.Addr // of the peer
	stop   func()
	opened []*os.File
	made   []string
}

func (c *containers) peer() netip.Addr { return c.at }

func (c *containers) prepare(n int) error {
	if err := c.b.start("peer", "tenants"); err != nil {
		return err
	}
	ns, at, err := c.b.endpoint("peer")
	if err != nil {
		return err
	}
	c.opened, c.at = append(c.opened, ns), at
	if c.stop, err = echo(ns); err != nil {
		return err
	}
	c.n = n
	if c.join && err == nil {
		err = each(n, func(i int) error { return c.a.start(tenant(i), "idle") })
	}
	if err != nil {
		return err
	}
	return c.warmUp()
}

// warmUp has the first host make its end of the network, as any tenant's first container does.
func (c *containers) warmUp() error {
	if err := c.a.start("warm", "tenants"); err != nil {
		return err
	}
	c.made = append(c.made, "warm")
	ns, at, err := c.a.endpoint("warm")
	if err != nil {
		return err
	}
	c.opened = append(c.opened, ns)
	return in(ns, func() error { return exchange(int(ns.Fd()), at, c.at) })
}

func tenant(i int) string { return "tenant-" + strconv.Itoa(i) }

func (c *containers) make(i int) (int, netip.Addr, error) {
	name := tenant(i)
	c.made = append(c.made, name)
	var err error
	switch {
	case c.join:
		err = c.a.do("POST", "/networks/tenants/connect", struct{ Container string }{name}, nil)
	case !c.atOnce:
		err = c.a.start(name, "tenants")
	case i == 0:
		err = each(c.n, func(i int) error { return c.a.start(tenant(i), "tenants") })
	}
	if err != nil {
		return 0, netip.Addr{}, err
	}
	ns, at, err := c.a.endpoint(name)
	if err != nil {
		return 0, netip.Addr{}, err
	}
	c.opened = append(c.opened, ns)
	return int(ns.Fd()), at, nil
}

// each calls f for 0 to n-1, all at once.
func each(n int, f func(i int) error) error {
	failed := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { failed[i] = f(i) })
	}
	all.Wait()
	return errors.Join(failed...)
}

func (c *containers) remove() error {
	return each(len(c.made), func(i int) error { return c.a.remove(c.made[i]) })
}

func (c *containers) wait() error {
	c.stop()
	for _, ns := range c.opened {
		ns.Close()
	}
	return c.b.remove("peer")
}

// BenchmarkSwarm measures as BenchmarkEndpoints does, with Docker Swarm: containers started on its
// overlay network, one after the other and at once, and such as are there and join it. Requests
// are of Docker's API, which saves it the command's own time.
func BenchmarkSwarm(b *testing.B) {
	needRoot(b)
	s := newSwarm(b)
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		b.Fatal(err)
	}
	defer here.Close()
	for _, n := range sizes("GAGGLE_SWARM", "1 10 50") {
		for _, w := range []containers{{}, {atOnce: true}, {join: true}} {
			name := "swarm"
			switch {
			case w.atOnce:
				name = "swarm, once"
			case w.join:
				name = "swarm, join"
			}
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(name, " ", "-"), n), func(b *testing.B) {
				for range b.N {
					w.swarm = s
					measure(b, name, n, &host{ns: here}, &w)
				}
			})
		}
	}
}
