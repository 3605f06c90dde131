package wired

import (
	"encoding/binary"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// A message is one request to rtnetlink.
type message struct {
	b  []byte
	ok unix.Errno // a refusal that changes nothing
}

func request(kind, flags uint16) *message {
	m := &message{b: make([]byte, unix.NLMSG_HDRLEN, 256)}
	native.PutUint16(m.b[4:], kind)
	native.PutUint16(m.b[6:], unix.NLM_F_REQUEST|flags)
	return m
}

func (m *message) uint32s(v ...uint32) *message {
	for _, v := range v {
		m.b = native.AppendUint32(m.b, v)
	}
	return m
}

// link appends a struct ifinfomsg.
func (m *message) link(index int, flags, change uint32) *message {
	return m.uint32s(unix.AF_UNSPEC, uint32(index), flags, change)
}

// tc appends a struct tcmsg.
func (m *message) tc(index int, handle, parent, info uint32) *message {
	return m.uint32s(unix.AF_UNSPEC, uint32(index), handle, parent, info)
}

func (m *message) pad() {
	for len(m.b)%4 != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *message) attr(kind uint16, value ...byte) *message {
	m.b = native.AppendUint16(m.b, uint16(4+len(value)))
	m.b = native.AppendUint16(m.b, kind)
	m.b = append(m.b, value...)
	m.pad()
	return m
}

func (m *message) text(kind uint16, s string) *message { return m.attr(kind, append([]byte(s), 0)...) }

func (m *message) number(kind uint16, v uint32) *message {
	return m.attr(kind, native.AppendUint32(nil, v)...)
}

// nest appends an attribute of what inside appends.
func (m *message) nest(kind uint16, inside func()) *message {
	at := len(m.b)
	m.attr(kind)
	inside()
	native.PutUint16(m.b[at:], uint16(len(m.b)-at))
	return m
}

// A batchError is the refusal of one of several requests that were sent at once. Those after it
// were carried out as far as they could be.
type batchError struct {
	at  int // of the first that was refused
	err unix.Errno
}

func (e *batchError) Error() string {
	return fmt.Sprintf("netlink request %d: %v", e.at, e.err)
}

func (e *batchError) Unwrap() error { return e.err }

// An rtnl is a socket of rtnetlink. It speaks to the network namespace in which it was opened.
type rtnl struct {
	mu  sync.Mutex // guards the fields below, and the order of answers
	fd  int
	seq uint32
	in  []byte
	out []byte
}

func openRTNL() (*rtnl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding rtnetlink: %w", err)
	}
	// Without it a refusal repeats the request.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &rtnl{fd: fd, in: make([]byte, 64<<10)}, nil
}

// close waits for requests under way; later ones fail with ErrClosed.
func (r *rtnl) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	unix.Close(r.fd)
	r.fd = -1
}

// batch has all requests carried out in one system call, and waits for the last; the error is a
// *batchError of the first that was refused, or of the socket.
func (r *rtnl) batch(requests ...*message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return ErrClosed
	}
	first := r.seq + 1
	r.out = r.out[:0]
	for i, m := range requests {
		r.seq++
		if i == len(requests)-1 {
			native.PutUint16(m.b[6:], native.Uint16(m.b[6:])|unix.NLM_F_ACK)
		}
		native.PutUint32(m.b, uint32(len(m.b)))
		native.PutUint32(m.b[8:], r.seq)
		r.out = append(r.out, m.b...)
	}
	if err := unix.Sendto(r.fd, r.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("asking rtnetlink: %w", err)
	}
	var refused error
	err := r.answers(func(seq uint32, kind uint16, body []byte) bool {
		if kind != unix.NLMSG_ERROR || len(body) < 4 || seq-first >= uint32(len(requests)) {
			return false
		}
		at := int(seq - first)
		if e := unix.Errno(-int32(native.Uint32(body))); e != 0 && e != requests[at].ok && refused == nil {
			refused = &batchError{at, e}
		}
		return seq == r.seq
	})
	if err != nil {
		return err
	}
	return refused
}

// ask has one request answered and returns the body of the answer.
func (r *rtnl) ask(m *message) (answer []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return nil, ErrClosed
	}
	r.seq++
	native.PutUint32(m.b, uint32(len(m.b)))
	native.PutUint32(m.b[8:], r.seq)
	if err := unix.Sendto(r.fd, m.b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("asking rtnetlink: %w", err)
	}
	var refused error
	err = r.answers(func(seq uint32, kind uint16, body []byte) bool {
		if seq != r.seq {
			return false
		}
		if kind == unix.NLMSG_ERROR && len(body) >= 4 {
			refused = unix.Errno(-int32(native.Uint32(body)))
		} else {
			answer = append([]byte(nil), body...)
		}
		return true
	})
	if err == nil {
		err = refused
	}
	return answer, err
}

// answers hands on what the kernel says until take has enough.
func (r *rtnl) answers(take func(seq uint32, kind uint16, body []byte) bool) error {
	for {
		n, _, err := unix.Recvfrom(r.fd, r.in, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for rtnetlink: %w", err)
		}
		enough := false
		for b := r.in[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(native.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				break
			}
			enough = take(native.Uint32(b[8:]), native.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size]) || enough
			b = b[min((size+3)&^3, len(b)):]
		}
		if enough {
			return nil
		}
	}
}

// attrs calls f for each attribute in b.
func attrs(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		size := int(native.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		f(native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[4:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

// An ifreq is what the ioctls of TUN devices read and write.
type ifreq struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

func ioctl(fd int, what uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), what, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}
