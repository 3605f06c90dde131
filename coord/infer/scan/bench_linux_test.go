package scan

import (
	"context"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

// cpuSeconds returns what this process has computed, and the processes that it waited for.
func cpuSeconds(t testing.TB) (self, children float64) {
	t.Helper()
	of := func(who int) float64 {
		var r syscall.Rusage
		if err := syscall.Getrusage(who, &r); err != nil {
			t.Fatal(err)
		}
		return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
	}
	return of(syscall.RUSAGE_SELF), of(syscall.RUSAGE_CHILDREN)
}

// BenchmarkScan prints the CPU that scanning takes in parts of that of the compiles (-c), and of
// the compiler's own -M: the first time, with what the compiler is asked; and when all is known.
func BenchmarkScan(b *testing.B) {
	var units []Unit
	for i, u := range sources(b) {
		if _, ok := makeDeps(b, u); ok && i%2 == 0 {
			units = append(units, u)
		}
	}
	run := func(mode ...string) float64 {
		_, before := cpuSeconds(b)
		for _, u := range units {
			args := slices.Concat(u.Flags, mode, []string{"-x", u.Language, u.Source})
			for _, d := range slices.Concat(u.Include, u.System) {
				args = append(args, "-I", d)
			}
			c := exec.Command(u.Compiler, args...)
			c.Dir = u.Dir
			if out, err := c.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
		_, after := cpuSeconds(b)
		return after - before
	}
	compiles, lists := run("-c", "-o", "/dev/null"), run("-M", "-o", "/dev/null")
	scan := func(s *Scanner) float64 {
		self, children := cpuSeconds(b)
		for _, u := range units {
			if r, err := s.Scan(context.Background(), u); err != nil || r.Refused != "" {
				b.Fatal(err, r)
			}
		}
		self2, children2 := cpuSeconds(b)
		return self2 - self + children2 - children
	}
	dir := b.TempDir()
	first, warm := scan(New(Options{Dir: dir})), scan(New(Options{Dir: dir}))
	s := New(Options{Dir: dir})
	scan(s)
	var known float64
	for b.Loop() {
		known += scan(s)
	}
	known /= float64(b.N)
	b.ReportMetric(float64(len(units)), "units")
	b.ReportMetric(known/float64(len(units))*1e6, "us/unit")
	b.ReportMetric(100*first/compiles, "%first/compile")
	b.ReportMetric(100*warm/compiles, "%again/compile")
	b.ReportMetric(100*known/compiles, "%known/compile")
	b.ReportMetric(100*known/lists, "%known/M")
	b.ReportMetric(100*lists/compiles, "%M/compile")
}
