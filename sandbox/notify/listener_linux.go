//go:build amd64 || arm64

package notify

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listen has the calling thread, and every process that comes of it from then on, stop at the system
// calls of these numbers until they are answered on the descriptor that is returned. Without
// CAP_SYS_ADMIN no program that they execute gains privileges any more (no_new_privs, prctl(2)). The
// error is EBUSY if there is a listener already; calls fail with ENOSYS when nobody has the descriptor.
//
// Once a call was received, its process waits for the answer whatever signal comes but a deadly one,
// where the kernel can do that (Linux 5.19): a handler would have the call fail with EINTR.
func Listen(numbers []uint32) (int, error) {
	const load, jump, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	// struct seccomp_data begins with the number (4 bytes) and the architecture (4).
	filter := []unix.SockFilter{{Code: load, K: 4}, {Code: jump, Jt: 1, K: auditArch}, {Code: ret, K: unix.SECCOMP_RET_ALLOW}, {Code: load, K: 0}}
	for _, n := range numbers {
		filter = append(filter, unix.SockFilter{Code: jump, Jf: 1, K: n}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	filter = append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	fd, errno := install(filter, flags)
	if errno == unix.EINVAL {
		flags = 0
		fd, errno = install(filter, flags)
	}
	if errno == unix.EACCES {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("setting no_new_privs: %w", err)
		}
		fd, errno = install(filter, flags)
	}
	if errno != 0 {
		return -1, fmt.Errorf("installing a filter that reports system calls: %w", errno)
	}
	return fd, nil
}

func install(filter []unix.SockFilter, flags uintptr) (int, unix.Errno) {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|flags, uintptr(unsafe.Pointer(&program)))
	return int(fd), errno
}

// WakeSync has the kernel run who receives calls at once where the caller ran, and the caller where its
// answer was given, from Linux 6.6 on: they never run at the same time.
func WakeSync(listener int) {
	// Older kernels do without.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

// PathCallNumbers are those of PathCalls.
func PathCallNumbers() (numbers []uint32) {
	for _, c := range PathCalls {
		numbers = append(numbers, c.Nr)
	}
	return numbers
}

// Hand sends a listener to the other end of a socket (SOCK_SEQPACKET), or why there is none.
func Hand(socket, listener int, err error) error {
	if err != nil {
		return errors.Join(err, unix.Sendmsg(socket, []byte(err.Error()), nil, nil, 0))
	}
	return unix.Sendmsg(socket, []byte{0}, unix.UnixRights(listener), nil, 0)
}

// Take takes what the other end of a socket has handed.
func Take(socket int) (listener int, err error) {
	text, rights := make([]byte, 512), make([]byte, unix.CmsgSpace(4))
	n, r, _, _, err := unix.Recvmsg(socket, text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:r])
	if err != nil || len(messages) != 1 {
		return -1, errors.New(string(text[:n]))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// Wait waits until there is a call to receive, or stop can be read. over says that nobody is left who
// could make one.
func Wait(listener, stop int) (call, over bool) {
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
		case err != nil || fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0:
			return false, true
		case fds[0].Revents&unix.POLLIN != 0:
			return true, false
		case fds[1].Revents != 0:
			return false, false
		}
	}
}
