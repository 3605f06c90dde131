package blobstore

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// errLinks is what link fails with when a file has as many names as it can (1,024 on NTFS).
const errLinks = windows.ERROR_TOO_MANY_LINKS

// lockFile takes the lock on f, or returns errLocked. The locked byte lies far beyond the text,
// so that others can read whose lock it is.
func lockFile(f *os.File) error {
	ol := &windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, ol)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}

// FreeBytes returns how many bytes this user may still write below dir; known is false if that cannot be
// told.
func FreeBytes(dir string) (free int64, known bool) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var mine, total, all uint64
	if err := windows.GetDiskFreeSpaceEx(name, &mine, &total, &all); err != nil {
		return 0, false
	}
	return int64(min(mine, math.MaxInt64)), true
}

// fsyncDir does nothing: NTFS journals names itself, and directories cannot be flushed.
func fsyncDir(dir string) error { return nil }

// diskFull reports whether err says that a disk or a quota is exhausted.
func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// linkCount is not known here, so that an inode always counts as shared.
func linkCount(fi os.FileInfo) uint64 { return 0 }

// changeTime is not known here: the identity index goes by name, size and modification time.
func changeTime(fi os.FileInfo) (ctime int64, inode uint64) { return 0, 0 }
