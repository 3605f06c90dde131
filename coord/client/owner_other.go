//go:build !linux

package client

import "net"

// checkOwner relies on the mode of the directory: a socket does not tell who is at its other end
// on every system.
func checkOwner(*net.UnixConn) (pid int, err error) { return 0, nil }
