package server

import (
	"errors"
	"io"

	"golang.org/x/sys/windows"
)

// SyncDir does nothing: NTFS journals names itself, and directories cannot be flushed.
func SyncDir(string) error { return nil }

// lockFile does nothing: a file that somebody has open cannot be replaced.
func lockFile(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// diskFull reports whether err says that a disk or a quota is exhausted.
func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}
