//go:build amd64 || arm64

package capture

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gaggle/wire"
)

// watched runs a shell text in dir under a trace.
func watched(t *testing.T, dir, home, text string) (*Trace, string) {
	t.Helper()
	var out bytes.Buffer
	c := Traced{Argv: []string{"sh", "-c", text}, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, Path: "/usr/bin:/bin", Dir: dir, Home: home, Stdout: &out, Stderr: &out}
	tr, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tr, out.String()
}

func TestTrace(t *testing.T) {
	dir := files(t, "work/in=data\n", "work/sub/deep=more\n", "work/tool=#!/usr/bin/env sh\ncat in\n", "home/.rc=x\n")
	tr, out := watched(t, dir+"/work", "/nonexistent", `
		cat sub/../in sub/deep; ./tool; echo made > new; cat new; rm new
		(cd sub && cat deep) & wait; cat `+dir+`/home/.rc; cat /proc/self/comm; cat gone 2>/dev/null; exit 3`)
	if tr.Exit != 3 {
		t.Errorf("exit %d, want 3", tr.Exit)
	}
	if want := "data\nmore\ndata\nmade\nmore\nx\ncat\n"; out != want {
		t.Errorf("it printed %q, want %q", out, want)
	}
	if want := []string{"in", "sub/deep", "tool"}; !slices.Equal(tr.Inputs, want) {
		t.Errorf("inputs %q, want %q", tr.Inputs, want)
	}
	var bases []string
	for _, f := range tr.Files {
		bases = append(bases, filepath.Base(f))
	}
	for _, want := range []string{"sh", "cat", "rm", "env", "libc.so.6"} {
		if !slices.Contains(bases, want) {
			t.Errorf("files %q do not have %s", tr.Files, want)
		}
	}
	for _, want := range []LeftOut{{dir + "/home/.rc", "the sandbox has its own, empty"}, {"/proc", "the sandbox has its own"}} {
		if !slices.Contains(tr.LeftOut, want) {
			t.Errorf("left out %q, want %q among it", tr.LeftOut, want)
		}
	}
}

// What outlives the command is watched on, too; what never ends is ended, and said to be.
func TestTraceOfSurvivors(t *testing.T) {
	dir := files(t, "work/late=data\n", "work/after=more\n", "work/last=on TERM\n")
	for _, c := range []struct {
		text, out string
		inputs    []string
		ended     []string
		patience  time.Duration
	}{
		{"(sleep 0.3; cat late; (sleep 0.3; cat after) &) & exit 3", "data\nmore\n", []string{"after", "late"}, nil, 0},
		{`(trap "cat last; exit" TERM; : >ready; while :; do sleep 0.02; done) & until [ -e ready ]; do sleep 0.02; done; exit 3`, "on TERM\n", []string{"last"}, nil, 300 * time.Millisecond},
		{`(trap "" TERM; setsid tail -f late >runs) & until [ -s runs ]; do sleep 0.02; done; exit 3`, "", []string{"late"}, []string{"tail"}, 300 * time.Millisecond},
	} {
		var out bytes.Buffer
		w := Traced{Argv: []string{"sh", "-c", c.text}, Env: []string{"PATH=/usr/bin:/bin"}, Path: "/usr/bin:/bin", Dir: dir + "/work",
			Home: "/nonexistent", Stdout: &out, patience: c.patience}
		tr, err := w.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		shell := slices.Contains(tr.Ended, "sh")
		tr.Ended = slices.DeleteFunc(tr.Ended, func(n string) bool { return n == "sh" || n == "sleep" }) // may be there or not
		if strings.Contains(c.text, "while") && !shell {
			t.Errorf("%s\nended %q, want the shell", c.text, tr.Ended)
		}
		if tr.Exit != 3 || out.String() != c.out || !slices.Equal(tr.Inputs, c.inputs) || !slices.Equal(tr.Ended, c.ended) {
			t.Errorf("%s\nexit %d, printed %q, inputs %q, ended %q; want 3, %q, %q, %q", c.text, tr.Exit, out.String(), tr.Inputs, tr.Ended, c.out, c.inputs, c.ended)
		}
		for _, p := range below(os.Getpid()) {
			t.Errorf("%s (%d) is left", p.name, p.pid)
		}
	}
}

// A watch that is broken off leaves nothing behind.
func TestTraceBrokenOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	go func() {
		io.ReadFull(in, make([]byte, 1)) // it runs
		cancel()
		io.Copy(io.Discard, in)
	}()
	c := Traced{Argv: []string{"sh", "-c", `trap "" TERM INT; sleep 1000 & echo; wait`}, Env: []string{"PATH=/usr/bin:/bin"}, Path: "/usr/bin:/bin", Dir: "/", Stdout: out}
	if _, err := c.Run(ctx); err != context.Canceled {
		t.Errorf("Run = %v, want %v", err, context.Canceled)
	}
	for _, p := range below(os.Getpid()) {
		t.Errorf("%s (%d) is left", p.name, p.pid)
	}
}

// Watching takes no privilege.
func TestTraceAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("every other test is one of an ordinary user's")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestTraceOfSystem$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestTraceOfSystem") {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
}

func TestTraceOfSystem(t *testing.T) {
	tr, out := watched(t, "/usr", "", "cat /etc/os-release | head -n 0; echo done")
	if out != "done\n" || !slices.Contains(tr.Files, "/etc/os-release") {
		t.Errorf("printed %q, files %q; want done, and /etc/os-release", out, tr.Files)
	}
}

func TestTraceRefuses(t *testing.T) {
	c := Traced{Argv: []string{"no-such-program"}, Path: "/usr/bin", Dir: "/"}
	if _, err := c.Run(t.Context()); wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("error %v, want one of cause invalid about no-such-program", err)
	}
}

func TestTraceSort(t *testing.T) {
	c := Traced{Dir: "/home/u/work", Home: "/home/u"}
	tr := new(Trace)
	tr.sort(uses{
		"/usr/bin/x": executed, "/usr/share/x/data": opened, "/usr/lib/x/m.pyc": opened, "/home/u/work/in": opened, "/home/u/work/new": made,
		"/home/u/.config": opened, "/home/u/looked": looked, "/home/u/py/bin/python": executed, "/home/u/py/lib/os.py": looked,
		"/home/u/one": executed, "/home/u/x.so": opened, "/home/u/app/conf/secrets.sops.yaml": opened, "/home/u/app/lib/y.so.1": looked, "/home/u/app/token": opened, "/proc/1/maps": opened, "/proc/2/maps": opened, "/sys/x": looked, "/etc/passwd": opened,
	}, c)
	if want := []string{"/home/u/one", "/home/u/py/bin/python", "/home/u/py/lib/os.py", "/home/u/x.so", "/usr/bin/x", "/usr/share/x/data"}; !slices.Equal(tr.Files, want) {
		t.Errorf("files\n  %q, want\n  %q", tr.Files, want)
	}
	if want := []string{"in"}; !slices.Equal(tr.Inputs, want) {
		t.Errorf("inputs %q, want %q", tr.Inputs, want)
	}
	want := []LeftOut{{"/etc/passwd", "a root has its own"}, {"/home/u/.config", "it is in your home directory"},
		{"/home/u/app/conf/secrets.sops.yaml", "it is in your home directory"}, {"/home/u/app/token", "it is in your home directory"}, {"/proc", "the sandbox has its own"}}
	if !slices.Equal(tr.LeftOut, want) {
		t.Errorf("left out\n  %q, want\n  %q", tr.LeftOut, want)
	}
}

// The patterns of Include match their files alone.
func TestTraceInclude(t *testing.T) {
	dir := files(t, "usr/a[1]*?=1", "usr/a1xx=2", `usr/b\=3`)
	tr := Trace{Files: []string{"/usr/a[1]*?", `/usr/b\`}}
	l, err := newTools(dir, Options{}).capture(t.Context(), nil, tr.Include())
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{"/usr/a[1]*?": true, `/usr/b\`: true, "/usr/a1xx": false} {
		if _, n, _ := l.find(p, false); (n != nil) != want {
			t.Errorf("%s in the root: %v, want %v", p, n != nil, want)
		}
	}
}
