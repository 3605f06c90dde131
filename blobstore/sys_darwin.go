package blobstore

import (
	"os"
	"syscall"
)

// changeTime returns the inode's change time and number.
func changeTime(fi os.FileInfo) (ctime int64, inode uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Ctimespec.Nano(), st.Ino
}
