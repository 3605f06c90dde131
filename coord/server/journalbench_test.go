package server

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// BenchmarkTables records a job of which every tenth task needs the nine before it and the value of every
// task, as the writer does, and says what that takes on the disk a task. Claims are signed one by one if
// somebody wants to be shown whose values are.
func BenchmarkTables(b *testing.B) {
	const n = 100_000
	tasks := diskTasks(n)
	for name, signature := range map[string]string{"unsigned": "", "signed": strings.Repeat("s", 64)} {
		b.Run(name, func(b *testing.B) {
			encoded := 0
			for i := range tasks {
				encoded += len(tasks[i].Thunk) + len(tasks[i].Name)
			}
			for b.Loop() {
				dir := b.TempDir()
				j, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				write := func(rows ...sched.Row) {
					if err := j.Write(rows); err != nil {
						b.Fatal(err)
					}
				}
				begin := time.Now()
				write(sched.RowJob{Submitted: sched.Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Tasks: tasks, At: begin}})
				accepted := tableBytes(b, dir)
				var rows []sched.Row
				for i := range tasks {
					rows = append(rows, sched.RowValue{Space: "t", Thunk: wire.ThunkID(wire.Sum(tasks[i].Thunk)), Run: time.Second,
						By: sched.Voucher{Signer: wire.PeerID{1}, Owner: "anna", Signature: signature}, Value: wire.NewValue([]wire.Object{{Kind: wire.File, Digest: wire.Sum(fmt.Append(nil, i)), Size: 100}})})
					if len(rows) == wire.MaxBatch/2 || i+1 == n { // a Step's, of half of its events
						write(rows...)
						rows = nil
					}
				}
				running := tableBytes(b, dir)
				b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "thunks/s")
				if err := j.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(encoded)/float64(n), "encoded-B/thunk")
				b.ReportMetric(float64(accepted)/float64(n), "B/accepted")
				b.ReportMetric(float64(running)/float64(n), "B/running")
			}
		})
	}
}

func tableBytes(b *testing.B, dir string) (sum int64) {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		st, e := os.Stat(filepath.Join(dir, f.Name()))
		if e != nil {
			err = e
			break
		}
		sum += st.Size()
	}
	if err != nil {
		b.Fatal(err)
	}
	return sum
}

func diskTasks(n int) (tasks []wire.TaskSpec) {
	for i := range n {
		th := wire.Thunk{Command: []string{"/bin/sh", "-eu", "-c", "sort in > out"}, Env: []wire.EnvVar{{Name: "N", Value: fmt.Sprint(i)}},
			Root: wire.TreeID(wire.Sum([]byte("root"))), Platform: "linux/amd64", ABI: 1, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
		switch {
		case i%10 == 9:
			for k := range 9 {
				th.Inputs = append(th.Inputs, wire.Input{Path: fmt.Sprint("in", k), Output: "out",
					Object: wire.Object{Kind: wire.Pending, Digest: wire.Sum(tasks[i-9+k].Thunk)}})
			}
		default:
			th.Inputs = []wire.Input{{Path: "in", Object: wire.Object{Kind: wire.File, Digest: wire.Sum(fmt.Append(nil, "leaf", i%1000)), Size: 100}}}
		}
		_, enc := th.Encode()
		tasks = append(tasks, wire.TaskSpec{Name: fmt.Sprintf("task[%d]", i), Thunk: enc, RootSize: 100})
	}
	return tasks
}
