package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gaggle/wire"
)

// smallDisk mounts a file system of the given size.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fill takes all room of a disk, in a file that is removed to free it.
func fill(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	must(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return ballast
}

// TestCoordinatorsDiskIsFull: a job that does not fit waits to be accepted, another is refused, and what
// was accepted is there when there is room, in this life and in the next.
func TestCoordinatorsDiskIsFull(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			dir := smallDisk(t, 4<<20)
			j, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
			must(t, err)
			s, end := serveOn(t, j)
			cert := testCert(2, wire.RoleClient)
			req, chunk := submission(t, 1, 10)
			follow(t, s, req, chunk).next("acceptance", accepted, isDone)

			ballast := fill(t, dir)
			large, largeChunk := submission(t, 2, 300_000)
			waits := follow(t, s, large, largeChunk)
			waits.next("that it waits", noted("free some space"), accepted)
			third, thirdChunk := submission(t, 3, 10)
			if r := request(t, s, cert, third, thirdChunk); r.Error == nil || r.Error.Cause != wire.CauseDiskFull {
				t.Errorf("answer to a third job is %+v, want disk full", r)
			}
			if !restart {
				must(t, os.Remove(ballast))
				waits.next("acceptance", accepted, isDone)
				must(t, end())
				checkJobs(t, dir, 1, 2)
				return
			}
			if err := end(); wire.CauseOf(err) != wire.CauseDiskFull {
				t.Errorf("Run = %v, want disk full", err)
			}
			must(t, os.Remove(ballast))
			checkJobs(t, dir, 1)
		})
	}
}

// checkJobs checks which jobs a coordinator in dir knows.
func checkJobs(t *testing.T, dir string, want ...byte) {
	t.Helper()
	j, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
	must(t, err)
	s, end := serveOn(t, j)
	r := request(t, s, testCert(2, wire.RoleClient), &wire.Request{Status: &wire.JobRef{}})
	var got []byte
	for _, j := range r.Jobs {
		got = append(got, j.Job[0])
	}
	if string(got) != string(want) {
		t.Errorf("jobs %v are known, want %v", got, want)
	}
	must(t, end())
}
