package client

import "golang.org/x/sys/unix"

// memory returns how many bytes this machine gives to thunks: four fifths of what it has, so that
// the user's own programs go on.
func memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit) / 5 * 4
}
