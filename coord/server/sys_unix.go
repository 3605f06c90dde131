//go:build unix

package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
)

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// lockFile waits, within lockTimeout, until nobody else has locked the file, and locks it until it is
// closed. It is made if it is not there, and stays. The error wraps bolterrors.ErrTimeout if it takes
// longer.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // NFS locks only what may be written
	if err != nil {
		return nil, err
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case err != syscall.EWOULDBLOCK && err != syscall.EINTR:
			return nil, errors.Join(fmt.Errorf("locking: %w", err), f.Close())
		case time.Since(began) > lockTimeout:
			return nil, errors.Join(bolterrors.ErrTimeout, f.Close())
		}
	}
}

// diskFull reports whether err says that a disk or a quota is exhausted. bbolt keeps of some errors
// only the text.
func diskFull(err error) bool {
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, full) || err != nil && strings.HasSuffix(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}
