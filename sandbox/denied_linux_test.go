package sandbox

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/notify"
	"gaggle/wire"
)

// TestDenied: a command that fails after it was refused a system call is told which, and why.
func TestDenied(t *testing.T) {
	b := newBench(t, 1)
	const source = `#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
	switch (argv[1][0]) {
	case 'p': return ptrace(PTRACE_TRACEME) ? 3 : 0;
	case 'k': syscall(SYS_keyctl, 0, -3, 1); syscall(SYS_bpf); for (;;) syscall(SYS_bpf) ? abort() : 0;
	case 'o': syscall(SYS_keyctl, 0, -3, 1); return 0;
	case '3': { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20)); return r < 0; } // getpid
	}
}
`
	compile(t, source, filepath.Join(b.root, "bin/denied"))
	for _, c := range []struct {
		arg    string
		cause  wire.Cause
		exit   int
		signal unix.Signal
		say    string
	}{
		{"ptrace", wire.CauseExit, 3, 0, "refused it system calls: ptrace (" + whyOthers + ")"},
		{"keyctl", wire.CauseSignal, 0, unix.SIGABRT, "keyctl (" + whyKeys + "), bpf (" + whySurface + ")"},
		{"other", wire.CauseUnknown, 0, 0, ""},
		{"32-bit", wire.CauseSignal, 0, unix.SIGSYS, "a system call, number 20 of another architecture"},
		{"other", wire.CauseUnknown, 0, 0, ""},
	} {
		if c.arg == "32-bit" && exec.Command(filepath.Join(b.root, "bin/denied"), c.arg).Run() != nil {
			continue // this kernel has no such calls
		}
		f := b.run(Spec{Argv: []string{"denied", c.arg}}).Failure
		if f == nil {
			f = &wire.Failure{}
		}
		if f.Cause != c.cause || f.Exit != c.exit || f.Signal != int(c.signal) || !strings.Contains(f.Message+f.Hint, c.say) {
			t.Errorf("%s: %+v, want %s", c.arg, f, c.say)
		}
	}
}

// TestDeny: of another architecture's calls, which not every kernel has, the zygote ends who makes
// one.
func TestDeny(t *testing.T) {
	d := deny(&notify.Call{Nr: 20, Arch: unix.AUDIT_ARCH_I386})
	if !d.Killed || d.Name != "number 20 of another architecture" {
		t.Errorf("deny(32-bit getpid) = %+v", d)
	}
	d = deny(&notify.Call{Nr: unix.SYS_BPF, Arch: nativeArch()})
	if d.Killed || d.Name != "bpf" || d.Why != whySurface {
		t.Errorf("deny(bpf) = %+v", d)
	}
}

// compile makes a static program of C, or skips the test.
func compile(t *testing.T, source, to string) {
	t.Helper()
	build := exec.Command("gcc", "-static", "-x", "c", "-o", to, "-")
	build.Stdin = strings.NewReader(source)
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("no C compiler: %v: %s", err, out)
	}
}
