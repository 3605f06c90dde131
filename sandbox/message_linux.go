package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// The engine and a zygote talk over a SOCK_SEQPACKET pair: requests one way, one reply for each
// request that has an Exec or Weave, and one reply (ready) when the zygote is set up. A message is the
// CBOR of its struct, with file descriptors in the order in which the struct's fields want them.
// A message over maxPacket travels in a memfd, the last of its descriptors, and its own body is
// empty. A second pair carries kills: eight bytes, the sequence number of an Exec.
const (
	maxPacket = 120 << 10 // the default send buffer holds 212,992 bytes, with the kernel's overhead
	maxFDs    = 200       // of SCM_MAX_FD (253) in one message
)

// A request tells a zygote what to do, in the order of the fields.
type request struct {
	Root   *rootRequest   `cbor:"root,omitempty"`
	Use    int            `cbor:"use"`   // index of the root that the rest is about
	Bytes  int64          `cbor:"bytes"` // size of /job, and of /tmp
	Inodes int64          `cbor:"inodes"`
	Inputs []inputRequest `cbor:"inputs,omitempty"`
	Work   string         `cbor:"work,omitempty"`  // working directory in /job, to be made; with an Exec
	Weave  bool           `cbor:"weave,omitempty"` // make a network namespace; nothing else is asked then
	Exec   *execRequest   `cbor:"exec,omitempty"`
}

// A rootRequest mounts a root tree at an index, in place of what is there. Its descriptor is a
// mount unless Source is set: a path that the zygote clones itself.
type rootRequest struct {
	Index  int    `cbor:"index"`
	Source string `cbor:"source,omitempty"`
	Net    bool   `cbor:"net,omitempty"` // for commands on a network: see dressEtc
}

// An inputRequest lays out an input. Small files come in Data. For others there is a descriptor,
// unless Source is set: of a mount to attach, or if Writable of what to copy.
type inputRequest struct {
	Path     string `cbor:"path"`
	Source   string `cbor:"source,omitempty"`
	Data     []byte `cbor:"data,omitempty"`
	Inline   bool   `cbor:"inline,omitempty"` // the file is Data
	Dir      bool   `cbor:"dir,omitempty"`
	Exec     bool   `cbor:"exec,omitempty"`
	Writable bool   `cbor:"writable,omitempty"`
}

// An execRequest runs a command. Its descriptors are standard output and error, then a mount of
// the file that is standard input, unless Stdin is set (a path) or Empty.
type execRequest struct {
	Seq   uint64   `cbor:"seq"`
	Argv  []string `cbor:"argv"`
	Env   []string `cbor:"env"`
	Stdin string   `cbor:"stdin,omitempty"`
	Empty bool     `cbor:"empty,omitempty"` // standard input is /dev/null
	Job   string   `cbor:"job,omitempty"`   // where /job is to be seen instead; "" is there
	Cwd   string   `cbor:"cwd"`             // working directory, absolute
	Pids  int      `cbor:"pids,omitempty"`  // limit by RLIMIT_NPROC; 0 for none
	Mem   int64    `cbor:"mem,omitempty"`   // limit by sampling; 0 for none
	Net   bool     `cbor:"net,omitempty"`   // in the namespace that was made last

	Session sessionKind `cbor:"session,omitempty"`
}

// A reply ends a request. If the command ran, a descriptor of /job comes with it, and with Woven what
// that says.
type reply struct {
	Woven   *woven      `cbor:"woven,omitempty"`
	Trouble *wire.Error `cbor:"trouble,omitempty"` // it did not run: CauseNotInRoot is the task's doing
	Killed  bool        `cbor:"killed,omitempty"`  // it was to be killed before it began
	Starved bool        `cbor:"starved,omitempty"` // it was killed for its memory
	Peak    int64       `cbor:"peak,omitempty"`    // of memory, as sampled, in bytes
	Full    bool        `cbor:"full,omitempty"`    // there is no room left in /job or /tmp
	Status  uint32      `cbor:"status,omitempty"`  // as wait(2) gives it
	Run     int64       `cbor:"run,omitempty"`     // time until the command ended, in nanoseconds
	User    int64       `cbor:"user,omitempty"`    // of all its processes, in nanoseconds
	System  int64       `cbor:"system,omitempty"`
	MaxRSS  int64       `cbor:"maxrss,omitempty"` // of its largest process, in bytes
	Denials []denial    `cbor:"denials,omitempty"`
	Lookups *Lookups    `cbor:"lookups,omitempty"` // if the zygote notes them
}

// send writes one message. The descriptors stay the caller's.
func send(sock int, v any, fds []int) error {
	b, err := wire.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxPacket {
		mem, err := memfd(b)
		if err != nil {
			return err
		}
		defer mem.Close()
		fds, b = append(fds[:len(fds):len(fds)], int(mem.Fd())), nil
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if len(b) == 0 {
		b = []byte{0} // an empty packet would look like the end; so does no CBOR map
	}
	for {
		if err = unix.Sendmsg(sock, b, rights, nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			return err
		}
	}
}

func memfd(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("message", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "message")
	if _, err := f.WriteAt(b, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("filling a memfd: %w", err)
	}
	return f, nil
}

// A receiver reads messages from a socket. It is for one goroutine.
type receiver struct {
	sock int
	idle func() // unless nil, called while nothing comes, as often as SO_RCVTIMEO says
	buf  [maxPacket]byte
	oob  [1024]byte // CmsgSpace of maxFDs descriptors, and a bit
}

// receive reads one message into v and returns its descriptors, which are the caller's to close
// also if there is an error. The error is io.EOF if the other side is gone.
func (r *receiver) receive(v any) (fds []int, err error) {
	n, fds, err := r.packet()
	if err != nil {
		return fds, err
	}
	b := r.buf[:n]
	if n == 1 && len(fds) > 0 {
		mem := os.NewFile(uintptr(fds[len(fds)-1]), "message")
		fds = fds[:len(fds)-1]
		defer mem.Close()
		var whole bytes.Buffer
		if _, err := io.Copy(&whole, io.NewSectionReader(mem, 0, wire.MaxFrame+1)); err != nil {
			return fds, fmt.Errorf("reading a memfd: %w", err)
		}
		b = whole.Bytes()
	}
	return fds, wire.Unmarshal(b, v)
}

func (r *receiver) packet() (n int, fds []int, err error) {
	var oobn, flags int
	for {
		n, oobn, flags, _, err = unix.Recvmsg(r.sock, r.buf[:], r.oob[:], unix.MSG_CMSG_CLOEXEC)
		if err == unix.EAGAIN && r.idle != nil {
			r.idle()
		} else if err != unix.EINTR && err != unix.EAGAIN {
			break
		}
	}
	if err == nil && n == 0 || err == unix.ECONNRESET {
		err = io.EOF
	}
	if err != nil || oobn == 0 {
		return n, nil, err
	}
	m, err := unix.ParseSocketControlMessage(r.oob[:oobn])
	if err == nil && len(m) > 0 {
		fds, err = unix.ParseUnixRights(&m[0])
	}
	if err == nil && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = unix.EMSGSIZE
	}
	return n, fds, err
}
