package server

import (
	"errors"

	"golang.org/x/sys/windows"
)

// syncDir does nothing: NTFS journals names itself, and directories cannot be flushed.
func syncDir(string) error { return nil }

// diskFull reports whether err says that a disk or a quota is exhausted.
func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}
