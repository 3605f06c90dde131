//go:build unix

package client

import "golang.org/x/sys/unix"

// mayWrite reports whether this user may make files in a directory.
func mayWrite(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }
