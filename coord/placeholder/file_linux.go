package placeholder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A File is a placeholder that this process holds. Its methods may be called side by side.
type File struct {
	id     ID
	share  *Share
	number uint64 // in share

	mu sync.Mutex // guards f
	f  *os.File   // has the lease; nil once it was given up
}

// The kernel says by SIGIO that somebody waits. It would end a process that does not take it.
var takesSignal = sync.OnceFunc(func() { signal.Notify(make(chan os.Signal, 1), unix.SIGIO) })

// Make puts a placeholder at a path, in place of the file that may be there, with this mode. The
// other side of the share keeps it, too, if there is one; nil is none. The error wraps ErrUnsupported
// where there are no leases.
func Make(path string, mode fs.FileMode, share *Share) (*File, error) {
	takesSignal()
	f, err := temporary(path, mode)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteString(text); err == nil {
		if _, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
			err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	var number uint64
	if err == nil {
		number, err = share.give(f)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = AsNew(path)
	}
	if err != nil {
		share.drop(number)
		return nil, errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()), f.Close())
	}
	id, _ := IDOf(info) // Linux always has one
	return &File{id: id, share: share, number: number, f: f}, nil
}

// temporary makes a file beside the one at path.
func temporary(path string, mode fs.FileMode) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".gaggle-")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	return f, nil
}

// IDOf returns the ID of a file.
func IDOf(info fs.FileInfo) (ID, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ID{}, false
	}
	return ID{uint64(s.Dev), s.Ino}, true
}

// ID returns which file it is.
func (p *File) ID() ID { return p.id }

// Wanted reports whether somebody waits for the contents.
func (p *File) Wanted() bool {
	if !p.mu.TryLock() {
		return false // it is being filled
	}
	defer p.mu.Unlock()
	return p.f != nil && p.wanted()
}

func (p *File) wanted() bool {
	is, err := unix.FcntlInt(p.f.Fd(), unix.F_GETLEASE, 0)
	return err == nil && is != unix.F_WRLCK
}

// ErrLost says that the kernel waited no longer: somebody has read the placeholder.
var ErrLost = errors.New("somebody who could wait no longer has read it unmade")

// Name returns what the file is called now, "" if it was removed or was let go.
func (p *File) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		return ""
	}
	return p.name()
}

// name asks the kernel, which follows renaming. Of several links it knows one.
func (p *File) name() string {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", p.f.Fd()))
	if err != nil {
		return ""
	}
	info, err := os.Lstat(name) // " (deleted)" is at the end of the name of one that was removed
	if err != nil {
		return ""
	}
	if id, _ := IDOf(info); id != p.id {
		return ""
	}
	return name
}

// Fill puts the contents in and lets those go on who wait. Mode and time of the file stay, and it
// stays the same file: cp and install copy nothing that is another one when they have opened it than
// when they looked. If it is to be run, freeze stops everybody who may wait, until resume is called: the
// kernel runs no file that is open for writing. After an error it is a placeholder still.
func (p *File) Fill(r io.ReadSeeker, run bool, freeze func() (resume func())) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		return fs.ErrClosed
	}
	if run {
		defer freeze()() // when they go on they look for the file anew
	}
	at := p.name()
	if err := p.rewrite(r); err != nil {
		return fmt.Errorf("writing %s: %w", at, err)
	}
	err := p.letGo()
	if run && at != "" {
		closed(at)
	}
	return err
}

// closed waits until nobody has a file open for writing: a process that is being started has what
// this one has until it runs its program. The kernel gives a lease for reading then only.
func closed(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close() // ends the lease
	for range 1000 {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); !errors.Is(err, unix.EAGAIN) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// leads are buffers for the beginning of files. The rest begins at a multiple of all page sizes, or
// each write of it would end in the middle of a page.
var leads = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// rewrite puts the contents into the placeholder, its beginning last: up to then it can be told from a
// file that is whole.
func (p *File) rewrite(r io.ReadSeeker) error {
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	lead := leads.Get().(*[64 << 10]byte)
	defer leads.Put(lead)
	n, err := io.ReadFull(r, lead[:])
	switch {
	case err == nil:
		if _, err := p.f.Seek(int64(n), io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(p.f, r); err != nil {
			return err
		}
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return err
	}
	if n > size {
		if _, err := p.f.WriteAt(lead[size:n], size); err != nil {
			return err
		}
	}
	if _, err := p.f.WriteAt(lead[:min(n, size)], 0); err != nil {
		return err
	}
	if n < size {
		if err := p.f.Truncate(int64(n)); err != nil {
			return err
		}
	}
	self := fmt.Sprintf("/proc/self/fd/%d", p.f.Fd())
	return os.Chtimes(self, info.ModTime(), info.ModTime())
}

// Remove takes the file away, under the name that it has now. If somebody waits for it all the same,
// end has to end them: otherwise they go on, and read an empty file.
func (p *File) Remove(end func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		return nil
	}
	var err error
	if name := p.name(); name != "" {
		err = os.Remove(name)
	}
	if p.wanted() {
		end()
	}
	err = errors.Join(err, p.f.Truncate(0))
	return errors.Join(err, p.letGo())
}

// letGo gives the lease up.
func (p *File) letGo() error {
	_, err := unix.FcntlInt(p.f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	if err != nil {
		err = ErrLost
	}
	err = errors.Join(err, p.f.Close())
	p.f = nil
	p.share.drop(p.number)
	return err
}

// Patience returns how long the kernel has somebody wait for a placeholder; 0 is for ever.
func Patience() time.Duration {
	const standard = 45 * time.Second // fs/locks.c
	b, err := os.ReadFile("/proc/sys/fs/lease-break-time")
	if err != nil {
		return standard
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return standard
	}
	return time.Duration(n) * time.Second
}

// Most returns how many placeholders this process may hold: half of the files that it may have open.
func Most() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<31) / 2)
}

// nonblock has an open fail that would wait.
const nonblock = unix.O_NONBLOCK
