package capture

import (
	"io/fs"
	"syscall"
)

// changeTime returns the inode's change time in nanoseconds, and its number.
func changeTime(fi fs.FileInfo) (ctime int64, inode uint64) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ctim.Nano(), st.Ino
	}
	return 0, 0
}
