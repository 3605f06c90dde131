// Package placeholder stands files up that are still to be made, so that nobody sees one unmade.
//
// A placeholder is an ordinary file under a write lease (fcntl(2), F_SETLEASE): the kernel makes
// everybody who opens, runs or truncates it wait until the holder gives the lease up, which it does
// when the contents are there. A lease needs no privilege and costs others nothing; it belongs to the
// file and not to a name, so that a placeholder may be renamed, linked, touched and removed as any
// file. The kernel waits for 45 s only (/proc/sys/fs/lease-break-time): whoever waits that long has
// to be stopped before, by Freeze, and looks again when it goes on.
//
// Linux alone has such leases, and not on all file systems.
package placeholder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrUnsupported is why no placeholder can be made: the system, or the file system, has no leases.
var ErrUnsupported = errors.New("files cannot be leased here")

// size is that of every placeholder.
const size = 256

// magic begins every placeholder after its first line.
const magic = "# placeholder of gaggle"

// text is what a placeholder holds: one that outlives a build which was killed says so if it is run.
var text = func() string {
	s := "#!/bin/sh\n" + magic + "\n" +
		"echo \"$0 was still to be made when its build was killed: run coord make again\" >&2\nexit 125\n#"
	return s + strings.Repeat(" ", size-1-len(s)) + "\n"
}()

// Is reports whether a file is a placeholder that nobody holds any more, or begins as one because its
// contents were not put in to the end.
func Is(path string, info fs.FileInfo) bool {
	if !info.Mode().IsRegular() || info.Size() < size {
		return false
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0) // one that is held cannot be opened so
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, size)
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == text
}

// MayBe reports whether a file may be a placeholder that somebody holds. Opening it would tell, but have
// the kernel believe that its contents are waited for.
func MayBe(info fs.FileInfo) bool { return info.Mode().IsRegular() && info.Size() == size }

// AsNew gives a file that was renamed into place the time of its directory, as if it had been made
// there: make may have it depend on the directory. The time is the file system's own, which may be
// behind the clock by some milliseconds, as are the times of all files that are written.
func AsNew(path string) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	return os.Chtimes(path, dir.ModTime(), dir.ModTime())
}

// An ID names a file of this machine, whatever it is called.
type ID struct{ Device, Inode uint64 }

func (i ID) String() string { return fmt.Sprintf("%d:%d", i.Device, i.Inode) }
