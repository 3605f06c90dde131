package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A denial is a system call that was refused to a command.
type denial struct {
	Name   string `cbor:"name"`
	Why    string `cbor:"why"`
	Killed bool   `cbor:"killed,omitempty"` // the command was ended for it
}

// maxDenials bounds those that are told of one command; the first say most.
const maxDenials = 4

// A notice is the kernel's struct seccomp_notif, and an answer its struct seccomp_notif_resp.
type (
	notice struct {
		id         uint64
		pid, flags uint32
		call       int32
		arch       uint32
		at         uint64
		args       [6]uint64
	}
	answer struct {
		id         uint64
		val        int64
		err, flags int32
	}
)

// hear says no to whoever makes a refused call, and notes it. Its thread is not the one that is
// confined.
func (z *zygote) hear(listener int) {
	for {
		var n notice // the kernel wants it zeroed
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV,
			uintptr(unsafe.Pointer(&n)))
		if e == unix.EINTR || e == unix.ENOENT { // it was killed meanwhile
			continue
		}
		if e != 0 {
			return
		}
		d := deny(&n)
		if d.Killed {
			unix.Kill(int(n.pid), unix.SIGKILL)
		}
		z.mu.Lock()
		if len(z.denials) < maxDenials && !slices.Contains(z.denials, d) {
			z.denials = append(z.denials, d)
		}
		z.mu.Unlock()
		a := answer{id: n.id, err: -int32(unix.EPERM)}
		unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND,
			uintptr(unsafe.Pointer(&a)))
	}
}

func deny(n *notice) denial {
	if n.arch != nativeArch() {
		return denial{Name: fmt.Sprintf("number %d of another architecture", n.call),
			Why: "the sandbox has no 32-bit system calls: use a 64-bit program", Killed: true}
	}
	i := slices.IndexFunc(refusals, func(r refusal) bool { return r.call == uint32(n.call) })
	if i < 0 {
		return denial{Name: fmt.Sprintf("number %d", n.call), Why: "not allowed"}
	}
	return denial{Name: refusals[i].name, Why: refusals[i].why}
}

// deniedHint says in one line what a command was refused; "" if nothing.
func deniedHint(list []denial) string {
	var parts []string
	for _, d := range list {
		parts = append(parts, fmt.Sprintf("%s (%s)", d.Name, d.Why))
	}
	if parts == nil {
		return ""
	}
	return "the sandbox refused it system calls: " + strings.Join(parts, ", ")
}
