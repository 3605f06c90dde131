//go:build unix

package peer

import (
	"os"

	"gaggle/wire"
)

func checkPrivate(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return wire.Errorf(wire.CauseInvalid, "chmod 600 "+f.Name(),
			"others can read the identity %s (mode %04o)", f.Name(), fi.Mode().Perm())
	}
	return nil
}
