package overlay

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gaggle/overlay/wired"
	"gaggle/sandbox"
	"gaggle/wire"
)

// root returns a root with the programs of busybox.
func root(t testing.TB) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox")
	}
	dir := t.TempDir()
	for _, d := range []string{"bin", "dev", "proc", "tmp", "job", "etc/deep"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, b []byte, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), b, mode); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	write("bin/busybox", b, 0o755)
	for _, name := range []string{"sh", "cat", "wget", "httpd", "ls", "grep", "sleep", "echo", "env", "ip", "nc", "ping", "sed", "nslookup"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/passwd", []byte("thunk:x:1000:1000::/tmp:/bin/sh\n"), 0o644)
	write("etc/nsswitch.conf", []byte("hosts: files\n"), 0o644)
	write("etc/deep/file", []byte("as it was\n"), 0o600)
	if err := os.Symlink("deep/file", filepath.Join(dir, "etc", "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// engine starts a sandbox whose slots are on the machine's networks.
func (m *machine) engine(slots int) *sandbox.Engine {
	m.t.Helper()
	e, err := sandbox.New(sandbox.Config{Dir: m.t.TempDir(), Slots: slots, Networks: m,
		Logger: slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))})
	if err != nil {
		m.t.Skip("no sandbox here: ", err)
	}
	m.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			m.t.Error(err)
		}
		if s := m.Stats(); s.Endpoints != 0 {
			m.t.Errorf("%d endpoints are left", s.Endpoints)
		}
	})
	return e
}

// sh runs a script as a member of a network; it must end well.
func sh(t testing.TB, e *sandbox.Engine, s sandbox.Spec, script string) string {
	t.Helper()
	s.Argv = []string{"sh", "-eu", "-c", script}
	r, err := e.Run(soon(t), s)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failure != nil {
		t.Fatalf("sh %q: %s: %s\n%s", script, r.Failure.Cause, r.Failure.Message, r.Stderr)
	}
	return strings.TrimSpace(string(r.Stdout))
}

func TestCommandsTalk(t *testing.T) {
	t.Run("TUN devices", func(t *testing.T) {
		h := newHub(t)
		commandsTalk(t, h.machine(t, 1), h.machine(t, 2))
	})
	t.Run("kernel", func(t *testing.T) {
		a, b := twoSites(t)
		commandsTalk(t, a, b)
		const page = 350_000
		if by := a.Stats().Ways[wired.Agent]; by.BytesOut >= page {
			t.Errorf("the agent has moved %d bytes itself", by.BytesOut)
		}
	})
}

func commandsTalk(t *testing.T, a, b *machine) {
	web := a.member("web", 0, 1)
	web.Ready = 80
	members := []wire.NetMember{web, b.member("get", 0, 2), a.member("get", 1, 2)}
	learn(t, 7, members, a, b)
	one, two := a.engine(2), b.engine(1)
	dir := root(t)
	page := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(page, []byte(strings.Repeat("a page\n", 50_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		r, err := one.Run(ctx, sandbox.Spec{Root: dir, Argv: []string{"sh", "-c", "sleep 0.1; exec httpd -f -p 80 -h /job"}, Net: a.Member(7, 0),
			Inputs: []sandbox.Input{{Path: "page", Source: page}}})
		if ctx.Err() == nil {
			t.Errorf("the server ended: %v, %+v %s", err, r.Failure, r.Stderr)
		}
	})
	defer serving.Wait()
	defer stop()
	for _, m := range []*machine{a, b} {
		if err := m.Ready(soon(t), 7); err != nil {
			t.Fatal(err)
		}
	}
	get := func(e *sandbox.Engine, m sandbox.Membership) {
		s := sandbox.Spec{Root: dir, Net: m, Env: []string{"GAGGLE_COUNT=9"}}
		got := sh(t, e, s, `wget -q -O - http://$(nslookup web 2>&1 | sed -n 's/^Address: \(10.*\)/\1/p')/page >page
			grep -c 'a page' page; echo $GAGGLE_TASK $GAGGLE_INDEX $GAGGLE_COUNT $GAGGLE_ADDR`)
		if f := strings.Fields(got); len(f) != 5 || f[0] != "50000" || f[1] != "get" || f[3] != "9" || !strings.HasPrefix(f[4], "10.") {
			t.Errorf("it prints %q", got)
		}
	}
	var both sync.WaitGroup // each starts when the other can
	both.Go(func() { get(two, b.Member(7, 1)) })
	get(one, a.Member(7, 2))
	both.Wait()
	get(two, b.Member(7, 1))
}

// lookUpC looks up both kinds of addresses of a name at once, as most programs do: musl, unlike glibc, waits
// for both answers and believes a name that is said not to exist of one kind to be of none.
const lookUpC = `#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int argc, char **argv) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *a;
	int e = getaddrinfo(argv[1], "80", &hints, &a);
	if (e) return puts(gai_strerror(e)), 1;
	for (; a; a = a->ai_next) {
		char text[INET6_ADDRSTRLEN];
		printf("%d %s\n", a->ai_family == AF_INET, inet_ntop(a->ai_family, &((struct sockaddr_in *)a->ai_addr)->sin_addr, text, sizeof text));
	}
	return 0;
}
`

// Names are found by musl's resolver, too. Those of glibc and Go are asked in TestTenantNetwork.
func TestNamesByMusl(t *testing.T) {
	cc, err := exec.LookPath("musl-gcc")
	if err != nil {
		t.Skip("no musl-gcc")
	}
	dir := root(t)
	c := exec.Command(cc, "-static", "-xc", "-o", filepath.Join(dir, "bin", "lookup"), "-")
	c.Stdin = strings.NewReader(lookUpC)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a := newHub(t).machine(t, 1)
	learn(t, 7, []wire.NetMember{a.member("one", 0, 1)}, a)
	got := sh(t, a.engine(1), sandbox.Spec{Root: dir, Net: a.Member(7, 0)}, `echo 1 $GAGGLE_ADDR; lookup one; lookup one-0; lookup two || true`)
	lines := strings.Split(got, "\n")
	if len(lines) != 4 || lines[1] != lines[0] || lines[2] != lines[0] || lines[3] != "Name does not resolve" {
		t.Errorf("it prints %q, want its address twice, and that there is no other", got)
	}
}

// A command does not start before those that it may look for are there, and does not wait for who
// waits for it.
func TestMembersStartTogether(t *testing.T) {
	h := newHub(t)
	a, b := h.machine(t, 1), h.machine(t, 2)
	db := a.member("db", 0, 1)
	db.Service = true
	members := []wire.NetMember{db, a.member("peer", 0, 2), b.member("peer", 1, 2)}
	learn(t, 7, members, a, b)
	await := func(m *machine, i int) <-chan error {
		m.join(7, i)
		done := make(chan error, 1)
		go func() { done <- m.Member(7, i).Await(soon(t)) }()
		return done
	}
	if err := <-await(a, 0); err != nil {
		t.Fatalf("a service waits for others: %v", err)
	}
	first := await(a, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	select {
	case err := <-first:
		t.Fatalf("it starts alone: %v", err)
	case <-ctx.Done():
	}
	if err := <-await(b, 2); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// A command on a network is confined as others are, and sees a machine with one device.
func TestNetworkedCommandIsConfined(t *testing.T) {
	h := newHub(t)
	a := h.machine(t, 1)
	learn(t, 7, []wire.NetMember{a.member("one", 0, 1)}, a)
	e, dir := a.engine(1), root(t)
	s := sandbox.Spec{Root: dir, Net: a.Member(7, 0)}
	for range 2 { // the second has the spare namespace
		got := sh(t, e, s, `cat /etc/resolv.conf /etc/nsswitch.conf /etc/passwd /etc/link
			grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status
			ls /dev; ls /etc
			ip -o link | sed 's/:.*//' | cat
			echo changed 2>/dev/null >/etc/resolv.conf || echo read-only
			ip link set eth0 down 2>/dev/null || echo fixed`)
		for _, want := range []string{"nameserver 169.254.1.1\noptions ndots:0\n", "hosts: files dns", "thunk:x:1000", "as it was", "CapEff:\t0000000000000000",
			"CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "CapInh:\t0000000000000000", "NoNewPrivs:\t1",
			"Seccomp:\t2", "read-only", "fixed"} {
			if !strings.Contains(got, want) {
				t.Errorf("it does not print %q but\n%s", want, got)
			}
		}
		if strings.Contains(got, "\nnet\n") || strings.Contains(got, "\ntun\n") {
			t.Errorf("it sees /dev/net:\n%s", got)
		}
	}
	s.Net = nil
	if got := sh(t, e, s, "cat /etc/nsswitch.conf; ip -o link | grep -c ."); got != "hosts: files\n1" {
		t.Errorf("one that is on no network prints %q", got)
	}
}

func TestTrial(t *testing.T) {
	how, err := Trial(soon(t))
	if err != nil {
		t.Skip("no networks here: ", err)
	}
	if want := os.Getenv("GAGGLE_HOW"); want != "" && !strings.HasPrefix("by "+how, want) {
		t.Errorf("a task is on a network by %s, want it %s", how, want)
	}
}
