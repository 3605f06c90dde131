package overlay

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests with a sandbox as an ordinary user runs them, with /dev/net/tun as udev makes it, open to
// all, and closed.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("already an ordinary user")
	}
	if os.Getenv("GAGGLE_TUN") != "" {
		asUser(t)
		return
	}
	dir, err := os.MkdirTemp("", "gaggle-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "test")
	copyFile(t, "/proc/self/exe", program)
	if err := os.Chown(dir, userID, userID); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestAsUser$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GAGGLE_TUN="+dir, "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const userID = 65_533

// asUser has its own mount namespace: it puts a device of its own in place of the machine's and goes on
// as the user.
func asUser(t *testing.T) {
	dir := os.Getenv("GAGGLE_TUN")
	tun := filepath.Join(dir, "tun")
	if err := unix.Mknod(tun, unix.S_IFCHR, int(unix.Mkdev(10, 200))); err != nil {
		t.Skip("making a device: ", err)
	}
	if err := unix.Mount(tun, "/dev/net/tun", "", unix.MS_BIND, ""); err != nil {
		t.Skip("mounting a device: ", err)
	}
	for how, mode := range map[string]os.FileMode{"by a TUN device": 0o666, "by a pair of devices": 0} {
		if err := os.Chmod(tun, mode); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(dir, "test"), "-test.v", "-test.run=^(TestCommandsTalk|TestNetworkedCommandIsConfined|TestTrial)$")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "GAGGLE_HOW="+how)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userID, Gid: userID}}
		out, err := cmd.CombinedOutput()
		t.Logf("%s:\n%s", how, out)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := io.Copy(g, f); err != nil {
		t.Fatal(err)
	}
}
