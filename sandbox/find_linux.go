package sandbox

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A programKey is a name that was sought along a PATH in the root at an index.
type programKey struct {
	root            int
	cwd, path, name string
}

// maxPrograms bounds those that are remembered.
const maxPrograms = 256

// program looks a command up as execvp does, inside the root. Where a name leads that the root
// alone decides about is remembered while that is mounted.
func (z *zygote) program(x *execRequest) (string, error) {
	search, _ := lookupEnv(x.Env, "PATH")
	k := programKey{z.scratch.index, x.Cwd, search, x.Argv[0]}
	if p := z.programs[k]; p != "" {
		return p, nil
	}
	root, err := z.openRoot()
	if err != nil {
		return "", err
	}
	defer unix.Close(root)
	find := findInPath
	if strings.Contains(x.Argv[0], "/") {
		find = findFile
	}
	p, lasting, err := find(root, x.Cwd, search, x.Argv[0])
	if err == nil && lasting {
		if z.programs == nil || len(z.programs) >= maxPrograms {
			z.programs = map[programKey]string{}
		}
		z.programs[k] = p
	}
	return p, err
}

// findFile is findInPath for a name with a slash.
func findFile(root int, cwd, _, name string) (program string, lasting bool, err error) {
	p := name
	if !path.IsAbs(p) {
		p = path.Join(cwd, p)
	}
	lasting, err = executable(root, p)
	switch {
	case err == unix.ENOENT && !path.IsAbs(name):
		return "", false, wire.Errorf(wire.CauseNotInRoot, "add it to inputs",
			"there is no %q in the job directory", name)
	case err == unix.ENOENT:
		return "", false, wire.Errorf(wire.CauseNotInRoot, "add it to tools", "%q is not in the root", name)
	case err != nil:
		return "", false, wire.Errorf(wire.CauseNotInRoot, "it must be a file with the executable bit",
			"%q cannot be executed", name)
	}
	return p, lasting, nil
}

// findInPath seeks a name in the directories of PATH. What it finds is lasting if nothing that it
// looked at can change while the root is mounted.
func findInPath(root int, cwd, search, name string) (program string, lasting bool, err error) {
	forbidden := ""
	lasting = true
	for dir := range strings.SplitSeq(search, ":") {
		p := path.Join(cwd, dir, name)
		if path.IsAbs(dir) {
			p = path.Join(dir, name)
		}
		fixed, err := executable(root, p)
		lasting = lasting && fixed
		switch err {
		case nil:
			return p, lasting, nil
		case unix.EACCES:
			forbidden = p
		}
	}
	if forbidden != "" {
		return "", false, wire.Errorf(wire.CauseNotInRoot, "it must be a file with the executable bit",
			"%q cannot be executed", forbidden)
	}
	return "", false, wire.Errorf(wire.CauseNotInRoot, "add it to tools", "%q is not in the root; looked in %s",
		name, search)
}

// executable returns nil if p is a program in the root, EACCES if it is something else there,
// else ENOENT. It is fixed if the way there does not leave the root's own mount, which is
// read-only, for /job, say.
func executable(root int, p string) (fixed bool, err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	fd, err := unix.Openat2(root, p, &how)
	fixed = err != unix.EXDEV
	if !fixed {
		how.Resolve &^= unix.RESOLVE_NO_XDEV
		fd, err = unix.Openat2(root, p, &how)
	}
	if err != nil {
		return fixed, unix.ENOENT
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return fixed, unix.EACCES
	}
	return fixed, nil
}
