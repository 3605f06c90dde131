package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/notify"
)

// A denial is a system call that was refused to a command.
type denial struct {
	Name   string `cbor:"name"`
	Why    string `cbor:"why"`
	Killed bool   `cbor:"killed,omitempty"` // the command was ended for it
}

// maxDenials bounds those that are told of one command; the first say most.
const maxDenials = 4

// hear says no to whoever makes a refused call, and notes it; other calls it is told of go on once
// their files were looked for. Its thread is not the one that is
// confined.
func (z *zygote) hear(listener int) {
	for {
		var c notify.Call
		err := notify.Receive(listener, &c)
		if err == unix.ENOENT { // it was killed meanwhile
			continue
		}
		if err != nil {
			return
		}
		if p := c.PathCall(); p != nil && c.Arch == nativeArch() {
			if c.Pid != 1 { // our own thread is under the filter, too
				z.seeker.see(p, &c)
			}
			c.Allow(listener) // or it was killed
			continue
		}
		d := deny(&c)
		if d.Killed {
			unix.Kill(int(c.Pid), unix.SIGKILL)
		}
		z.mu.Lock()
		if len(z.denials) < maxDenials && !slices.Contains(z.denials, d) {
			z.denials = append(z.denials, d)
		}
		z.mu.Unlock()
		c.Refuse(listener, unix.EPERM) // or it was killed
	}
}

func deny(c *notify.Call) denial {
	if c.Arch != nativeArch() {
		return denial{Name: fmt.Sprintf("number %d of another architecture", c.Nr),
			Why: "the sandbox has no 32-bit system calls: use a 64-bit program", Killed: true}
	}
	i := slices.IndexFunc(refusals, func(r refusal) bool { return r.call == uint32(c.Nr) })
	if i < 0 {
		return denial{Name: fmt.Sprintf("number %d", c.Nr), Why: "not allowed"}
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
