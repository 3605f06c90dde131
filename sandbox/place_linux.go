package sandbox

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// place moves the job directory, with what is laid out in it, to where the command is to see it: a
// directory of the root, or one that is made below /tmp or below an empty directory of the root.
// Debug information, __FILE__ and messages of a compiler name its working directory, and are then
// those of the machine that the sources are from. The root need not have the whole path: then each
// directory with sources would need a root, some thousand links, of its own.
//
// The zygote resolves that path again when the command has ended, so nothing on it may give way to
// a link of the command's: each directory is the root's own, a mount point, which cannot be
// renamed, or on a file system that is read-only by the time the command starts. As an ordinary
// user command and zygote have one uid, so modes would not do.
func (z *zygote) place(dir string) error {
	if err := wire.CheckJobDir(dir); err != nil {
		return err
	}
	at, err := z.roomFor(dir)
	if err != nil {
		return wire.Errorf(wire.CauseNotInRoot, "a root must have the directory in which the job is to be seen, or an empty one above it",
			"the root has no room for the job directory %s (%v)", dir, err)
	}
	defer unix.Close(at)
	if err := unix.MoveMount(unix.AT_FDCWD, z.scratch.path(0), at, "", unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return err
	}
	z.scratch.placed = dir
	if z.scratch.cover == "" {
		return nil
	}
	const readOnly = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | scratchFlags
	if err := unix.Mount("", rootPath(z.scratch.index)+z.scratch.cover, "", readOnly, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", z.scratch.cover, err)
	}
	return nil
}

// roomFor opens the directory at which the job is to be seen, and makes it if need be.
func (z *zygote) roomFor(dir string) (int, error) {
	if below, ok := strings.CutPrefix(dir, tmpDir+"/"); ok {
		name, deeper, _ := strings.Cut(below, "/")
		at, err := makeBelow(rootPath(z.scratch.index)+tmpDir, name)
		if err != nil || deeper == "" {
			return at, err
		}
		defer unix.Close(at)
		if err := z.cover(at, tmpDir+"/"+name); err != nil {
			return -1, err
		}
		return makeBelow(rootPath(z.scratch.index)+tmpDir+"/"+name, deeper)
	}
	root, err := z.openRoot()
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	for have, below := dir, ""; ; {
		at, err := openBeneath(root, have[1:], unix.O_PATH|unix.O_DIRECTORY)
		switch {
		case err == nil && below == "":
			return at, nil
		case err == nil:
			defer unix.Close(at)
			if err := z.cover(at, have); err != nil {
				return -1, err
			}
			return makeBelow(rootPath(z.scratch.index)+have, below)
		case err != unix.ENOENT || path.Dir(have) == "/":
			return -1, err
		}
		have, below = path.Dir(have), path.Join(path.Base(have), below)
	}
}

// cover mounts a small tmpfs on an empty directory, opened as at.
func (z *zygote) cover(at int, dir string) error {
	if names, err := os.ReadDir("/proc/self/fd/" + strconv.Itoa(at)); err != nil || len(names) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	if err := unix.Mount("tmpfs", rootPath(z.scratch.index)+dir, "tmpfs", scratchFlags, "size=64k,nr_inodes=300,mode=0755"); err != nil {
		return err
	}
	z.scratch.cover = dir
	return nil
}

// makeBelow makes the directories of p below the one at dir, and opens the last.
func makeBelow(dir, p string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	for name := range strings.SplitSeq(p, "/") {
		if err != nil {
			return -1, err
		}
		parent := fd
		err = unix.Mkdirat(parent, name, 0o755)
		if err == nil || err == unix.EEXIST {
			fd, err = openBeneath(parent, name, unix.O_PATH|unix.O_DIRECTORY)
		}
		unix.Close(parent)
	}
	return fd, err
}

// cwd is the working directory that a command sees.
func (s *Spec) cwd() string {
	if s.JobDir == "" {
		return jobDir
	}
	return path.Join(s.JobDir, s.WorkDir)
}

// streamOf returns which stream an output path stands for, 0 for the standard output, 1 for the
// standard error, -1 for none.
func (s *Spec) streamOf(p string) int {
	switch {
	case p == wire.Stdout:
		return 0
	case p == wire.Stderr && s.JobDir != "":
		return 1
	}
	return -1
}
