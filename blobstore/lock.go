package blobstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gaggle/wire"
)

var errLocked = errors.New("locked by another process")

// lockDir makes this process the one that has the store in dir open, or returns an error of
// wire.CauseBusy that names who has.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the store's lock: %w", err)
	}
	err = lockFile(f)
	if err == nil {
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
	}
	if err == nil {
		return f, nil
	}
	defer f.Close()
	if !errors.Is(err, errLocked) {
		return nil, fmt.Errorf("locking the store: %w", err)
	}
	return nil, wire.Errorf(wire.CauseBusy,
		"wait for it to end, stop it, or name another state directory",
		"the store in %s is in use by process %s", dir, holderOf(f))
}

// holderOf reads the holder's pid. A process that just took the lock may not have written it yet.
func holderOf(f *os.File) string {
	b := make([]byte, 32)
	for range 20 {
		n, _ := f.ReadAt(b, 0)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil {
			return strconv.Itoa(pid)
		}
		time.Sleep(25 * time.Millisecond)
	}
	return "unknown"
}
