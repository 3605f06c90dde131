package sandbox

import (
	"strings"
	"testing"
)

func TestLookedFor(t *testing.T) {
	for line, want := range map[string]string{
		"sh: 1: gcc: not found":                       "gcc",
		"bash: line 1: gcc: command not found":        "gcc",
		"bash: /opt/x: No such file or directory":     "/opt/x",
		"env: ‘python3’: No such file or directory":   "python3",
		"cat: x: No such file or directory and so on": "",
		"something else":                              "",
		"/bin/x: error while loading shared libraries: libz.so.1: cannot open shared object file": "libz.so.1",
	} {
		if got := lookedFor(127, line); got != want {
			t.Errorf("lookedFor(127, %q) = %q, want %q", line, got, want)
		}
	}
	if got := lookedFor(1, "cat: x: No such file or directory"); got != "" {
		t.Errorf("exit 1 looked for %q", got)
	}
	b := newBench(t, 1)
	for _, script := range []string{"no-such-program", "bash -c no-such-program"} {
		f := b.run(Spec{Argv: []string{"sh", "-c", script}}).Failure
		if f == nil || f.Exit != 127 || !strings.Contains(f.Hint, `not in the root: looked for "no-such-program"`) {
			t.Errorf("%s: %+v", script, f)
		}
	}
	for line, want := range map[string]bool{"curl: (6) Could not resolve host: example.com": true, "ping: connect: Network is unreachable": true,
		"socket.gaierror: [Errno -3] Temporary failure in name resolution": true, "cannot resolve the symbol host": false} {
		f := b.run(Spec{Argv: []string{"sh", "-c", "echo '" + line + "' >&2; exit 6"}}).Failure
		if f == nil || strings.HasPrefix(f.Hint, "a task has no network") != want {
			t.Errorf("%s: %+v, want a hint at the network: %v", line, f, want)
		}
	}
}
