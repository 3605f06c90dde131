package main

import "golang.org/x/sys/unix"

// memory returns how many bytes this machine gives to tasks: four fifths of what it has, so that
// the programs of whoever sits there go on.
func memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit) / 5 * 4
}

// freeDisk returns how many bytes an ordinary user may still write below dir; 0 if that cannot be
// told.
func freeDisk(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
