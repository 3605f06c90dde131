package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memory returns how many bytes this machine gives to tasks: four fifths of what it has, so that
// the programs of whoever sits there go on.
func memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	total := int64(info.Totalram) * int64(info.Unit)
	// In a container the machine's memory is not ours: cgroup v2 and v1 show the limit here.
	for _, path := range []string{
		"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
	} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			total = min(total, limit)
		}
	}
	return total / 5 * 4
}

// niceness is how far the node and its tasks stand back behind other programs of the machine.
const niceness = 5

// standBack lowers the priority of this process and of all that it starts. On Linux that belongs
// to each thread, and new ones have their maker's: so it is done again until no thread is new.
func standBack() error {
	done := map[int]bool{}
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("listing the threads: %w", err)
		}
		fresh := false
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[tid] {
				continue
			}
			done[tid], fresh = true, true
			if err := lower(tid); err != nil {
				return err
			}
		}
		if !fresh {
			return nil
		}
	}
}

func lower(tid int) error {
	// The system call counts from 40 down.
	now, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err == nil && 20-now < niceness {
		err = unix.Setpriority(unix.PRIO_PROCESS, tid, niceness)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("lowering the priority: %w", err)
	}
	return nil
}
