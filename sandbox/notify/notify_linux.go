// Package notify hears of system calls by seccomp's user notification (seccomp_unotify(2)): a
// filter stops a process at a call until its listener has answered. It works as an ordinary user,
// for static programs too, and costs nothing at calls that the filter lets pass.
//
// The sandbox refuses calls by it and says which, and traces what a command looks for; coord
// capture watches by it what a command of the machine uses. A process, with all that it starts, can
// have one listener only.
package notify

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Call is a system call of a process that waits for an answer: the kernel's struct
// seccomp_notif (linux/seccomp.h), whose layout is its interface.
type Call struct {
	ID    uint64
	Pid   uint32 // of the thread, in the pid namespace of who receives
	Flags uint32
	Nr    int32
	Arch  uint32 // AUDIT_ARCH_
	IP    uint64
	Args  [6]uint64
}

// An answer is struct seccomp_notif_resp.
type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// Receive waits for a call. The error is ENOENT if the process was killed meanwhile: there will be
// others. EINTR is not returned.
func Receive(listener int, c *Call) error {
	for {
		*c = Call{} // the kernel wants it zeroed
		if e := control(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(c)); e != unix.EINTR {
			return errorOf(e)
		}
	}
}

// Allow lets the kernel carry the call out. What its pointers hold may be another by then: this is
// for who wants to know, not for who decides.
func (c *Call) Allow(listener int) error {
	return c.send(listener, answer{flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// Refuse has the call fail.
func (c *Call) Refuse(listener int, e unix.Errno) error {
	return c.send(listener, answer{errno: -int32(e)})
}

func (c *Call) send(listener int, a answer) error {
	a.id = c.ID
	return errorOf(control(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a)))
}

func control(fd int, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return e
}

func errorOf(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}
