package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

var syscallTime = time.Unix(1, 0)

// TestUnracedAsOrdinaryUser runs the other tests once more without privileges, but for programs whose
// roots take long to make.
func TestUnracedAsOrdinaryUser(t *testing.T) {
	asUser(t, "-test.skip=^TestUnracedAsOrdinaryUser$|^TestUnracedPrograms$/^(gcc|clang|java|python)$")
}

func TestExit(t *testing.T) {
	b := newBench(t, 1)
	for _, code := range []int{0, 1, 42, 127, 255} {
		r := b.run(Spec{Argv: []string{"sh", "-c", fmt.Sprintf("echo out; echo why >&2; exit %d", code)}})
		if code == 0 {
			if r.Failure != nil || string(r.Stdout) != "out\n" || string(r.Stderr) != "why\n" || r.Run <= 0 || r.CPU <= 0 || r.PeakMem <= 0 {
				t.Errorf("exit 0: %+v", r)
			}
			continue
		}
		f := r.Failure
		if f == nil || f.Cause != wire.CauseExit || f.Exit != code || string(f.Stdout) != "out\n" || string(f.Stderr) != "why\n" || !strings.Contains(f.Message, "why") {
			t.Errorf("exit %d: %+v", code, f)
		}
	}
}

func TestSignals(t *testing.T) {
	b := newBench(t, 1)
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGABRT, unix.SIGFPE, unix.SIGKILL,
		unix.SIGSEGV,
		unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM, unix.SIGUSR1} {
		r := b.run(Spec{Argv: []string{"sh", "-c", fmt.Sprintf("kill -%d $$", s)}})
		if f := r.Failure; f == nil || f.Cause != wire.CauseSignal || f.Signal != int(s) {
			t.Errorf("%v to self: %+v", s, f)
		}
		got := b.sh(fmt.Sprintf("sh -c 'kill -%d $$' || echo $?", s), Spec{})
		if want := fmt.Sprint(128 + int(s)); got != want {
			t.Errorf("%v to a child: %q, want %s", s, got, want)
		}
	}
	compile(t, "#include <stdlib.h>\nint main(void) { abort(); }\n", filepath.Join(b.root, "bin/abort"))
	r := b.run(Spec{Argv: []string{"abort"}})
	if f := r.Failure; f == nil || f.Cause != wire.CauseSignal || f.Signal != int(unix.SIGABRT) {
		t.Errorf("abort: %+v", f)
	}
}

func TestSemantics(t *testing.T) {
	b := newBench(t, 1)
	stdin := writeFile(t, filepath.Join(t.TempDir(), "in"), "from a file\n", 0o644)
	for name, c := range map[string]struct {
		script, want string
		spec         Spec
	}{
		"SIGPIPE":      {"(yes; echo $? >&2) | head -1", "y", Spec{}},
		"descriptors":  {"echo a | cat /dev/fd/0; echo b >/dev/stdout; echo c >/proc/self/fd/1", "a\nb\nc", Spec{}},
		"no input":     {"cat", "", Spec{}},
		"input":        {"cat; cat /dev/stdin", "from a file\nfrom a file", Spec{Stdin: stdin}},
		"substitution": {"bash -c 'cat <(echo x) <(echo y)'", "x\ny", Spec{}},
		"orphan": {"(setsid sh -c 'sleep 0.01; echo done >/tmp/x' &) ; while ! cat /tmp/x 2>/dev/null; do :; done",
			"done", Spec{}},
		"detached": {"setsid sleep 1000 & echo gone", "gone", Spec{}},
		"here":     {"pwd; hostname; id -u; id -g; umask; echo $$", "/job\nthunk\n1000\n1000\n0022\n100", Spec{}},
		"core": {"ulimit -c; ulimit -n; head -6 /proc/self/limits | tail -1 | tr -s ' '",
			"0\n1024\nMax core file size 1 1 bytes", Spec{}},
		"exe":           {"readlink /proc/self/exe", "/bin/readlink", Spec{}},
		"null":          {"echo x >/dev/null; head -c 4 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c", "4\n3", Spec{}},
		"full":          {"(echo x >/dev/full) 2>/dev/null || echo full", "full", Spec{}},
		"shared memory": {"echo x >/dev/shm/y; cat /tmp/y", "x", Spec{}},
		"large file":    {"dd if=/dev/zero of=big bs=1 count=1 seek=5G 2>/dev/null; stat -c %s big", "5368709121", Spec{}},
		"job first": {"./tool", "mine", Spec{Inputs: []Input{{Path: "tool", Source: writeFile(t, filepath.Join(t.TempDir(),
			"t"), "#!/bin/sh\necho mine\n", 0o755), Exec: true}}}},
		"own environment": {"echo $A $TZ", "b Europe/Berlin", Spec{Env: []string{"A=b", "TZ=Europe/Berlin"}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			if got := b.sh(c.script, c.spec); got != c.want {
				t.Errorf("sh %q = %q, want %q", c.script, got, c.want)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	b := newBench(t, 1)
	argv := []string{"sh", "-c", `echo $# ${#1} ${#A}`, "sh"}
	for range 10 {
		argv = append(argv, strings.Repeat("x", 100_000))
	}
	r := b.run(Spec{Argv: argv, Env: []string{"A=" + strings.Repeat("y", 1000)}})
	if r.Failure != nil || string(r.Stdout) != "10 100000 1000\n" {
		t.Errorf("a megabyte of arguments: %q, %+v", r.Stdout, r.Failure)
	}
	r = b.run(Spec{Argv: []string{"true", strings.Repeat("x", 200_000)}})
	if f := r.Failure; f == nil || !f.Cause.Task() || f.Hint == "" {
		t.Errorf("an argument that is too long: %+v", f)
	}
	for _, s := range []Spec{{}, {Argv: []string{""}}, {Argv: []string{"a\x00b"}}, {Argv: []string{"a\xff"}},
		{Argv: []string{"a"}, Env: []string{"a\x00"}},
		{Argv: []string{"a"}, Outputs: []wire.Output{{Path: "../x", Kind: wire.File}}}} {
		if _, err := b.e.Run(context.Background(), s); wire.CauseOf(err) != wire.CauseInvalid {
			t.Errorf("Run(%+v) = %v", s, err)
		}
	}
}

// TestFixed pins what every command on every machine sees alike.
func TestFixed(t *testing.T) {
	b := newBench(t, 1)
	want := "HOME=/tmp\nLC_ALL=C\nLOGNAME=thunk\nPATH=" + DefaultPath + "\nPWD=/job\nSOURCE_DATE_EPOCH=315532800\nTMPDIR=/tmp\nTZ=UTC\nUSER=thunk"
	if r := b.run(Spec{Argv: []string{"env"}}); strings.TrimSpace(string(r.Stdout)) != want {
		t.Errorf("env = %s", r.Stdout)
	}
	dir := t.TempDir()
	inputs := []Input{
		{Path: "b/c/file", Source: writeFile(t, filepath.Join(dir, "1"), "x", 0o644)},
		{Path: "a", Source: writeFile(t, filepath.Join(dir, "2"), "y", 0o644), Exec: true},
		{Path: "w", Source: writeFile(t, filepath.Join(dir, "3"), "z", 0o644), Writable: true},
		{Path: "large", Source: writeFile(t, filepath.Join(dir, "4"), strings.Repeat("x", 2*inlineMax), 0o444)},
		{Path: "tree", Source: filepath.Dir(writeFile(t, filepath.Join(dir, "5/x"), "x", 0o444)), Dir: true},
	}
	const script = "stat -c '%n %a %Y' a w b b/c b/c/file; stat -c '%n %u %g' / /job /tmp /bin /bin/sh a b b/c w large tree tree/x; ls -U"
	got := b.sh(script, Spec{Inputs: inputs})
	for range 3 {
		if again := b.sh(script, Spec{Inputs: inputs}); again != got {
			t.Errorf("a second time: %s", again)
		}
	}
	modes := strings.ReplaceAll("a 555 T\nw 644 T\nb 755 T\nb/c 755 T\nb/c/file 444 T\n", "T", strconv.Itoa(wire.FileTime))
	if !strings.HasPrefix(got, modes) || strings.Count(got, " 1000 1000\n") != 12 {
		t.Errorf("stat = %s", got)
	}
	maps := b.sh("cat /proc/self/maps", Spec{})
	if again := b.sh("cat /proc/self/maps", Spec{}); again != maps {
		t.Errorf("addresses differ:\n%s\n%s", maps, again)
	}
}

func TestLookup(t *testing.T) {
	b := newBench(t, 1)
	b.root = testRoot(t, map[string]string{
		"opt/plain":        "#!/bin/sh\necho plain\n",
		"opt/script":       "#!/usr/bin/python9 -u\n",
		"opt/chain":        "#!/opt/script\n",
		"opt/text":         "just text",
		"usr/local/bin/me": "#!/bin/sh\necho me\n",
		"etc/data":         "",
	})
	if err := os.Chmod(filepath.Join(b.root, "etc/data"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ argv, path, want string }{
		{"me", "", "me"},
		{"/opt/plain", "", "plain"},
		{"plain", "/nowhere:/opt", "plain"},
		{"../opt/plain", "", "plain"},
		{"nothing", "", `"nothing" is not in the root; looked in /usr/local/sbin:`},
		{"/bin/nothing", "", `"/bin/nothing" is not in the root`},
		{"./nothing", "", `no "./nothing" in the job directory`},
		{"/etc/data", "", `"/etc/data" cannot be executed`},
		{"data", "/etc", `"/etc/data" cannot be executed`},
		{"/opt", "", `"/opt" cannot be executed`},
		{"/opt/script", "", `"/opt/script" needs "/usr/bin/python9"`},
		{"/opt/chain", "", `"/opt/chain" needs "/usr/bin/python9"`},
		{"/opt/text", "", `"/opt/text" is not a program`},
	} {
		s := Spec{Argv: []string{c.argv}}
		if c.path != "" {
			s.Env = []string{"PATH=" + c.path}
		}
		r := b.run(s)
		got := string(r.Stdout)
		if r.Failure != nil {
			got = r.Failure.Message
			if r.Failure.Cause != wire.CauseNotInRoot || r.Failure.Hint == "" {
				t.Errorf("%s: %+v", c.argv, r.Failure)
			}
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.argv, got, c.want)
		}
	}
	bare := t.TempDir()
	if r := b.run(Spec{Root: bare, Argv: []string{"true"}}); r.Failure == nil || r.Failure.Cause != wire.CauseNotInRoot {
		t.Errorf("root without directories: %+v", r.Failure)
	}
	if got := b.sh("echo still", Spec{}); got != "still" {
		t.Errorf("after a bad root: %q", got)
	}
}

func TestIsolation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	local, err := net.Listen("unix", "@gaggle-"+filepath.Base(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	b := newBench(t, 1)
	secret := writeFile(t, filepath.Join(t.TempDir(), "secret"), "x", 0o644)
	for _, argv := range [][]string{
		{"probe", "refusals"},
		{"probe", "confined"},
		{"probe", "dial", l.Addr().String(), local.Addr().String(), "1.1.1.1:53"},
		{"probe", "reach", secret, "/host", "/home", "/root", "/sys", "/proc/1", "/etc/shadow", b.e.config.Dir},
	} {
		if r := b.run(Spec{Argv: argv}); r.Failure != nil {
			t.Errorf("%v: %s\n%s", argv, r.Failure.Message, r.Stderr)
		}
	}
	copyPrograms(t, b.root, map[string]string{"/proc/self/exe": "/bin/su/probe"})
	if err := os.Chmod(filepath.Join(b.root, "bin/su/probe"), 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if r := b.run(Spec{Argv: []string{"/bin/su/probe", "setuid"}}); r.Failure != nil {
		t.Errorf("setuid: %s\n%s", r.Failure.Message, r.Stderr)
	}
}

// TestSlotsShareNothing: what one command leaves, the next in the slot does not see, and the
// zygote survives it.
func TestSlotsShareNothing(t *testing.T) {
	b := newBench(t, 1)
	b.run(Spec{Argv: []string{"true"}})
	zygote := b.e.pids()
	for range 3 {
		if r := b.run(Spec{Argv: []string{"probe", "leave"}}); r.Failure != nil {
			t.Fatalf("leave: %s\n%s", r.Failure.Message, r.Stderr)
		}
		if r := b.run(Spec{Argv: []string{"probe", "confined"}}); r.Failure != nil {
			t.Errorf("confined: %s\n%s", r.Failure.Message, r.Stderr)
		}
		if r := b.run(Spec{Argv: []string{"probe", "dial", "@left"}}); r.Failure != nil {
			t.Errorf("dial: %s\n%s", r.Failure.Message, r.Stderr)
		}
		if r := b.run(Spec{Argv: []string{"probe", "tcp"}}); r.Failure != nil {
			t.Errorf("tcp: %s\n%s", r.Failure.Message, r.Stderr)
		}
		if got := b.sh("ls -A /job /tmp; stat -c %a /job", Spec{}); got != "/job:\n\n/tmp:\n755" {
			t.Errorf("left: %s", got)
		}
	}
	if now := b.e.pids(); now != zygote {
		t.Errorf("zygote was %s, is %s", zygote, now)
	}
}

func TestZygoteDeath(t *testing.T) {
	b := newBench(t, 1)
	b.run(Spec{Argv: []string{"true"}})
	// While idle: the next run does not notice.
	idle := b.e.current()
	idle.cmd.Process.Kill()
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(idle.sock), Events: unix.POLLRDHUP}}, -1); err != nil {
		t.Fatal(err)
	}
	b.run(Spec{Argv: []string{"true"}})

	var started signalWriter
	started.c = make(chan bool)
	z := b.e.current()
	go func() {
		<-started.c
		z.cmd.Process.Kill()
	}()
	_, err := b.e.Run(context.Background(), Spec{Root: b.root, Argv: []string{"sh", "-c", "echo x; sleep 1000"}, Stdout: &started,
		Sink: b.sink})
	if wire.CauseOf(err) != wire.CauseSandbox {
		t.Errorf("death in a run: %v", err)
	}
	b.run(Spec{Argv: []string{"true"}})
}

// A signalWriter closes c at the first write.
type signalWriter struct {
	once sync.Once
	c    chan bool
}

func (w *signalWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.c) })
	return len(b), nil
}

// current returns the zygote of the one slot.
func (e *Engine) current() *remote {
	<-e.idle.some
	s := e.idle.take(true)
	defer e.idle.put(s)
	return s.zygote
}

func (e *Engine) pids() string {
	var pids []string
	for _, s := range e.idle.all() {
		if s.zygote != nil {
			pids = append(pids, fmt.Sprint(s.zygote.cmd.Process.Pid))
		}
		e.idle.put(s)
	}
	return strings.Join(pids, " ")
}

func TestCancel(t *testing.T) {
	b := newBench(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	started := signalWriter{c: make(chan bool)}
	go func() {
		<-started.c
		cancel()
	}()
	_, err := b.e.Run(ctx, Spec{Root: b.root, Argv: []string{"sh", "-c", "setsid sleep 1000 & echo x; sleep 1000"},
		Stdout: &started, Sink: b.sink})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want context.Canceled", err)
	}
	if _, err := b.e.Run(ctx, Spec{Root: b.root, Argv: []string{"true"}, Sink: b.sink}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run with a dead context = %v", err)
	}
	b.run(Spec{Argv: []string{"probe", "confined"}})
}

func TestClose(t *testing.T) {
	b := newBench(t, 2)
	before := b.e.current().cmd.Process.Pid
	started := signalWriter{c: make(chan bool)}
	done := make(chan error)
	go func() {
		_, err := b.e.Run(context.Background(), Spec{Root: b.root, Argv: []string{"sh", "-c", "echo x; sleep 1000"},
			Stdout: &started, Sink: b.sink})
		done <- err
	}()
	<-started.c
	if err := b.e.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := <-done; wire.CauseOf(err) != wire.CauseSandbox {
		t.Errorf("Run during Close = %v", err)
	}
	if _, err := b.e.Run(context.Background(), Spec{Root: b.root, Argv: []string{"true"}, Sink: b.sink}); err == nil {
		t.Error("Run after Close went well")
	}
	if unix.Kill(before, 0) == nil {
		t.Errorf("zygote %d lives", before)
	}
	if d := b.e.groups.memory; d != "" {
		if _, err := os.Stat(d); err == nil {
			t.Errorf("cgroup %s is left", d)
		}
	}
}

// TestParentDeath kills an engine's process; its zygotes and commands end with it.
func TestParentDeath(t *testing.T) {
	b := newBench(t, 1) // to skip where there is none
	cmd := exec.Command("/proc/self/exe", "orphan", b.root, t.TempDir())
	cmd.Args[0] = "engine"
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscan(out, &pid)
	if err != nil {
		cmd.Process.Kill()
		t.Fatalf("engine: %v, %v", err, cmd.Wait())
	}
	zygote, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(zygote)
	cmd.Process.Kill()
	cmd.Wait()
	// A pidfd is readable once the process has ended, which for a zygote is when all in its
	// namespace have.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(zygote), Events: unix.POLLIN}}, 60_000); n != 1 {
		t.Errorf("zygote %d outlives its engine: %v", pid, err)
		unix.Kill(pid, unix.SIGKILL)
	}
}

// orphan is an engine that runs a command for ever and says which its zygote is.
func orphan(root, dir string) error {
	e, err := New(Config{Dir: dir, Slots: 1})
	if err != nil {
		return err
	}
	z := e.current()
	started := signalWriter{c: make(chan bool)}
	go func() {
		<-started.c
		fmt.Println(z.cmd.Process.Pid)
	}()
	_, err = e.Run(context.Background(), Spec{Root: root, Argv: []string{"sh", "-c",
		"trap '' HUP; echo x; sleep 1000 & sleep 1000"}, Stdout: &started})
	return err
}

// TestProgramsAreSoughtAnew: where a name leads is remembered only as far as the root alone decides,
// and while it is mounted.
func TestProgramsAreSoughtAnew(t *testing.T) {
	b := newBench(t, 1)
	script := func(word string) string {
		return writeFile(t, t.TempDir()+"/x", "#!/bin/sh\necho "+word+"\n", 0o755)
	}
	say := func(s Spec) string {
		t.Helper()
		s.Argv = []string{"x"}
		r := b.run(s)
		if r.Failure != nil {
			return string(r.Failure.Cause.String())
		}
		return strings.TrimSpace(string(r.Stdout))
	}
	one, two := testRoot(t, nil), testRoot(t, nil)
	copyPrograms(t, one, map[string]string{script("one"): "/bin/x"})
	copyPrograms(t, two, map[string]string{script("two"): "/usr/bin/x"})
	if err := os.MkdirAll(one+"/late", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/job/here", one+"/late/x"); err != nil {
		t.Fatal(err)
	}
	input := []Input{{Path: "here", Source: script("input"), Exec: true}}
	for range 2 {
		for _, c := range []struct {
			s    Spec
			want string
		}{
			{Spec{Root: one}, "one"}, {Spec{Root: two}, "two"}, {Spec{Root: one, Env: []string{"PATH=/none"}}, wire.CauseNotInRoot.String()},
			{Spec{Root: one, Env: []string{"PATH=/late:/bin"}}, "one"}, {Spec{Root: one, Env: []string{"PATH=/late:/bin"}, Inputs: input}, "input"},
			{Spec{Root: b.root}, wire.CauseNotInRoot.String()},
		} {
			if got := say(c.s); got != c.want {
				t.Errorf("x with %v in %s says %q, want %q", c.s.Env, filepath.Base(filepath.Dir(c.s.Root)), got, c.want)
			}
		}
	}
	for i := range keptRoots { // their places are used again
		root := testRoot(t, nil)
		copyPrograms(t, root, map[string]string{script("other"): []string{"/bin/x", "/usr/bin/x"}[i%2]})
		if got := say(Spec{Root: root}); got != "other" {
			t.Errorf("another root says %q", got)
		}
	}
	if got := say(Spec{Root: b.root}); got != wire.CauseNotInRoot.String() {
		t.Errorf("a root without it says %q", got)
	}
}
