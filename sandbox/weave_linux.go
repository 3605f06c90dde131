package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A weaver makes network namespaces in a zygote, on a thread of its own that was never confined: the
// filter of the commands' thread keeps it from some of this. No command ever has that thread's
// credentials, and none of the descriptors it opens is left in the zygote but that of a namespace.
type weaver struct {
	net   int  // /proc/sys/net of whichever namespace the thread is in; -1 if closed
	tun   int  // a detached mount of /dev/net/tun, which no command can name; -1 if there is none
	far   bool // /dev/net/tun is closed to the engine, and so to us
	asked chan struct{}
	made  chan weft
}

// A weft is what a weaver has made.
type weft struct {
	woven
	fds []int // in the order that woven says
	err error
}

// woven tells which descriptors come along: the namespace, a socket of NETLINK_ROUTE, the sockets for
// names over UDP and TCP, then Tables tables of sockets, and /dev/net/tun if Tun; before all of them, if
// Far, those of a Far.
type woven struct {
	Tables int  `cbor:"tables"`
	Tun    bool `cbor:"tun,omitempty"`
	Far    bool `cbor:"far,omitempty"`
}

// newWeaver starts a weaver while the machine's /proc and /dev are in sight.
func newWeaver(far bool) *weaver {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	w := &weaver{far: far, asked: make(chan struct{}), made: make(chan weft)}
	var err error
	if w.net, err = unix.Open("/proc/sys/net", flags, 0); err != nil {
		w.net = -1
	}
	if w.tun, err = unix.OpenTree(unix.AT_FDCWD, "/dev/net/tun", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC); err != nil {
		w.tun = -1
	}
	go w.work()
	return w
}

func (w *weaver) work() {
	runtime.LockOSThread() // and never unlocked: it is in another namespace each time
	for range w.asked {
		f := weft{}
		f.err = w.weave(&f)
		if f.err != nil {
			closeAll(f.fds)
			f.fds = nil
		}
		w.made <- f
	}
}

// weave makes a namespace.
func (w *weaver) weave(f *weft) error {
	if w.far {
		if err := w.weaveFar(f); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("bringing loopback up: %w", err)
	}
	w.tune("ipv4/ip_unprivileged_port_start", "0")
	w.tune("ipv4/ping_group_range", strconv.Itoa(insideID)+" "+strconv.Itoa(insideID))
	if err := f.addNamespace(); err != nil {
		return err
	}
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		s, err := nameSocket(kind)
		if err := f.add("a socket for names", s, err); err != nil {
			return err
		}
	}
	open := func(name string, flags int) (int, error) { return unix.Open(name, flags|unix.O_CLOEXEC, 0) }
	table, err := open("/proc/thread-self/net/tcp", unix.O_RDONLY)
	if err := f.add("the table of sockets", table, err); err != nil {
		return err
	}
	f.Tables = 1
	if table, err := open("/proc/thread-self/net/tcp6", unix.O_RDONLY); err == nil {
		f.fds, f.Tables = append(f.fds, table), 2
	}
	if w.tun >= 0 {
		tun, err := open("/proc/thread-self/fd/"+strconv.Itoa(w.tun), unix.O_RDWR)
		if err == nil {
			f.fds, f.Tun = append(f.fds, tun), true
		}
	}
	return nil
}

// weaveFar makes the namespace of the other end of a pair of devices.
func (w *weaver) weaveFar(f *weft) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	if err := f.addNamespace(); err != nil {
		return err
	}
	f.Far = true
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	return f.add("a packet socket", s, err)
}

// addNamespace adds the thread's namespace and a routing socket.
func (f *weft) addNamespace() error {
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err := f.add("the network namespace", ns, err); err != nil {
		return err
	}
	route, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	return f.add("a routing socket", route, err)
}

func (f *weft) add(what string, fd int, err error) error {
	if err != nil {
		return fmt.Errorf("opening %s: %w", what, err)
	}
	f.fds = append(f.fds, fd)
	return nil
}

// tune sets what makes a namespace more useful, where /proc/sys may be written to.
func (w *weaver) tune(name, value string) {
	fd, err := unix.Openat(w.net, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, _ = unix.Write(fd, []byte(value)) // the command then finds those ports closed
}

// nameSocket opens a socket at which a namespace's names are asked for.
func nameSocket(kind int) (int, error) {
	s, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	const backlog = 16 // of one command's own questions
	err = errors.Join(unix.SetsockoptInt(s, unix.SOL_IP, unix.IP_FREEBIND, 1),
		unix.Bind(s, &unix.SockaddrInet4{Port: 53, Addr: Resolver.As4()}))
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(s, backlog)
	}
	if err != nil {
		unix.Close(s)
		return -1, err
	}
	return s, nil
}

// weave answers a request for a namespace, and keeps it for the next command on a network.
func (z *zygote) weave() error {
	z.dropSpare()
	if z.weaver == nil {
		return send(requests, &reply{Trouble: troubleOf(unix.ENOTSUP)}, nil)
	}
	z.weaver.asked <- struct{}{}
	f := <-z.weaver.made
	defer closeAll(f.fds)
	if f.err == nil {
		z.spare, f.err = unix.FcntlInt(uintptr(f.fds[f.first()]), unix.F_DUPFD_CLOEXEC, 0)
	}
	if f.err != nil {
		z.spare = -1
		return send(requests, &reply{Trouble: troubleOf(f.err)}, nil)
	}
	return send(requests, &reply{Woven: &f.woven}, f.fds)
}

func (z *zygote) dropSpare() {
	if z.spare >= 0 {
		unix.Close(z.spare)
		z.spare = -1
	}
}

// goOut moves the thread into the spare namespace, which is then the next command's alone. back
// must be called when it has started.
func (z *zygote) goOut() (back func(), err error) {
	if z.spare < 0 {
		return nil, errors.New("there is no network for the command")
	}
	if z.home < 0 {
		if z.home, err = unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("opening the own network namespace: %w", err)
		}
	}
	defer z.dropSpare()
	if err := unix.Setns(z.spare, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering the command's network: %w", err)
	}
	return func() {
		if err := unix.Setns(z.home, unix.CLONE_NEWNET); err != nil {
			fmt.Fprintf(os.Stderr, "leaving the command's network: %v\n", err) // the engine logs it
			os.Exit(1)                                                         // and the command ends, too
		}
	}, nil
}

// first is the index of the namespace's own descriptor.
func (w *woven) first() int {
	if w.Far {
		return 3
	}
	return 0
}

// tunClosed reports whether /dev/net/tun cannot be used.
func tunClosed() bool {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err != nil
}

// namespace takes what a weaver sent.
func (w *woven) namespace(fds []int) (*Namespace, error) {
	want := w.first() + 4 + w.Tables
	if w.Tun {
		want++
	}
	if w.Tables < 0 || len(fds) != want {
		closeAll(fds)
		return nil, wire.Errorf(wire.CauseSandbox, "", "a slot's process sent %d descriptors of a network, want %d", len(fds), want)
	}
	take := func(name string) *os.File {
		f := os.NewFile(uintptr(fds[0]), name)
		fds = fds[1:]
		return f
	}
	var far *Far
	if w.Far {
		far = &Far{NS: take("net"), Route: take("route"), Packets: take("packets")}
	}
	n := &Namespace{Far: far, NS: take("net"), Route: take("route"), NamesUDP: take("names"), NamesTCP: take("names")}
	for range w.Tables {
		n.Tables = append(n.Tables, take("tcp"))
	}
	if w.Tun {
		n.Tun = take("tun")
	} else if os.Geteuid() == 0 && !w.Far { // as in /dev without udev, which is closed to the slots' users
		n.Tun = openTun(n.NS)
	}
	return n, nil
}

// openTun opens /dev/net/tun in a namespace, as the superuser may; nil if it cannot.
func openTun(ns *os.File) *os.File {
	type opened struct{ f *os.File }
	done := make(chan opened)
	go func() {
		runtime.LockOSThread() // and left so: the thread ends, and need not find its way back
		var f *os.File
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == nil {
				f = os.NewFile(uintptr(fd), "tun")
			}
		}
		done <- opened{f}
	}()
	return (<-done).f
}
