package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkRunTrue runs no-op commands one after the other; BenchmarkExecTrue is the floor: the
// same program by os/exec alone. The difference is what the sandbox costs: CPU time and page faults
// of the engine, the slot's process, and the commands, for one start.
func BenchmarkRunTrue(b *testing.B) {
	x := newBench(b, 1)
	s := Spec{Root: x.root, Argv: []string{"true"}, Sink: x.sink}
	x.run(s)
	before := []cost{own(b, unix.RUSAGE_SELF), process(b, x.zygote())}
	for b.Loop() {
		if r, err := x.e.Run(context.Background(), s); err != nil || r.Failure != nil {
			b.Fatal(err, r.Failure)
		}
	}
	own(b, unix.RUSAGE_SELF).report(b, before[0], "engine")
	after := process(b, x.zygote())
	after.report(b, before[1], "zygote")
	cost{cpu: after.children, faults: after.childFaults}.report(b, cost{cpu: before[1].children, faults: before[1].childFaults}, "command")
}

// A cost is what a process has used: CPU time in us, page faults, and what its children that were
// waited for did.
type cost struct{ cpu, children, faults, childFaults int64 }

func (c cost) report(b *testing.B, before cost, who string) {
	b.ReportMetric(float64(c.cpu-before.cpu)/float64(b.N), who+"-us/op")
	b.ReportMetric(float64(c.faults-before.faults)/float64(b.N), who+"-faults/op")
}

func own(b *testing.B, who int) cost {
	var r unix.Rusage
	if err := unix.Getrusage(who, &r); err != nil {
		b.Fatal(err)
	}
	return cost{cpu: (r.Utime.Nano() + r.Stime.Nano()) / 1000, faults: r.Minflt}
}

// process reads proc_pid_stat(5): what is counted in ticks of 10 ms is right over many starts.
func process(b *testing.B, pid int) cost {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	n := func(field int) int64 { // numbered from 1, as there
		v, err := strconv.ParseInt(f[field-3], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	const tick = 10_000
	return cost{cpu: (n(14) + n(15)) * tick, children: (n(16) + n(17)) * tick, faults: n(10), childFaults: n(11)}
}

// zygote is the process of a bench's only slot.
func (b *bench) zygote() int {
	return b.e.current().cmd.Process.Pid
}

// BenchmarkExecTrue starts true as a command of ours gets it: from a chroot, with two pipes.
func BenchmarkExecTrue(b *testing.B) {
	root := testRoot(b, nil)
	self, children := own(b, unix.RUSAGE_SELF), own(b, unix.RUSAGE_CHILDREN)
	for b.Loop() {
		cmd := exec.Command(filepath.Join(root, "bin/true"))
		if _, err := cmd.Output(); err != nil {
			b.Fatal(err)
		}
	}
	own(b, unix.RUSAGE_SELF).report(b, self, "engine")
	own(b, unix.RUSAGE_CHILDREN).report(b, children, "command")
}

// BenchmarkRunTrueParallel keeps 8 slots busy.
func BenchmarkRunTrueParallel(b *testing.B) {
	x := newBench(b, 8)
	s := Spec{Root: x.root, Argv: []string{"true"}, Sink: x.sink}
	b.SetParallelism(4) // times GOMAXPROCS
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if r, err := x.e.Run(context.Background(), s); err != nil || r.Failure != nil {
				b.Fatal(err, r.Failure)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}

// BenchmarkInputs lays out small files, and large ones, and takes one output.
func BenchmarkInputs(b *testing.B) {
	x := newBench(b, 1)
	dir := b.TempDir()
	for _, size := range []int{1 << 10, 15 << 10, 64 << 10} {
		for _, n := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("size=%d/n=%d", size, n), func(b *testing.B) {
				s := Spec{Root: x.root, Argv: []string{"true"}, Sink: x.sink}
				for i := range n {
					src := writeFile(b, filepath.Join(dir, fmt.Sprint(size, i)), string(make([]byte, size)), 0o444)
					s.Inputs = append(s.Inputs, Input{Path: fmt.Sprintf("in/%04d", i), Source: src})
				}
				for b.Loop() {
					if r, err := x.e.Run(context.Background(), s); err != nil || r.Failure != nil {
						b.Fatal(err, r.Failure)
					}
				}
			})
		}
	}
}
