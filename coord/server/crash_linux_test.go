package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// crashDir, in the environment, makes this test binary a coordinator's writer that is done harm to.
const crashDir = "GAGGLE_SERVER_CRASH_DIR"

func init() {
	if os.Getenv(crashDir) != "" {
		runtime.LockOSThread() // strace counts the calls of each thread for itself
	}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeBatches(dir); err != nil {
			e := wire.AsError(err)
			fmt.Printf("failed %d %q %q\n", e.Cause, e.Message, e.Hint)
			os.Exit(exitFailed)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	exitFailed   = 3
	crashBatches = 4
)

// crashBatch is what the writer writes at once: a job, values, and the end of the job before the last.
func crashBatch(i int) (rows []sched.Row) {
	job := func(i int) wire.JobID { return wire.JobID{1, byte(i)} }
	enc := func(n int) []byte {
		th, err := wire.NewThunk(wire.Thunk{Command: []string{"true", fmt.Sprint(n)}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI})
		if err != nil {
			panic(err)
		}
		_, b := th.Encode()
		return b
	}
	s := sched.Submitted{Job: job(i), Space: "anna", Tenant: "anna", Name: "job", At: time.UnixMicro(1e15)}
	for k := range 20 {
		b := enc(20*i + k)
		s.Tasks = append(s.Tasks, wire.TaskSpec{Name: fmt.Sprint("t", k), Thunk: b})
		rows = append(rows, sched.RowValue{Space: "anna", Thunk: wire.ThunkID(wire.Sum(b)), By: sched.Voucher{Signer: wire.PeerID{3}},
			Value: wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{byte(i), byte(k)}, 5, true)})})
	}
	s.Targets = []wire.TargetSpec{{Path: "out", Thunk: wire.ThunkID(wire.Sum(s.Tasks[0].Thunk)), Output: "out"}}
	rows = append(rows, sched.RowJob{Submitted: s}, sched.RowUnpin{Peer: wire.PeerID{byte(i)}, Pin: wire.Pin{Space: "anna", Owner: "j", Object: wire.FileObject(wire.BlobID{1}, 1, false)}})
	if i >= 2 {
		rows = append(rows, sched.RowJobState{Job: job(i - 2), Done: &wire.Done{}, Status: &wire.JobStatus{Job: job(i - 2), State: "done"}, At: time.UnixMicro(int64(i))})
	}
	return rows
}

// writeBatches opens the tables twice and writes half of the batches each time. It prints what was
// acknowledged, and each time that there was no room, after which it tries again.
func writeBatches(dir string) error {
	again := func(what string, f func() error) error {
		err := f()
		for n := 0; wire.CauseOf(err) == wire.CauseDiskFull && n < 3; n++ {
			fmt.Println("full")
			err = f()
		}
		if err == nil {
			fmt.Println("did", what)
		}
		return err
	}
	for half := range 2 {
		var j Journal
		err := again("open", func() (err error) { j, err = OpenJournal(dir, slog.New(slog.DiscardHandler)); return err })
		if err != nil {
			return err
		}
		err = again(fmt.Sprint("begin ", half+1), func() error { _, _, err := j.Begin(); return err })
		for i := half * crashBatches / 2; err == nil && i < (half+1)*crashBatches/2; i++ {
			err = again(fmt.Sprint("batch ", i), func() error { return j.Write(crashBatch(i)) })
		}
		if err == nil {
			err = again(fmt.Sprint("ticket ", half+1), func() error { _, err := j.Redeem(uint64(half), 1); return err })
		}
		if err = errors.Join(err, j.Close()); err != nil {
			return err
		}
	}
	return nil
}

// A crash is how one run of the writer ended.
type crash struct {
	code, batches, epoch, tickets int
	killed, full                  bool
	failed                        string
	stderr                        string
	calls                         map[string]int // of the writer's thread
}

// crashed runs the writer under strace, which does what inject says.
func crashed(t *testing.T, dir, inject string) (c crash) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	trace := filepath.Join(t.TempDir(), "trace")
	args := []string{"-f", "-qq", "-o", trace, "-e", "trace=" + strings.Join(crashCalls, ",")}
	if inject != "" {
		args = append(args, "-e", "inject="+inject)
	}
	cmd := exec.CommandContext(ctx, "strace", append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s: the writer hangs", inject)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		c.code = exit.ExitCode()
		st, ok := exit.Sys().(syscall.WaitStatus)
		c.killed = ok && st.Signaled() && st.Signal() == syscall.SIGKILL // strace ends as what it traced
	} else if err != nil {
		t.Fatal(err)
	}
	c.stderr = stderr.String()
	for sc := bufio.NewScanner(&stdout); sc.Scan(); {
		var n int
		line := sc.Text()
		switch {
		case line == "full":
			c.full = true
		case strings.HasPrefix(line, "failed"):
			c.failed = line
		case scanned(line, "did batch %d", &n):
			c.batches = n + 1
		case scanned(line, "did begin %d", &n):
			c.epoch = n
		case scanned(line, "did ticket %d", &n):
			c.tickets = n
		}
	}
	if inject == "" {
		c.calls = countCalls(t, trace)
	}
	return c
}

func scanned(line, format string, n *int) bool {
	_, err := fmt.Sscanf(line, format, n)
	return err == nil
}

// crashCalls are those that change the disk, or say that they did.
var crashCalls = []string{"pwrite64", "fdatasync", "fsync", "ftruncate", "renameat"}

// countCalls returns how often the thread that writes made each call.
func countCalls(t *testing.T, trace string) map[string]int {
	t.Helper()
	b, err := os.ReadFile(trace)
	must(t, err)
	calls, thread := map[string]int{}, ""
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if thread == "" {
			thread = f[0]
		}
		if name, _, ok := strings.Cut(f[1], "("); ok && f[0] == thread {
			calls[name]++
		}
	}
	return calls
}

// TestTablesAtEveryCrash kills the writer, or fails it, at each of its calls that change the disk. What
// it was told is there must be there when the tables are opened again, each batch in full or not at all.
func TestTablesAtEveryCrash(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("no strace here to inject faults with")
	}
	first := crashed(t, memoryDir(t), "")
	if first.code != 0 || first.batches != crashBatches {
		if strings.Contains(first.stderr, "ptrace") || strings.Contains(first.stderr, "Operation not permitted") {
			t.Skipf("strace may not trace here: %s", first.stderr)
		}
		t.Fatalf("undisturbed, the writer ended with %+v", first)
	}
	want := statesOf(t)
	runs := map[string]int{}
	for _, fault := range []string{"signal=KILL", "error=ENOSPC", "error=EIO"} {
		for _, call := range crashCalls {
			step := crashStep(call, fault)
			for n := 1 + len(fault)%step; n <= first.calls[call]; n += step {
				inject := fmt.Sprintf("%s:%s:when=%d", call, fault, n)
				dir := memoryDir(t)
				c := crashed(t, dir, inject)
				checkEnd(t, inject, fault, c)
				checkTables(t, inject, dir, c, want)
				runs[fault]++
			}
		}
	}
	t.Logf("calls %v, runs %v", first.calls, runs)
}

var everyCrash = flag.Bool("everycrash", false, "do harm at each call, not only at a part of those that are alike")

// crashStep leaves out some of the calls: in a transaction all writes but the last are alike, and in a
// flush it makes no difference of what.
func crashStep(call, fault string) int {
	kill := fault == "signal=KILL"
	switch {
	case *everyCrash || call == "renameat" || kill && call != "pwrite64" && call != "fdatasync":
		return 1
	case call == "pwrite64" && kill:
		return 7
	case call == "pwrite64":
		return 15
	case call == "fdatasync" && kill:
		return 4
	case call == "fdatasync":
		return 7
	}
	return 2
}

// statesOf returns what the tables hold after each number of batches.
func statesOf(t *testing.T) (states [][]sched.Row) {
	j, err := OpenJournal(memoryDir(t), slog.New(slog.DiscardHandler))
	must(t, err)
	for i := range crashBatches {
		states = append(states, loadAll(t, j))
		must(t, j.Write(crashBatch(i)))
	}
	states = append(states, loadAll(t, j))
	must(t, j.Close())
	return states
}

// checkEnd checks that nobody was left in the dark: the writer was killed, or says what is wrong and
// what to do.
func checkEnd(t *testing.T, inject, fault string, c crash) {
	t.Helper()
	cause := fmt.Sprintf("failed %d ", wire.CauseDisk)
	switch {
	case strings.Contains(c.stderr, "goroutine "):
		t.Errorf("%s: the writer ended with a stack trace: %s", inject, c.stderr)
	case fault == "signal=KILL" && !c.killed:
		t.Errorf("%s: the writer was not killed: %+v", inject, c)
	case fault == "error=EIO" && (c.code != exitFailed || !strings.HasPrefix(c.failed, cause) || strings.HasSuffix(c.failed, `""`)):
		t.Errorf("%s: the writer ended with %+v, want %s, and what to do", inject, c, cause)
	case fault == "error=ENOSPC" && (c.code != 0 && !strings.HasPrefix(c.failed, cause) || c.code == 0 && !c.full):
		t.Errorf("%s: the writer ended with %+v, want that it noticed and went on, or %s", inject, c, cause)
	}
}

func checkTables(t *testing.T, inject, dir string, c crash, want [][]sched.Row) {
	t.Helper()
	j, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Errorf("%s: opening the tables again: %v", inject, err)
		return
	}
	defer j.Close()
	rows := loadAll(t, j)
	holds := func(n int) bool {
		return n < len(want) && cmp.Equal(rows, want[n], cmp.AllowUnexported(wire.Value{}))
	}
	if !holds(c.batches) && !holds(c.batches+1) {
		t.Errorf("%s: %d rows after %d batches were acknowledged, which is no state they were in", inject, len(rows), c.batches)
	}
	if epoch, _, err := j.Begin(); err != nil || epoch <= uint32(c.epoch) {
		t.Errorf("%s: Begin = %d, %v, after %d", inject, epoch, err, c.epoch)
	}
	for serial := range c.tickets {
		if first, err := j.Redeem(uint64(serial), 1); first || err != nil {
			t.Errorf("%s: Redeem = %v, %v, of a ticket that was used", inject, first, err)
		}
	}
}
