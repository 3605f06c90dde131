package client

import (
	"net"
	"os"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// checkOwner refuses a connection from another user, and returns the process that made it. The
// directory's mode keeps others out already; this holds also where somebody has changed it.
func checkOwner(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var got error
	err = raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err == nil {
		err = got
	}
	if err != nil {
		return 0, err
	}
	if int(cred.Uid) != os.Getuid() {
		return 0, wire.Errorf(wire.CauseUnauthorized, "use a state directory of your own (--state, $GAGGLE_STATE)",
			"the background process belongs to user %d, not to user %d", os.Getuid(), cred.Uid)
	}
	return int(cred.Pid), nil
}
