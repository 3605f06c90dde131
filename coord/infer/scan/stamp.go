package scan

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// A stamp is what the file system tells of a file or directory without reading it. Two that are
// equal mean that nothing changed, if neither is fresh.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds; ctime is 0 where the system has none
	mode         fs.FileMode
}

// fresh reports whether a later change may leave the stamp as it is. Where there is a ctime it
// decides, since no program can set it.
func (s *stamp) fresh(now time.Time) bool {
	changed := s.ctime
	if changed == 0 {
		changed = s.mtime
	}
	return changed > now.Add(-settleTime).UnixNano()
}

// statPath follows symbolic links, as compilers do.
func statPath(path string) (stamp, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stampOf(fi), nil
}

// absent reports whether err says that there is nothing of a name.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
