package sandbox

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Until its execve a command is a fork of the zygote, and the kernel looks up what a script's
// first line names on behalf of that fork: "#!/proc/self/exe" is the zygote's program. A root's
// own dynamic loader then runs with that program as its /proc/self/exe, and where engine and
// zygote have one uid it could change the mode of the machine's binary or, once nothing runs
// from it, its text (the class of CVE-2019-5736). So a zygote runs from a read-only mount that
// is in no namespace: cloned by the engine where it may mount, else by the zygote itself, which
// then executes itself again.

const (
	shieldedArg = "shielded" // second argument of a zygote that runs from such a mount
	programFD   = 5          // descriptor of the mount that the engine cloned
)

// restrict makes a mount that nobody sees yet, and all below it, read-only. On failure it is
// closed.
func restrict(mount int) (int, error) {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(mount)
		return -1, err
	}
	return mount, nil
}

// cloneProgram returns a read-only mount of this process's program; nil if it cannot, for want of
// privilege or because the program was started in another mount namespace.
func cloneProgram() *os.File {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/exe", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		fd, err = restrict(fd)
	}
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "program")
}

// shield has the zygote run from a read-only mount: it does not return nil before it does.
func (z *zygote) shield() error {
	if len(os.Args) == 2 {
		fd, err := mountProgram()
		if err == nil {
			err = unix.Exec("/proc/self/fd/"+strconv.Itoa(fd), append(os.Args, shieldedArg), os.Environ())
		}
		return fmt.Errorf("starting again from a read-only mount: %w", err)
	}
	if z.Program {
		unix.Close(programFD)
	}
	var st unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &st); err != nil {
		return fmt.Errorf("looking at the program's mount: %w", err)
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return fmt.Errorf("the program's mount is writable: %w", unix.EPERM)
	}
	return nil
}

// mountProgram returns a descriptor of this zygote's program on a read-only mount. /proc/self/exe
// is on a mount of the engine's namespace, which cannot be cloned from here, so it goes by the
// path; a program that is no longer there, or below a closed directory, is copied. The slot's
// cgroup then counts the copy.
func mountProgram() (int, error) {
	if p, err := os.Readlink("/proc/self/exe"); err == nil {
		if fd, err := cloneTree(unix.AT_FDCWD, p); err == nil {
			if sameFile(fd, "/proc/self/exe") {
				return fd, nil
			}
			unix.Close(fd)
		}
	}
	return copyToMount("/proc/self/exe")
}

func sameFile(fd int, name string) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Stat(name, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// copyToMount copies a program into a tmpfs of its own, and returns a descriptor of the copy.
func copyToMount(name string) (_ int, err error) {
	from, err := os.Open(name)
	if err != nil {
		return -1, err
	}
	defer from.Close()
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("making a tmpfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("making a tmpfs: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mounting a tmpfs: %w", err)
	}
	if err := copyAt(mount, "program", from); err != nil {
		unix.Close(mount)
		return -1, fmt.Errorf("copying the program: %w", err)
	}
	if mount, err = restrict(mount); err != nil {
		return -1, err
	}
	defer unix.Close(mount)
	return unix.Openat(mount, "program", unix.O_PATH|unix.O_CLOEXEC, 0)
}

func copyAt(dir int, name string, from io.Reader) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o555)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return err
	}
	return to.Close()
}

// openHost opens the machine's root, where the zygote has it. It is not open while a command
// starts: "#!/proc/self/fd/7/usr/bin/x" would lead there.
func (z *zygote) openHost() (err error) {
	if z.Distinct || z.host >= 0 {
		return nil
	}
	if z.host, err = unix.Open("/host", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("opening /host: %w", err)
	}
	return nil
}

func (z *zygote) closeHost() {
	if z.host >= 0 {
		unix.Close(z.host)
		z.host = -1
	}
}
