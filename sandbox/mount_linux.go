package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A zygote's own file system is a small tmpfs:
//
//	/proc        of its pid namespace, cloned into every root
//	/dev         cloned into every root
//	/host        the machine's, only where engine and zygote have one uid
//	/r0 ... /rN  root trees, each with clones of /proc and /dev; a command is chrooted into one
//	/rX/job /rX/tmp   two tmpfs, on the root that is used next; the first is moved to where the
//	                  command is to see it
const keptRoots = 4

// cloneTree returns a descriptor of a detached, read-only mount of what is at path below dir
// (which path cannot leave, but links in it are followed). It needs CAP_SYS_ADMIN over the mount
// namespace that dir is in. Recursive because mounts that came from another user namespace are
// locked together.
func cloneTree(dir int, p string) (int, error) {
	at, err := unix.Openat2(dir, p, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	fd, err := unix.OpenTree(at, "",
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, err
	}
	return restrict(fd)
}

// giveTo has a mount that nobody sees yet show owners as the user namespace says. Some file
// systems cannot; there a command sees foreign files. On failure the mount is closed.
func giveTo(mount, owner int) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(owner)}
	err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &attr)
	if err == nil || err == unix.EINVAL {
		return nil
	}
	unix.Close(mount)
	return err
}

func attach(fd, dir int, name string) error {
	return unix.MoveMount(fd, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// openBeneath opens p below dir without following a link or entering another mount.
func openBeneath(dir int, p string, flags int) (int, error) {
	return unix.Openat2(dir, p, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// devices returns the names of those that /dev has.
func (z *zygote) devices() []string {
	devices := []string{"full", "null", "random", "urandom", "zero"}
	if z.Terminals {
		devices = append(devices, "tty")
	}
	return devices
}

// enter replaces the mount namespace's root by the zygote's.
func (z *zygote) enter() error {
	// Slave: what the machine mounts later, an input's file system say, is seen; not the reverse.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detaching mounts: %w", err)
	}
	var clones []int // before the tmpfs hides anything
	devices := z.devices()
	for _, d := range devices {
		fd, err := unix.OpenTree(unix.AT_FDCWD, "/dev/"+d,
			unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("cloning /dev/%s: %w", d, err)
		}
		clones = append(clones, fd)
	}
	if err := unix.Mount("zygote", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV,
		"size=64k,mode=0755"); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	if err := os.Chdir("/tmp"); err != nil {
		return err
	}
	for _, d := range []string{"proc", "dev", "host"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	for i := range keptRoots {
		if err := os.Mkdir("r"+strconv.Itoa(i), 0o755); err != nil {
			return err
		}
	}
	if err := z.makeDev(devices, clones); err != nil {
		return err
	}
	// While the machine's is in sight: without one in full view the kernel refuses another.
	const noProgram = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "proc", "proc", noProgram, "subset=pid,hidepid=invisible"); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return z.pivot()
}

func (z *zygote) pivot() error {
	if z.Distinct { // it could not read there anyway; the engine passes mounts
		if err := unix.PivotRoot(".", "."); err != nil { // the old root lands on top
			return fmt.Errorf("pivot_root: %w", err)
		}
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("leaving the old root: %w", err)
		}
		return os.Chdir("/")
	}
	if err := unix.PivotRoot(".", "host"); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return os.Chdir("/")
}

// makeDev builds the template of /dev, from clones of the devices.
func (z *zygote) makeDev(devices []string, clones []int) error {
	const noProgram = unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount("dev", "dev", "tmpfs", noProgram, "size=4k,mode=0755"); err != nil {
		return fmt.Errorf("mounting /dev: %w", err)
	}
	for i, d := range devices {
		name := "dev/" + d
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			return err
		}
		if err := attach(clones[i], unix.AT_FDCWD, name); err != nil {
			return fmt.Errorf("attaching /%s: %w", name, err)
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}
		if err := unix.MountSetattr(clones[i], "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return fmt.Errorf("restricting /%s: %w", name, err)
		}
		unix.Close(clones[i])
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "fd/0"}, {"stdout", "fd/1"}, {"stderr",
		"fd/2"}, {"shm", "/tmp"}} {
		if err := os.Symlink(l[1], path.Join("dev", l[0])); err != nil {
			return err
		}
	}
	if z.Terminals {
		if err := mountTerminals(); err != nil {
			return err
		}
	}
	return unix.Mount("", "dev", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|noProgram, "")
}

func rootPath(i int) string { return "/r" + strconv.Itoa(i) }

// mountRoot puts the root tree that fd is a mount of at index i, with /proc and /dev, and with net for
// commands on a network.
func (z *zygote) mountRoot(i, fd int, net bool) error {
	if i < 0 || i >= keptRoots {
		return unix.EINVAL
	}
	dir := rootPath(i)
	maps.DeleteFunc(z.programs, func(k programKey, _ string) bool { return k.root == i })
	if z.scratch.mounted && z.scratch.index == i {
		z.scratch.mounted = false
	}
	if z.roots[i] {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting a root: %w", err)
		}
		z.roots[i] = false
	}
	if err := attach(fd, unix.AT_FDCWD, dir); err != nil {
		return fmt.Errorf("mounting a root: %w", err)
	}
	z.roots[i] = true
	for _, name := range []string{"proc", "dev", "job", "tmp"} {
		at, err := openBeneath(fd, name, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return wire.Errorf(wire.CauseNotInRoot,
				"every root needs the directories /dev, /proc, /tmp and /job",
				"the root has no directory /%s", name)
		}
		defer unix.Close(at)
		if name == "job" || name == "tmp" {
			continue // here scratch mounts
		}
		clone, err := unix.OpenTree(unix.AT_FDCWD, "/"+name,
			unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("cloning /%s: %w", name, err)
		}
		err = unix.MoveMount(clone, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		unix.Close(clone)
		if err != nil {
			return fmt.Errorf("attaching /%s: %w", name, err)
		}
	}
	if net {
		return z.dressEtc(dir)
	}
	return nil
}

// A scratch is the pair of tmpfs at /job and /tmp of a root.
type scratch struct {
	mounted       bool
	index         int
	placed        string // where the first is instead of /job; "" is there
	cover         string // a directory of the root on which a tmpfs is mounted for that; "" if none
	bytes, inodes int64
	fresh         [len(scratchDirs)]scratchState // as they were when mounted
	used          [len(scratchDirs)]uint64       // inodes, after a command; 0 before
}

// A scratchState is what a directory and its file system say of themselves.
type scratchState struct {
	dir    unix.Stat_t
	inodes uint64 // in use; the directory's own is one
}

// usage is what the file system of a scratch directory says: inodes in use, and whether no room is
// left.
func usage(dir string) (inodes uint64, full bool, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, false, err
	}
	return fs.Files - fs.Ffree, fs.Bfree == 0 || fs.Ffree == 0, nil
}

const tmpDir = "/tmp"

var scratchDirs = [...]string{jobDir, tmpDir}

// path returns where scratch directory i is mounted.
func (s *scratch) path(i int) string {
	if i == 0 && s.placed != "" {
		return rootPath(s.index) + s.placed
	}
	return rootPath(s.index) + scratchDirs[i]
}

const scratchFlags = unix.MS_NOSUID | unix.MS_NODEV

// renew has fresh scratch directories on the root at s.index, in the size of s. Ones that nobody
// has touched stay. A descriptor of the old ones keeps them for whoever holds it.
func (z *zygote) renew(s scratch) error {
	old := z.scratch
	keep := old.mounted && old.placed == "" && old.index == s.index && old.bytes == s.bytes && old.inodes == s.inodes
	z.scratch.mounted = false
	if old.cover != "" {
		if err := unix.Unmount(rootPath(old.index)+old.cover, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmounting %s: %w", old.cover, err)
		}
	}
	s.placed, s.cover = "", ""
	for i, d := range scratchDirs {
		at := s.path(i)
		if keep && old.used[i] == old.fresh[i].inodes && untouched(at, &old.fresh[i].dir) {
			s.fresh[i] = old.fresh[i]
			continue
		}
		if old.mounted && (i > 0 || old.cover == "") { // with the cover went what was on it
			if err := unix.Unmount(old.path(i),
				unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmounting %s: %w", d, err)
			}
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", scratchFlags, s.options(true)); err != nil {
			return fmt.Errorf("mounting %s: %w", d, err)
		}
		var err error
		if s.fresh[i].inodes, _, err = usage(at); err == nil {
			err = unix.Lstat(at, &s.fresh[i].dir)
		}
		if err != nil {
			return err
		}
	}
	s.mounted, s.used = true, [len(scratchDirs)]uint64{}
	z.scratch = s
	return nil
}

// untouched reports whether the directory at dir, in which nothing is, is as it was when it was
// mounted. Whatever is done to it changes its ctime; that may be too coarse to tell what happens
// within a tick of mounting, hence the rest.
func untouched(dir string, then *unix.Stat_t) bool {
	var now unix.Stat_t
	if unix.Lstat(dir,
		&now) != nil || now.Ctim != then.Ctim || now.Mtim != then.Mtim || now.Mode != then.Mode || now.Size != then.Size || now.Nlink != then.Nlink {
		return false
	}
	n, err := unix.Llistxattr(dir, nil)
	return n == 0 && (err == nil || err == unix.EOPNOTSUPP)
}

// options of a tmpfs; only a fresh one takes a mode.
func (s scratch) options(fresh bool) string {
	o := fmt.Sprintf("size=%d,nr_inodes=%d", s.bytes, s.inodes)
	if fresh {
		o += ",mode=0755"
	}
	return o
}

// resize has the scratch directories ready on the root at s.index in the size of s.
func (z *zygote) resize(s scratch) error {
	if s.index < 0 || s.index >= keptRoots || !z.roots[s.index] || s.bytes <= 0 || s.inodes <= 0 {
		return unix.EINVAL
	}
	have := z.scratch
	if !have.mounted || have.index != s.index {
		return z.renew(s)
	}
	if have.bytes == s.bytes && have.inodes == s.inodes {
		return nil
	}
	for i, d := range scratchDirs {
		if err := unix.Mount("", have.path(i), "", unix.MS_REMOUNT|scratchFlags,
			s.options(false)); err != nil {
			return fmt.Errorf("resizing %s: %w", d, err)
		}
	}
	z.scratch.bytes, z.scratch.inodes = s.bytes, s.inodes
	return nil
}

// full reports whether a scratch directory has no room left, and notes what is in use of each: all
// is dead, so that lasts.
func (z *zygote) full() (full bool) {
	for i := range scratchDirs {
		inodes, none, err := usage(z.scratch.path(i))
		if err == nil {
			z.scratch.used[i] = inodes
			full = full || none
		}
	}
	return full
}

// setupHint says what to do where a zygote cannot be set up.
func setupHint(err error) string {
	read := func(name string) string {
		b, _ := os.ReadFile("/proc/sys/" + name)
		return strings.TrimSpace(string(b))
	}
	switch {
	case read("kernel/unprivileged_userns_clone") == "0":
		return "user namespaces are off for users; turn them on: sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case read("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces; allow them: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case read("user/max_user_namespaces") == "0":
		return "user namespaces are off; turn them on: sudo sysctl -w user.max_user_namespaces=15000"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return "there are too many user namespaces; allow more: sudo sysctl -w user.max_user_namespaces=100000"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "in a container, start it with: docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return "the kernel must be Linux 5.12 or newer, with user namespaces"
	}
	return "see dmesg"
}
