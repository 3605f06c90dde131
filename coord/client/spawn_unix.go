//go:build unix

package client

import "syscall"

// detached makes a process live on when the terminal of its parent closes.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
