package sandbox

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkRunTrue runs no-op commands one after the other; BenchmarkExecTrue is the floor: the
// same program by os/exec alone. The difference is what the sandbox costs.
func BenchmarkRunTrue(b *testing.B) {
	x := newBench(b, 1)
	s := Spec{Root: x.root, Argv: []string{"true"}, Sink: x.sink}
	x.run(s)
	for b.Loop() {
		if r, err := x.e.Run(context.Background(), s); err != nil || r.Failure != nil {
			b.Fatal(err, r.Failure)
		}
	}
}

// BenchmarkExecTrue starts true as a command of ours gets it: from a chroot, with two pipes.
func BenchmarkExecTrue(b *testing.B) {
	root := testRoot(b, nil)
	for b.Loop() {
		cmd := exec.Command(filepath.Join(root, "bin/true"))
		if _, err := cmd.Output(); err != nil {
			b.Fatal(err)
		}
	}
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
