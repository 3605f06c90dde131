package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeZygote does to every process that is not its own whatever one of the same uid might: the
// zygote's threads have ids below firstPid, which cannot be seen.
func probeZygote([]string) error {
	var info [128]byte
	*(*int32)(unsafe.Pointer(&info[8])) = -1 // si_code SI_QUEUE
	for pid := 1; pid < firstPid; pid++ {
		for s := syscall.Signal(1); s <= 64; s++ {
			unix.Kill(pid, s)
			unix.Tgkill(1, pid, s)
			*(*int32)(unsafe.Pointer(&info[0])) = int32(s)
			unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(s), uintptr(unsafe.Pointer(&info)))
		}
		for what := range 16 {
			if err := unix.Prlimit(pid, what, &unix.Rlimit{}, nil); err == nil {
				return fmt.Errorf("limited %d of process %d", what, pid)
			}
		}
		if unix.Setpriority(unix.PRIO_PROCESS, pid, 19) == nil {
			return fmt.Errorf("gave process %d a priority", pid)
		}
	}
	for s := syscall.Signal(1); s <= 64; s++ {
		if fd, err := unix.PidfdOpen(1, 0); err == nil {
			unix.PidfdSendSignal(fd, s, nil, 0)
			unix.Close(fd)
		}
	}
	return nil
}

// probeSmuggle leaves descriptors in flight: sockets that nobody has open, but for the message in
// their own queue, until the kernel looks for such cycles.
func probeSmuggle([]string) error {
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		err = errors.Join(unix.Bind(listener, &unix.SockaddrUnix{Name: "@left"}), unix.Listen(listener, 5))
	}
	if err != nil {
		return err
	}
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.Bind(udp, &unix.SockaddrInet4{Port: 7072, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		return err
	}
	file, err := unix.Open("/job", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	for range 50 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		rights := unix.UnixRights(pair[0], pair[1], listener, udp, file)
		if err := unix.Sendmsg(pair[0], []byte("x"), rights, nil, 0); err != nil {
			return err
		}
		if err := unix.Sendmsg(pair[1], []byte("x"), rights, nil, 0); err != nil {
			return err
		}
	}
	return nil
}

// probeFresh fails if something of the attacks is still there.
func probeFresh([]string) error {
	for _, d := range scratchDirs {
		list, err := os.ReadDir(d)
		if i, e := os.Stat(d); err != nil || e != nil || len(list) > 0 || i.Mode().Perm() != 0o755 {
			return fmt.Errorf("%s holds %v, is %v, %v", d, list, i.Mode(), errors.Join(err, e))
		}
	}
	if err := probeConfined(nil); err != nil {
		return err
	}
	if c, err := net.Dial("unix", "@left"); err == nil {
		c.Close()
		return errors.New("reached the socket of another command")
	}
	l, err := net.Listen("unix", "@left")
	if err != nil {
		return err
	}
	l.Close()
	c, err := net.ListenPacket("udp", "127.0.0.1:7072")
	if err != nil {
		return err
	}
	return c.Close()
}

// probeFlee detaches, and forks for ever to be somewhere else when it is killed.
func probeFlee(args []string) error {
	if len(args) == 0 {
		for range 20 {
			cmd := exec.Command("/bin/probe", "flee", "on")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
		}
		return nil
	}
	os.WriteFile("/job/late", []byte("x"), 0o644)
	_, err := syscall.ForkExec("/bin/probe", []string{"probe", "flee", "on"},
		&syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
	return err
}

// probeSwap has a detached child put all kinds of things at out/f while it ends itself.
func probeSwap(args []string) error {
	if len(args) == 0 {
		if err := os.Mkdir("out", 0o755); err != nil {
			return err
		}
		cmd := exec.Command("/bin/probe", "swap", "on")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		return nil
	}
	for {
		for _, target := range []string{"/etc/passwd", "../../../../../etc/passwd", "/proc/self/fd/0", "/", "..", "g"} {
			os.Symlink(target, "s")
			os.Rename("s", "out/f")
		}
		os.Link("/bin/sh", "h") // another mount
		os.Rename("h", "out/f")
		unix.Mkfifo("p", 0o644)
		os.Rename("p", "out/f")
		os.WriteFile("w", []byte("mine"), 0o644)
		os.Rename("w", "out/f")
		os.Rename("out", "aside")
		os.Symlink("/etc", "out")
		os.Remove("out")
		os.Rename("aside", "out")
	}
}

// probeBytes writes so many MiB to a file, over and over if there is no room.
func probeBytes(args []string) error {
	mib, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for range mib {
		if _, err := f.Write(block); err != nil && !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
	return nil
}

// probeFiles makes a directory with so many files, as far as there is room.
func probeFiles(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir("out", 0o755), os.Chdir("out")); err != nil {
		return err
	}
	for i := range n {
		fd, err := unix.Open(strconv.Itoa(i), unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err != nil {
			return nil // and call that success
		}
		unix.Close(fd)
	}
	return nil
}

// probeDepth makes a directory in a directory, as far as there is room.
func probeDepth([]string) error {
	for {
		if errors.Join(os.Mkdir("out", 0o755), os.Chdir("out")) != nil {
			return nil
		}
	}
}

// probeMemfd fills files that have no name.
func probeMemfd([]string) error {
	for {
		fd, err := unix.MemfdCreate("x", 0)
		if err != nil {
			return err
		}
		if err := unix.Ftruncate(fd, 16<<20); err != nil {
			return err
		}
		m, err := unix.Mmap(fd, 0, 16<<20, unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		for i := 0; i < len(m); i += 4096 {
			m[i] = 1
		}
		unix.Close(fd)
	}
}

// probeFlood writes so many MiB to both streams.
func probeFlood(args []string) error {
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = "flood\n"[i%6]
	}
	for range mib {
		os.Stdout.Write(block)
		os.Stderr.Write(block)
	}
	return nil
}

// probePrivy leaves a copy of itself with every bit that gives privileges, having tried it.
func probePrivy([]string) error {
	if err := exec.Command("/bin/cp", "/bin/probe", "/job/probe").Run(); err != nil {
		return err
	}
	if err := unix.Chmod("/job/probe", 0o6755); err != nil {
		return err
	}
	if unix.Setxattr("/job/probe", "security.capability", make([]byte, 20), 0) == nil {
		return errors.New("gave a file capabilities")
	}
	out, err := exec.Command("/job/probe", "setuid").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return os.Rename("/job/probe", filepath.Join("/job", "out"))
}
