package blobstore

import (
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reflink makes dst share the blocks of src, both whole files. It reports whether the file
// system could.
func reflink(dst, src *os.File) bool {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
}

// reserve allocates size bytes for f, so that a full disk is noticed before they are moved.
// File systems that cannot are no error.
func reserve(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if err == unix.ENOSPC || err == unix.EDQUOT {
		return os.NewSyscallError("fallocate", err)
	}
	return nil
}

// exchange swaps two names at once; it reports whether the file system could.
func exchange(a, b string) bool {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil
}

// setLinkTime sets the modification time of a symlink itself.
func setLinkTime(path string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// bootID names this run of the kernel; what was written in it is not torn by a mere crash of a
// process.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// changeTime returns the inode's change time and number.
func changeTime(fi os.FileInfo) (ctime int64, inode uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Ctim.Nano(), st.Ino
}
