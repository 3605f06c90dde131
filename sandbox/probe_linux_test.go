package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe is what the test binary does as a command in a sandbox. It exits with 1 and says why on
// standard error if something is not as it should be.
func probe(what string, args []string) {
	runtime.LockOSThread()
	err := probes[what](args)
	if err != nil {
		fmt.Fprintln(os.Stderr, what+":", err)
		os.Exit(1)
	}
}

var probes = map[string]func(args []string) error{
	"refusals": probeRefusals,
	"confined": probeConfined,
	"tcp":      probeTCP,
	"dial":     probeDial,
	"bomb":     probeBomb,
	"threads":  probeThreads,
	"deface":   probeDeface,
	"hostile":  probeHostile,
	"many":     probeMany,
	"leave":    probeLeave,
	"stdin":    probeStdin,
	"setuid":   probeSetuid,
	"reach":    probeReach,
	"program":  probeProgram,
	"zygote":   probeZygote,
	"smuggle":  probeSmuggle,
	"fresh":    probeFresh,
	"flee":     probeFlee,
	"swap":     probeSwap,
	"bytes":    probeBytes,
	"files":    probeFiles,
	"depth":    probeDepth,
	"memfd":    probeMemfd,
	"flood":    probeFlood,
	"privy":    probePrivy,
}

// probeConfined looks at what the kernel says about this process.
func probeConfined([]string) error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		v = strings.TrimSpace(v)
		want, ok := map[string]string{
			"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
			"CapBnd": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
			"Uid": "1000\t1000\t1000\t1000", "Gid": "1000\t1000\t1000\t1000",
			"SigIgn": "0000000000000000", "NSpid": "100", "Umask": "0022",
		}[k]
		if ok && v != want {
			return fmt.Errorf("%s is %q, want %q", k, v, want)
		}
	}
	for _, what := range []string{"as it comes", "by default"} {
		slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil || time.Duration(slack) != 50*time.Microsecond {
			return fmt.Errorf("timer slack %s: %v, %v", what, time.Duration(slack), err)
		}
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0); err != nil {
			return err
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, fd := range fds {
		// The runtime's poller and this listing come on top of 0, 1 and 2.
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		ours := to == "anon_inode:[eventpoll]" || to == "anon_inode:[eventfd]" || strings.HasSuffix(to, "/fd")
		if n, _ := strconv.Atoi(fd.Name()); err == nil && n > 2 && !ours {
			return fmt.Errorf("descriptor %d is %s", n, to)
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || !slices.Equal(procs, []string{"/proc/100"}) {
		return fmt.Errorf("processes in sight: %v, %v", procs, err)
	}
	return nil
}

// probeTCP talks to itself over a fixed port, and leaves connections in TIME_WAIT.
func probeTCP([]string) error {
	for _, addr := range []string{"127.0.0.1:7070", "[::1]:7071"} {
		fd := unix.AF_INET
		if addr[0] == '[' {
			fd = unix.AF_INET6
		}
		if err := listenStrictly(fd, addr); err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
	}
	return nil
}

// listenStrictly listens without SO_REUSEADDR, which net.Listen sets: a port in TIME_WAIT fails.
func listenStrictly(family int, addr string) error {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return err
	}
	s, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte{127, 0, 0, 1}}
	if family == unix.AF_INET6 {
		sa = &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte{15: 1}}
	}
	if err := unix.Bind(s, sa); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(s, 1); err != nil {
		return err
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	served, _, err := unix.Accept(s)
	if err != nil {
		return err
	}
	unix.Write(served, []byte("hello"))
	unix.Close(served) // first to close: TIME_WAIT is on the listening port
	var b [10]byte
	if n, err := c.Read(b[:]); string(b[:n]) != "hello" {
		return fmt.Errorf("read %q, %v", b[:n], err)
	}
	return c.Close()
}

// probeDial fails if it reaches any of the addresses.
func probeDial(addrs []string) error {
	for _, a := range addrs {
		network := "tcp"
		if a[0] == '@' || a[0] == '/' {
			network = "unix"
		}
		if c, err := net.Dial(network, a); err == nil {
			c.Close()
			return fmt.Errorf("reached %s", a)
		}
	}
	return nil
}

func probeBomb([]string) error {
	for {
		cmd := exec.Command("/bin/probe", "bomb")
		if err := cmd.Start(); err != nil {
			return err
		}
	}
}

func probeThreads(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	stop := make(chan bool)
	for range n {
		go func() { runtime.LockOSThread(); <-stop }()
	}
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil || len(tasks) > n {
			return err
		}
		runtime.Gosched()
	}
}

// probeDeface does to each path what could change it, and ignores whether it can.
func probeDeface(paths []string) error {
	for _, p := range paths {
		os.Chmod(p, 0o777)
		if f, err := os.OpenFile(p, os.O_RDWR, 0); err == nil {
			f.WriteAt([]byte("defaced"), 0)
			if m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
				copy(m, "mapped")
			}
			f.Close()
		}
		if f, err := os.Open(p); err == nil {
			f.Chmod(0o666)
			for _, how := range []int{unix.MAP_SHARED, unix.MAP_PRIVATE} {
				defaceMapped(int(f.Fd()), how)
			}
			if g, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0); err == nil {
				g.WriteAt([]byte("defaced"), 0)
			}
		}
		os.Truncate(p, 1)
		os.Chtimes(p, syscallTime, syscallTime)
		unix.Setxattr(p, "user.x", []byte("y"), 0)
		os.Link(p, "link")
		os.WriteFile("other", []byte("renamed over"), 0o644)
		os.Rename("other", p)
		os.Remove(p)
		os.WriteFile(filepath.Join(p, "new"), []byte("x"), 0o644)
	}
	return nil
}

// defaceMapped writes to a read-only mapping by way of /proc/self/mem, which heeds no protection.
func defaceMapped(fd, how int) {
	m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, how)
	if err != nil {
		return
	}
	defer unix.Munmap(m)
	unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE)
	if mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0); err == nil {
		mem.WriteAt([]byte("forced"), int64(uintptr(unsafe.Pointer(&m[0]))))
		mem.Close()
	}
}

// probeHostile leaves an output of the given kind at "out".
func probeHostile(args []string) error {
	switch args[0] {
	case "fifo":
		return unix.Mkfifo("out", 0o644)
	case "device":
		return unix.Mknod("out", unix.S_IFCHR|0o600, 0) // a whiteout needs no privilege
	case "socket":
		_, err := net.Listen("unix", "out")
		if err == nil {
			os.Exit(0) // which leaves the file, as Close would not
		}
		return err
	case "non-utf8":
		return errors.Join(os.Mkdir("out", 0o755), os.WriteFile("out/\xff", nil, 0o644))
	case "non-utf8 link":
		return errors.Join(os.Mkdir("out", 0o755), os.Symlink("\xff", "out/l"))
	case "deep":
		for range 300 {
			if err := errors.Join(os.Mkdir("out", 0o755), os.Chdir("out")); err != nil {
				return err
			}
		}
		return nil
	case "sparse":
		f, err := os.Create("out")
		if err == nil {
			err = f.Truncate(1 << 50)
		}
		return err
	}
	return fmt.Errorf("unknown kind %s", args[0])
}

func probeMany(args []string) error {
	dirs, _ := strconv.Atoi(args[0])
	each, _ := strconv.Atoi(args[1])
	for d := range dirs {
		dir := fmt.Sprintf("out/%04d", d)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for f := range each {
			if err := os.WriteFile(fmt.Sprintf("%s/%04d", dir, f), []byte(strconv.Itoa(f%10)), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// probeLeave leaves everything that might be seen by the next command in the slot.
func probeLeave([]string) error {
	os.WriteFile("/tmp/left", []byte("x"), 0o644)
	os.WriteFile("/job/left", []byte("x"), 0o644)
	os.WriteFile("/dev/shm/left", []byte("x"), 0o644)
	if _, err := net.Listen("unix", "@left"); err != nil {
		return err
	}
	unix.Kill(1, unix.SIGTERM)
	unix.Kill(1, unix.SIGSEGV)
	unix.Kill(1, unix.SIGSTOP)
	unix.Kill(1, unix.SIGKILL)
	unix.Kill(1, unix.SIGURG)
	unix.Tgkill(1, 1, unix.SIGQUIT)
	unix.Chmod("/job", 0)
	unix.Setxattr("/job", "user.left", []byte("x"), 0)
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// probeStdin tries to change the file that is standard input.
func probeStdin([]string) error {
	unix.Fchmod(0, 0o777)
	unix.Ftruncate(0, 0)
	if f, err := os.OpenFile("/proc/self/fd/0", os.O_RDWR, 0); err == nil {
		f.WriteAt([]byte("defaced"), 0)
		return errors.New("opened standard input for writing")
	}
	_, err := os.Stdout.ReadFrom(os.Stdin)
	return err
}

// probeSetuid runs a setuid program of the root and looks who it is then.
func probeSetuid([]string) error {
	if os.Geteuid() != insideID || os.Getuid() != insideID {
		return fmt.Errorf("uid %d, %d", os.Getuid(), os.Geteuid())
	}
	return nil
}

// probeReach fails if any of the host paths exists.
func probeReach(paths []string) error {
	for _, p := range paths {
		if _, err := os.Lstat(p); err == nil {
			return fmt.Errorf("%s is in sight", p)
		}
	}
	return nil
}
