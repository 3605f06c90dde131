package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// inputTime is the modification time of everything in the job directory at the start. Files of a
// blobstore, bound as they are, have the same.
var inputTime = []unix.Timespec{{Sec: wire.FileTime}, {Sec: wire.FileTime}}

// A layout puts inputs into /job. It stays within it whatever inputs are called, since it
// follows no link and enters no mount.
type layout struct {
	job  int // descriptor of /job
	host int // of /host, or -1

	parent int    // descriptor of the directory dir below job, or -1
	dir    string // of the last input: they come sorted
	made   []string
}

// openLayout opens the /job at p.
func openLayout(p string, host int) (*layout, error) {
	fd, err := unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &layout{job: fd, host: host, parent: -1}, nil
}

// close gives the directories that were made their time.
func (l *layout) close() {
	for _, d := range l.made {
		unix.UtimesNanoAt(l.job, d, inputTime, unix.AT_SYMLINK_NOFOLLOW) // a time is not worth a failure
	}
	if l.parent >= 0 {
		unix.Close(l.parent)
	}
	unix.Close(l.job)
}

// put lays out one input. fd is its descriptor, or -1.
func (l *layout) put(in *inputRequest, fd int) error {
	if err := wire.CheckPath(in.Path); err != nil {
		return err
	}
	if err := l.enter(path.Dir(in.Path)); err != nil {
		return fmt.Errorf("making the directory of %q: %w", in.Path, err)
	}
	name := path.Base(in.Path)
	err := error(nil)
	switch {
	case in.Inline:
		err = l.write(name, in)
	case in.Writable && fd >= 0:
		err = copyInto(l.parent, name, fd, in.Dir, in.Exec, 0)
	case in.Writable:
		err = l.copyHost(name, in)
	default:
		err = l.bind(name, in, fd)
	}
	if err != nil {
		return fmt.Errorf("laying out %q: %w", in.Path, err)
	}
	return nil
}

// enter makes dir the parent, creating what is missing.
func (l *layout) enter(dir string) error {
	if l.parent >= 0 {
		if l.dir == dir {
			return nil
		}
		unix.Close(l.parent)
		l.parent = -1
	}
	fd, err := openBeneath(l.job, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err == unix.ENOENT {
		if err := l.enter(path.Dir(dir)); err != nil {
			return err
		}
		if err := unix.Mkdirat(l.parent, path.Base(dir), 0o755); err != nil {
			return err
		}
		l.made = append(l.made, dir)
		unix.Close(l.parent)
		l.parent = -1
		fd, err = openBeneath(l.job, dir, unix.O_PATH|unix.O_DIRECTORY)
	}
	if err != nil {
		return err
	}
	l.parent, l.dir = fd, dir
	return nil
}

func fileMode(exec, writable bool) uint32 {
	mode := uint32(0o444)
	if exec {
		mode |= 0o111
	}
	if writable {
		mode |= 0o200
	}
	return mode
}

func (l *layout) write(name string, in *inputRequest) error {
	fd, err := unix.Openat(l.parent, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC,
		fileMode(in.Exec, in.Writable))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for b := in.Data; len(b) > 0; {
		n, err := unix.Write(fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return setTime(fd)
}

// setTime is futimens: utimensat with a null path, which the library cannot say.
func setTime(fd int) error {
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0,
		uintptr(unsafe.Pointer(&inputTime[0])), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func (l *layout) bind(name string, in *inputRequest, fd int) error {
	if in.Source != "" {
		var err error
		if fd, err = cloneTree(l.host, in.Source); err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	if fd < 0 {
		return errors.New("no descriptor for it")
	}
	if in.Dir {
		if err := unix.Mkdirat(l.parent, name, 0o755); err != nil {
			return err
		}
	} else {
		at, err := unix.Openat(l.parent, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o444)
		if err != nil {
			return err
		}
		unix.Close(at)
	}
	return attach(fd, l.parent, name)
}

// copyHost copies what the zygote itself can read.
func (l *layout) copyHost(name string, in *inputRequest) error {
	fd, err := unix.Openat2(l.host, in.Source, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return copyInto(l.parent, name, fd, in.Dir, in.Exec, 0)
}

// copyInto copies the file or directory src to name below dir, writable.
func copyInto(dir int, name string, src int, isDir, exec bool, depth int) error {
	if !isDir {
		dst, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC,
			fileMode(exec, true))
		if err != nil {
			return err
		}
		defer unix.Close(dst)
		for {
			switch n, err := unix.Sendfile(dst, src, nil, 1<<20); {
			case err == unix.EINTR:
			case err != nil:
				return err
			case n == 0:
				return setTime(dst)
			}
		}
	}
	if depth > wire.MaxTreeDepth {
		return fmt.Errorf("%q is deeper than %d directories", name, wire.MaxTreeDepth)
	}
	// src may be a mount without a path, which cannot be listed itself.
	list, err := unix.Openat(src, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	from := os.NewFile(uintptr(list), name)
	defer from.Close()
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return err
	}
	to, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if err := copyEntry(to, n, int(from.Fd()), depth+1); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return unix.UtimesNanoAt(dir, name, inputTime, unix.AT_SYMLINK_NOFOLLOW)
}

func copyEntry(to int, name string, from, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		buf := make([]byte, wire.MaxPath)
		n, err := unix.Readlinkat(from, name, buf)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(buf[:n]), to, name); err != nil {
			return err
		}
		return unix.UtimesNanoAt(to, name, inputTime, unix.AT_SYMLINK_NOFOLLOW)
	case unix.S_IFREG, unix.S_IFDIR:
		fd, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return copyInto(to, name, fd, st.Mode&unix.S_IFMT == unix.S_IFDIR, st.Mode&0o111 != 0, depth)
	}
	return fmt.Errorf("%q is neither file, directory nor symbolic link", name)
}
