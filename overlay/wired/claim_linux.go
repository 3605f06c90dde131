package wired

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// MaxPlanes bounds the planes, and so the nodes, of one network namespace.
	MaxPlanes = 32

	// firstIndex is where the interface indexes of all planes begin, rangeSize what each has. The
	// kernel counts up from 1 and is far from there.
	firstIndex = 0x47000000
	rangeSize  = 4096

	// groups mark the devices of planes, "gag" in the upper bytes: nobody else's are removed.
	liveGroup  = 0x67616700
	dyingGroup = 0x67616780
)

// A claim is the right to one of the ranges of interface indexes, names and groups of this
// network namespace. It is a bound abstract socket, which ends with its process, so what is found
// in a range that can be claimed was left by one that is gone.
type claim struct {
	fd    int
	plane int // 0 to MaxPlanes-1
}

// ErrManyPlanes is returned by Open when all ranges of the namespace are taken.
var ErrManyPlanes = errors.New("all ranges of interface indexes are taken: is the abstract socket gaggle-wired-N held by something else?")

func take(plane int) (*claim, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@gaggle-wired-%d", plane)}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &claim{fd, plane}, nil
}

// takeAny claims the first range that is free, and clears that and all others that are free of
// what killed processes left there. It returns how many ranges had something left.
func takeAny(r *rtnl) (own *claim, cleared int, err error) {
	for plane := range MaxPlanes {
		c, err := take(plane)
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err == nil {
			var n int
			if n, err = c.clear(r); err != nil {
				c.release()
			}
			cleared += n
		}
		if err != nil {
			if own != nil {
				own.release()
			}
			return nil, 0, err
		}
		if own == nil {
			own = c
		} else {
			c.release()
		}
	}
	if own == nil {
		return nil, 0, ErrManyPlanes
	}
	return own, cleared, nil
}

// clear removes all devices of the range; 1 if there were any.
func (c *claim) clear(r *rtnl) (cleared int, err error) {
	for _, group := range []uint32{c.live(), c.dying()} {
		switch err := r.batch(removeGroup(group)); {
		case err == nil:
			cleared = 1
		case !errors.Is(err, unix.ENODEV):
			return 0, fmt.Errorf("removing what plane %d left: %w", c.plane, err)
		}
	}
	return cleared, nil
}

func (c *claim) release() { unix.Close(c.fd) }

func (c *claim) live() uint32  { return liveGroup + uint32(c.plane) }
func (c *claim) dying() uint32 { return dyingGroup + uint32(c.plane) }

// index returns the interface index of the host end of slot n, or of another of the plane's devices.
func (c *claim) index(n int) int { return firstIndex + c.plane*rangeSize + n }

// name returns the name of a device of the plane.
func (c *claim) name(what string) string { return fmt.Sprintf("gg%d-%s", c.plane, what) }
