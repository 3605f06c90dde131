package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// near returns dir, or what exists above it.
func near(dir string) string {
	for !exists(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

const (
	// leastDisk is how much must be free for a node to take tasks (node's minRoom), littleDisk how
	// much a few roots and inputs take.
	leastDisk  = 256 << 20
	littleDisk = 2 << 30
)

func disk(dir string) Finding {
	f := Finding{Name: "disk"}
	at := near(dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(at, &fs); err != nil {
		f.State, f.Found, f.Fix = Broken, fmt.Sprintf("%s: %v", at, err), "name another directory with --state"
		return f
	}
	free := int64(fs.Bavail) * fs.Bsize
	f.Found = fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), dir)
	switch {
	case unix.Access(at, unix.W_OK) != nil:
		f.State, f.Found, f.Fix = Broken, at+" cannot be written to", "name another directory with --state"
	case free < leastDisk || fs.Files > 0 && fs.Ffree < 1000:
		f.State, f.Fix = Broken, "free some, or name a directory on another disk with --state"
		f.Works = "a node that has joined stays, and takes no tasks until there is room"
	case free < littleDisk:
		f.State, f.Fix = Limited, "free some, or name a directory on another disk with --state"
		f.Works = "tasks with small roots and inputs"
	}
	return f
}

// port tries UDP and TCP. That they are taken is a fault only if it is not by the node itself.
func port(addr string) Finding {
	f := Finding{Name: "port", Found: addr + " is free, UDP and TCP"}
	u, err := net.ListenPacket("udp", addr)
	if err == nil {
		defer u.Close()
		var t net.Listener
		if t, err = net.Listen("tcp", addr); err == nil {
			t.Close()
			return buffers(f)
		}
	}
	f.State = Limited
	if errors.Is(err, unix.EADDRINUSE) {
		f.Found = addr + " is taken, perhaps by a node that runs already"
		f.Fix = "ss -lunp shows by whom; another one is named with --listen :PORT"
		f.Works = "without --listen a node takes any other port"
		return f
	}
	f.Found, f.Fix = fmt.Sprintf("%s: %v", addr, err), "name another one with --listen :PORT"
	return f
}

// wantBuffer is what QUIC asks for (quic-go: 7 MiB rounded up); less loses packets at gigabits.
const wantBuffer = 7_500_000

// buffers adds to the finding about a port whether its packets have room.
func buffers(f Finding) Finding {
	for _, name := range []string{"rmem_max", "wmem_max"} {
		var have int64
		if _, err := fmt.Sscan(setting("net/core/"+name), &have); err != nil || have >= wantBuffer {
			continue // not told inside network namespaces: the machine's counts
		}
		f.State = Limited
		f.Found += fmt.Sprintf("; buffers of UDP are small (net.core.%s is %d)", name, have)
		f.Fix = fmt.Sprintf("sudo sysctl -w net.core.rmem_max=%d net.core.wmem_max=%d", wantBuffer, wantBuffer)
		f.Works = "everything; transfers over fast links are slower"
		return f
	}
	return f
}

// firstRelease is before any certificate: a clock that is earlier was never set.
var firstRelease = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func clock() Finding {
	now := time.Now()
	f := Finding{Name: "clock", Found: now.UTC().Format(time.RFC3339)}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case now.Before(firstRelease):
		f.State, f.Found, f.Fix = Broken, f.Found+" is long past", "sudo timedatectl set-ntp true"
		f.Works = "nothing that has to do with a mesh: certificates are not valid yet"
	case err == nil && (state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0) && !inUserNamespace():
		f.State, f.Found, f.Fix = Limited, f.Found+", not kept by any time service", "sudo timedatectl set-ntp true"
		f.Works = "everything, while it is right to a few minutes"
	}
	return f
}

// inUserNamespace reports whether this process is in one, whose clock others keep.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	var inside, outside, n int64
	_, scanErr := fmt.Sscan(string(b), &inside, &outside, &n)
	return err == nil && scanErr == nil && (inside != 0 || outside != 0 || n != 1<<32-1)
}
