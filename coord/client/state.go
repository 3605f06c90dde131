package client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gaggle/wire"
)

// DefaultState returns the state directory of a user who names none: $GAGGLE_STATE, else
// ~/.local/state/gaggle/coord.
func DefaultState() (string, error) {
	if dir := os.Getenv("GAGGLE_STATE"); dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", wire.Errorf(wire.CauseInvalid, "set $GAGGLE_STATE to a directory of yours", "finding a place for the state: %v", err)
	}
	return filepath.Join(home, ".local", "state", "gaggle", "coord"), nil
}

// A stateDir is the path of a state directory.
type stateDir string

func (d stateDir) path(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// maxSocketPath is what every system takes as the path of a unix socket: sun_path has 104 bytes
// on macOS and 108 on Linux, with a NUL at the end.
const maxSocketPath = 103 - len(toolSuffix)

// toolSuffix is what the socket of tools is called besides.
const toolSuffix = ".tools"

// socket returns where the agent listens. A path too long for a socket is replaced by one in the
// temporary directory, named by its hash and in a directory that only this user can enter.
func (d stateDir) socket() (string, error) {
	path := d.path("agent.sock")
	if len(path) <= maxSocketPath {
		return path, nil
	}
	dir := filepath.Join(os.TempDir(), "gaggle-"+strconv.Itoa(os.Getuid()))
	if err := privateDir(dir); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(d))
	return filepath.Join(dir, hex.EncodeToString(sum[:8])+".sock"), nil
}

// privateDir makes dir, or checks that the one there is ours alone.
func privateDir(dir string) error {
	const other = "use another state directory (--state, $GAGGLE_STATE)"
	if err := os.MkdirAll(dir, 0o700); errors.Is(err, fs.ErrPermission) {
		return wire.Errorf(wire.CauseUnauthorized, other, "%v", err)
	} else if err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return wire.Errorf(wire.CauseInvalid, "remove it", "%s is not a directory", dir)
	case info.Mode().Perm()&0o077 == 0:
		d, err := os.Open(dir)
		if err != nil {
			return wire.Errorf(wire.CauseUnauthorized, other, "%s is another user's: %v", dir, err)
		}
		return d.Close()
	}
	// Chmod fails if the directory is another user's.
	if err := os.Chmod(dir, 0o700); err != nil {
		return wire.Errorf(wire.CauseUnauthorized, other, "%s is open to other users: %v", dir, err)
	}
	return nil
}

// LockDir takes the lock of a directory, named name in it, and notes the pid of this process
// there. If another process holds it, held is false and pid is that process's, 0 if it cannot be
// told.
func LockDir(dir, name string) (release func(), pid int, held bool, err error) {
	if err := privateDir(dir); err != nil {
		return nil, 0, false, err
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, false, err
	}
	ok, err := tryLock(f)
	if err != nil || !ok {
		f.Close()
		if err != nil {
			return nil, 0, false, fmt.Errorf("locking %s: %w", path, err)
		}
		return nil, holder(path), false, nil
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, 0, false, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, os.Getpid(), true, nil
}

// holder returns the pid in a lock file, 0 if there is none.
func holder(path string) int {
	b, err := os.ReadFile(path)
	if err != nil || len(b) > 32 {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// buildHead is how much of an executable tells builds apart: the linker writes the build id, a
// hash of everything that went in, into an ELF note or the begin of the text, which cmd/go itself
// looks for in the first 32 KiB (cmd/internal/buildid).
const buildHead = 64 << 10

// BuildID returns a name of this build of the program.
func BuildID() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.CopyN(h, f, min(buildHead, info.Size())); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil)[:8], info.Size()), nil
}
