package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// An other runs commands without a sandbox, a memo or a mesh: what others take for the same work on this
// machine, in the minutes in which ours is measured.
type other struct {
	name string
	flat func(b *testing.B, n int) time.Duration // runs true n times, as many at once as there are cores
	// chain runs n shells, each of which reads what the one before wrote; nil if it has no order.
	chain func(b *testing.B, n int) time.Duration
}

// others are those of this machine.
func others() []other {
	there := []other{{name: "os/exec", flat: execFlat}}
	for _, o := range []other{
		{name: "make", flat: makeFlat, chain: makeChain},
		{name: "ninja", flat: ninjaFlat, chain: ninjaChain},
		{name: "parallel", flat: parallelFlat},
	} {
		if _, err := exec.LookPath(o.name); err == nil {
			there = append(there, o)
		}
	}
	return there
}

// timed runs a command in a directory that has text as the file name.
func timed(b *testing.B, name, text string, command ...string) time.Duration {
	b.Helper()
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	c := exec.Command(command[0], command[1:]...)
	c.Dir = dir
	began := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, tail(string(out)))
	}
	return time.Since(began)
}

func jobs() string { return fmt.Sprint("-j", runtime.NumCPU()) }

func execFlat(b *testing.B, n int) time.Duration {
	began := time.Now()
	var all sync.WaitGroup
	for worker := range runtime.NumCPU() {
		all.Go(func() {
			for i := worker; i < n; i += runtime.NumCPU() {
				if err := exec.Command("true").Run(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

func makeFlat(b *testing.B, n int) time.Duration {
	var goals strings.Builder
	for i := range n {
		fmt.Fprint(&goals, " nop", i)
	}
	text := fmt.Sprintf("all:%s\nnop%%:\n\t@true\n", goals.String())
	return timed(b, "Makefile", text, "make", "-s", jobs())
}

func makeChain(b *testing.B, n int) time.Duration {
	text := strings.Builder{}
	fmt.Fprintf(&text, "all: t%d\nt0:\n\t@echo salt > t0\n", n-1)
	for i := 1; i < n; i++ {
		fmt.Fprintf(&text, "t%d: t%d\n\t@read x < t%[2]d; echo $$x. > t%[1]d\n", i, i-1)
	}
	return timed(b, "Makefile", text.String(), "make", "-s")
}

func ninjaFlat(b *testing.B, n int) time.Duration {
	text := strings.Builder{}
	fmt.Fprintln(&text, "rule nop\n  command = true")
	for i := range n {
		fmt.Fprintf(&text, "build nop%d: nop\n", i)
	}
	return timed(b, "build.ninja", text.String(), "ninja", "--quiet", jobs())
}

func ninjaChain(b *testing.B, n int) time.Duration {
	text := strings.Builder{}
	fmt.Fprintln(&text, "rule first\n  command = echo salt > $out\nrule next\n  command = read x < $in; echo $$x. > $out\nbuild t0: first")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&text, "build t%d: next t%d\n", i, i-1)
	}
	return timed(b, "build.ninja", text.String(), "ninja", "--quiet")
}

func parallelFlat(b *testing.B, n int) time.Duration {
	return timed(b, "arguments", strings.Repeat("\n", n), "parallel", jobs(), "-a", "arguments", "true #")
}
