package sandbox

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// place moves the job directory, with what is laid out in it, to where the command is to see it:
// a directory of the root, or one below /tmp, which is made. Debug information, __FILE__ and
// messages of a compiler name its working directory, and are then those of the machine that the
// sources are from.
func (z *zygote) place(dir string) error {
	if err := wire.CheckJobDir(dir); err != nil {
		return err
	}
	root, err := z.openRoot()
	if err != nil {
		return err
	}
	defer unix.Close(root)
	var at int
	if below, ok := strings.CutPrefix(dir, tmpDir+"/"); ok {
		at, err = makeBelow(rootPath(z.scratch.index)+tmpDir, below)
	} else {
		at, err = openBeneath(root, dir[1:], unix.O_PATH|unix.O_DIRECTORY)
	}
	if err != nil {
		return wire.Errorf(wire.CauseNotInRoot, "a root must have the directory in which the job is to be seen",
			"the root has no directory %s (%v)", dir, err)
	}
	defer unix.Close(at)
	err = unix.MoveMount(unix.AT_FDCWD, z.scratch.path(0), at, "", unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err == nil {
		z.scratch.placed = dir
	}
	return err
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
