package sandbox

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A session's standard input reaches the zygote as one more descriptor of the Exec: the end of a
// pipe, or for a terminal that of a socket, to which the zygote sends the master of a terminal
// that it has opened in the slot's own instance of devpts.

// A sessionKind says what the third descriptor of an Exec is.
type sessionKind uint8

const (
	noSession       sessionKind = iota
	pipeSession                 // standard input itself
	terminalSession             // a socket that wants the master of a terminal
)

const ptsDir = "dev/pts"

// mountTerminals completes the template of /dev, in the zygote's working directory.
func mountTerminals() error {
	if err := os.Mkdir(ptsDir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("devpts", ptsDir, "devpts", unix.MS_NOSUID|unix.MS_NOEXEC,
		"newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return fmt.Errorf("mounting /dev/pts: %w", err)
	}
	return os.Symlink("pts/ptmx", "dev/ptmx")
}

// openTerminal opens a terminal beneath a root, sends its master over sock and returns the other
// end. By that root's path, so that the command can find out its name.
func openTerminal(root string, sock int) (tty int, err error) {
	master, err := unix.Open(root+"/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a terminal: %w", err)
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, fmt.Errorf("unlocking a terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, fmt.Errorf("naming a terminal: %w", err)
	}
	tty, err = unix.Open(root+"/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a terminal: %w", err)
	}
	if err := unix.Sendmsg(sock, []byte{0}, unix.UnixRights(master), nil, unix.MSG_NOSIGNAL); err != nil {
		unix.Close(tty)
		return -1, fmt.Errorf("passing a terminal on: %w", err)
	}
	return tty, nil
}

// sessionStreams is streams for a command of a session.
func (z *zygote) sessionStreams(x *execRequest, fds []int) ([]int, error) {
	if len(fds) < 3 {
		return nil, unix.EBADMSG
	}
	if x.Session == pipeSession {
		return []int{fds[2], fds[0], fds[1]}, nil
	}
	tty, err := openTerminal(rootPath(z.scratch.index), fds[2])
	if err != nil {
		return nil, err
	}
	files := []int{tty}
	for range 2 {
		fd, err := unix.FcntlInt(uintptr(tty), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, fd)
	}
	closeAll(fds)
	return files, nil
}

// attend adds the command's end of the session to a batch. It returns ours, to be closed if the
// Exec cannot be sent, and what joins it to the person after that, until the session is over.
func (r *run) attend(b *batch, x *execRequest) (end *os.File, join func(), err error) {
	if r.spec.Session.Terminal != nil {
		x.Session = terminalSession
		return r.attendTerminal(b)
	}
	x.Session = pipeSession
	return r.attendPipe(b)
}

func (r *run) attendPipe(b *batch) (*os.File, func(), error) {
	in := r.spec.Session.Stdin
	if in == nil {
		in = emptyReader{}
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	b.fds = append(b.fds, p[0])
	end := os.NewFile(uintptr(p[1]), "pipe")
	if r.slot.engine.distinct { // it may open /dev/stdin
		if err := unix.Fchown(p[0], r.slot.uid(), r.slot.uid()); err != nil {
			end.Close()
			return nil, nil, err
		}
	}
	return end, func() {
		// Not waited for: a read of the person's cannot be ended, and need not be.
		go func() {
			io.Copy(end, in) // that either end has gone is the end of it
			end.Close()
		}()
	}, nil
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }

func (r *run) attendTerminal(b *batch) (*os.File, func(), error) {
	if !r.slot.engine.config.Terminals {
		return nil, nil, wire.Errorf(wire.CauseInternal, "", "this sandbox has no terminals")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	b.fds = append(b.fds, pair[1])
	end, person := os.NewFile(uintptr(pair[0]), "socket"), r.spec.Session.Terminal
	return end, func() {
		defer end.Close()
		in := &receiver{sock: pair[0]}
		n, fds, err := in.packet()
		if err != nil || n != 1 || len(fds) != 1 {
			closeAll(fds)
			return // the reply says why there is no terminal
		}
		joinTerminals(person, os.NewFile(uintptr(fds[0]), "terminal"))
	}, nil
}

// joinTerminals shows on a person's terminal what is written to the one that master belongs to,
// and passes on what they type and the size of their window, until nobody has it open any more.
func joinTerminals(person, master *os.File) {
	defer master.Close()
	copySize(master, person)
	sizes := make(chan os.Signal, 1)
	signal.Notify(sizes, unix.SIGWINCH)
	defer signal.Stop(sizes)
	done := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		for {
			select {
			case <-sizes:
				copySize(master, person)
			case <-done:
				return
			}
		}
	})
	before, err := unix.IoctlGetTermios(int(person.Fd()), unix.TCGETS)
	if err == nil {
		raw := rawMode(*before)
		unix.IoctlSetTermios(int(person.Fd()), unix.TCSETS, &raw)
		defer unix.IoctlSetTermios(int(person.Fd()), unix.TCSETSW, before)
	}
	typed, stop := interruptible(person)
	both.Go(func() { io.Copy(master, typed) })
	io.Copy(person, master) // ends with EIO
	stop()
	close(done)
	both.Wait()
}

func copySize(to, from *os.File) {
	if size, err := unix.IoctlGetWinsize(int(from.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(to.Fd()), unix.TIOCSWINSZ, size)
	}
}

// rawMode is what cfmakeraw(3) makes of a mode.
func rawMode(t unix.Termios) unix.Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR |
		unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return t
}

// interruptible returns a reader of f that ends when stop is called, and takes nothing from f
// after that: what a person types ahead is for their own shell.
func interruptible(f *os.File) (_ io.Reader, stop func()) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return emptyReader{}, func() {}
	}
	r := &pollReader{fd: int(f.Fd()), wake: p[0]}
	return r, func() { unix.Close(p[1]) }
}

// A pollReader reads from fd until the other end of wake is closed, then closes wake.
type pollReader struct{ fd, wake int }

func (r *pollReader) Read(b []byte) (int, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || fds[1].Revents != 0:
			unix.Close(r.wake)
			return 0, io.EOF
		}
		n, err := unix.Read(r.fd, b)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}
