package clustertest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bareArg makes this program the first one on a bare host.
const bareArg = "clustertest-bare-host"

// BareMain becomes a program of a bare host if this process was started for that, and does not
// return then. A test binary calls it first of all.
func BareMain() {
	if len(os.Args) < 4 || os.Args[1] != bareArg {
		return
	}
	err := enterBare(os.Args[2])
	if err == nil {
		program := "/" + os.Args[3]
		err = fmt.Errorf("starting %s: %w", program, unix.Exec(program, os.Args[3:], []string{"HOME=/state", "GAGGLE_NODE_STATE=/state/node"}))
	}
	fmt.Fprintln(os.Stderr, "bare host:", err)
	os.Exit(1)
}

// BareHost adds a machine with nothing on its disk but the named static binaries of the lab, in /:
// no shell, no library, no file in /etc. Of this machine it has the kernel alone. Programs run
// there in mount namespaces of their own, from which no other file can be reached.
func (l *Lab) BareHost(name string, binaries ...string) *Host {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	h := l.Host(name)
	h.enter = []string{"unshare", "--mount", self, bareArg, h.Dir}
	for _, b := range binaries {
		if err := copyProgram(filepath.Join(l.bin, b), filepath.Join(h.Dir, b)); err != nil {
			l.t.Fatal(err)
		}
	}
	return h
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// bareDirs are the directories of a bare host; those with a type are file systems of the kernel.
var bareDirs = []struct {
	path, fs, data string
	mode           os.FileMode
}{
	{"proc", "proc", "", 0o755}, {"dev", "devtmpfs", "", 0o755}, {"dev/shm", "tmpfs", "mode=1777", 0o755},
	{"tmp", "tmpfs", "mode=1777", 0o755}, {"state", "", "", 0o755}, {"sys", "", "", 0o755},
}

// enterBare makes dir the root of this process, whose mount namespace is its own already.
func enterBare(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s: %w", dir, err)
	}
	for _, d := range bareDirs {
		at := filepath.Join(dir, d.path)
		if err := os.MkdirAll(at, d.mode); err != nil {
			return err
		}
		if d.fs == "" {
			continue
		}
		if err := unix.Mount(d.fs, at, d.fs, unix.MS_NOSUID, d.data); err != nil {
			return fmt.Errorf("mounting %s: %w", d.path, err)
		}
	}
	// With the control groups, which are mounted below it.
	if err := unix.Mount("/sys", filepath.Join(dir, "sys"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding /sys: %w", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	// The old root is stacked upon the new one, and leaves with all that is mounted in it.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return unix.Chdir("/")
}
