package client

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// detached makes a process live on when the console of its parent closes.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}
