package sandbox

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A command on a network asks the resolver for names, whatever its root has in /etc, which is of the
// machine where it was captured. "files" alone, as captured roots have it, would ask nobody.
var networkEtc = map[string]string{
	"resolv.conf":   "nameserver " + Resolver.String() + "\noptions ndots:0\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}

const (
	etcStage = "/etc" // in the zygote's own file system, where /etc is put together
	// maxEtc bounds the entries of a root's /etc, each of which becomes a mount. Debian has 200.
	maxEtc = 2_000
)

// dressEtc replaces /etc of the root at dir by a tmpfs in which everything is as there, but for
// networkEtc. Not an overlay: users may mount that since Linux 5.11 only, and not where its module
// is missing.
func (z *zygote) dressEtc(dir string) error {
	etc := filepath.Join(dir, "etc")
	entries, err := os.ReadDir(etc)
	if info, e := os.Lstat(etc); e != nil || !info.IsDir() || err != nil {
		return wire.Errorf(wire.CauseNotInRoot, "add an empty one", "the root of a task on a network has no directory /etc")
	}
	if len(entries) > maxEtc {
		return wire.Errorf(wire.CauseNotInRoot, "", "the root of a task on a network has %d files in /etc, more than %d", len(entries), maxEtc)
	}
	if err := os.Mkdir(etcStage, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	if err := unix.Mount("tmpfs", etcStage, "tmpfs", scratchFlags, fmt.Sprintf("size=64k,nr_inodes=%d,mode=0755", maxEtc+10)); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	if err := z.fillEtc(etc, entries); err != nil {
		unix.Unmount(etcStage, unix.MNT_DETACH)
		return fmt.Errorf("putting /etc together: %w", err)
	}
	if err := unix.Mount(etcStage, etc, "", unix.MS_MOVE, ""); err != nil {
		unix.Unmount(etcStage, unix.MNT_DETACH)
		return fmt.Errorf("moving /etc: %w", err)
	}
	return nil
}

func (z *zygote) fillEtc(etc string, entries []os.DirEntry) error {
	for name, text := range networkEtc {
		if err := os.WriteFile(filepath.Join(etcStage, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if _, ours := networkEtc[e.Name()]; ours {
			continue
		}
		if err := showEntry(filepath.Join(etc, e.Name()), filepath.Join(etcStage, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	return unix.Mount("", etcStage, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|scratchFlags, "")
}

// showEntry has what is at from be seen at to.
func showEntry(from, to string, kind os.FileMode) error {
	switch {
	case kind&os.ModeSymlink != 0:
		text, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(text, to)
	case kind.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
	case kind.IsRegular():
		if err := os.WriteFile(to, nil, 0o644); err != nil {
			return err
		}
	default:
		return nil // no root has such
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attach(fd, unix.AT_FDCWD, to)
}
