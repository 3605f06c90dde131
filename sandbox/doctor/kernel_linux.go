package doctor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
)

func look(c Config) []Finding {
	found := []Finding{kernel(), container(), userNamespaces(), procMount(), seccomp(), cgroups(c.Build), fileSystems(), devices(),
		disk(c.Dir), clock()}
	for _, addr := range c.UDP {
		found = append(found, port(addr))
	}
	return found
}

// setting reads a file of /proc/sys; "" if there is none.
func setting(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// oldest is the kernel that the sandbox needs: mount_setattr(2) with MOUNT_ATTR_IDMAP.
const oldestMajor, oldestMinor = 5, 12

func kernel() Finding {
	f := Finding{Name: "kernel"}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.State, f.Found = Broken, err.Error()
		return f
	}
	f.Found = unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(f.Found, "%d.%d", &major, &minor); err == nil &&
		(major < oldestMajor || major == oldestMajor && minor < oldestMinor) {
		f.State, f.Fix = Broken, fmt.Sprintf("install Linux %d.%d or newer", oldestMajor, oldestMinor)
	}
	return f
}

// containerKind names what this process is inside of, "" if nothing that tells.
func containerKind() string {
	switch {
	case exists("/.dockerenv"):
		return "docker"
	case exists("/run/.containerenv"):
		return "podman"
	case os.Getenv("KUBERNETES_SERVICE_HOST") != "":
		return "kubernetes"
	}
	b, err := os.ReadFile("/run/systemd/container")
	if kind := strings.TrimSpace(string(b)); err == nil && kind != "" {
		return kind
	}
	b, err = os.ReadFile("/proc/1/environ")
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if kind, ok := bytes.CutPrefix(v, []byte("container=")); ok && err == nil {
			return string(kind)
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func container() Finding {
	f := Finding{Name: "container", Found: "none"}
	if kind := containerKind(); kind != "" {
		f.Found = kind
	}
	return f
}

// nesting is how to start a container so that it can have sandboxes inside.
func nesting() string {
	switch containerKind() {
	case "kubernetes":
		return "in the pod's securityContext: seccompProfile: {type: Unconfined}, procMount: Unmasked"
	case "lxc", "lxc-libvirt":
		return "lxc config set CONTAINER security.nesting true"
	case "podman":
		return "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL ..."
	}
	return "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined ..."
}

func userNamespaces() Finding {
	return usersFacts{
		root: os.Geteuid() == 0, most: setting("user/max_user_namespaces"), clone: setting("kernel/unprivileged_userns_clone"),
		apparmor: setting("kernel/apparmor_restrict_unprivileged_userns"), unconfined: unconfined(), try: sandbox.TryNamespaces,
	}.finding()
}

// usersFacts is what decides whether user namespaces can be made and used.
type usersFacts struct {
	root                  bool
	most, clone, apparmor string // settings
	unconfined            bool   // by AppArmor
	try                   func() error
}

func (u usersFacts) finding() Finding {
	f := Finding{Name: "user namespaces", Found: "can be made"}
	switch {
	case u.most == "0":
		f.Found, f.Fix = "none may be made (user.max_user_namespaces is 0)", "sudo sysctl -w user.max_user_namespaces=15000"
	case !u.root && u.clone == "0":
		f.Found, f.Fix = "only root may make one (kernel.unprivileged_userns_clone is 0)", "sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case !u.root && u.apparmor == "1" && u.unconfined:
		f.Found = "AppArmor gives no rights in one to programs without a profile (kernel.apparmor_restrict_unprivileged_userns is 1)"
		f.Fix = "sudo make install  (it brings the profile " + profile + "), or sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	default:
		err := u.try()
		if err == nil {
			return f
		}
		f.Found = "cannot be made: " + err.Error()
		switch {
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
			f.Fix = "sudo sysctl -w user.max_user_namespaces=100000"
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
			f.Fix = "use a kernel with CONFIG_USER_NS"
		default:
			f.Fix = nesting()
		}
	}
	f.State = Broken
	return f
}

// profile is what make install puts into place.
const profile = "/etc/apparmor.d/gaggle"

// unconfined reports whether no AppArmor profile is for this process.
func unconfined() bool {
	b, err := os.ReadFile("/proc/self/attr/apparmor/current")
	if err != nil {
		b, err = os.ReadFile("/proc/self/attr/current")
	}
	return err == nil && strings.TrimSpace(strings.TrimRight(string(b), "\x00")) == "unconfined"
}

// procMount looks for what is mounted over parts of /proc: the kernel then refuses a new /proc to a
// user namespace, which would show what is hidden.
func procMount() Finding {
	f := Finding{Name: "/proc", Found: "in full view"}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.State, f.Found, f.Fix = Broken, "not mounted: "+err.Error(), "sudo mount -t proc proc /proc"
		return f
	}
	if over := maskedProc(b); len(over) > 0 {
		f.State, f.Found, f.Fix = Broken, "parts are hidden: "+strings.Join(over, " "), nesting()
		if containerKind() == "" {
			f.Fix = "sudo umount " + strings.Join(over, " ")
		}
	}
	return f
}

// maxMasks bounds how many hidden paths are named.
const maxMasks = 5

// harmless mounts hide nothing: their directories are empty for ever.
var harmless = []string{"/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd"}

// maskedProc returns what a mountinfo file says is mounted below /proc.
func maskedProc(mountinfo []byte) (over []string) {
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		// 36 35 98:0 /root /point options [tags] - type source superoptions
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || slices.Contains(harmless, fields[4]) || slices.Contains(over, fields[4]) {
			continue
		}
		if strings.HasPrefix(fields[4], "/proc/") && !strings.HasPrefix(fields[4], "/proc/self/") {
			over = append(over, fields[4])
		}
	}
	return over[:min(len(over), maxMasks)]
}

func seccomp() Finding {
	f := Finding{Name: "seccomp", Found: "filters can be set"}
	if _, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil {
		f.State, f.Found, f.Fix = Broken, "the kernel has none: "+err.Error(), "use a kernel with CONFIG_SECCOMP_FILTER"
	}
	return f
}

func cgroups(program string) Finding {
	g := sandbox.LookAtGroups()
	f := Finding{Name: "cgroups", Found: g.Layout + ": memory and processes of tasks are bounded"}
	if g.Memory && g.Pids {
		return f
	}
	var lacks []string
	if !g.Memory {
		lacks = append(lacks, "memory")
	}
	if !g.Pids {
		lacks = append(lacks, "processes")
	}
	f.State = Limited
	f.Found = g.Layout + ": no group of our own to bound " + strings.Join(lacks, " and ")
	f.Works = "tasks run; their " + strings.Join(lacks, " and ") + " are watched, not bounded; tasks of other tenants are not taken (node --unbounded takes them)"
	if g.Memory {
		f.Works = "tasks run; one that starts too many processes is not told apart from one that fails"
	}
	root := os.Geteuid() == 0
	switch {
	case containerKind() != "" && !root:
		f.Fix = "run the node as root, in a container with a writable /sys/fs/cgroup, or outside"
	case containerKind() != "":
		f.Fix = "start the container with a writable /sys/fs/cgroup: docker run --cgroupns=private --privileged ..., or run the node outside"
	case g.Layout == "none" && root:
		f.Fix = "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup"
	case g.Layout == "none":
		f.Fix = "mount them: sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup"
	case g.Layout == "v2" && root:
		f.Fix = "systemd-run --scope -p Delegate=yes " + program
	case g.Layout == "v2":
		f.Fix = "systemd-run --user --scope -p Delegate=yes " + program
	default:
		f.Fix = "run the node as root, or boot with systemd.unified_cgroup_hierarchy=1 and start it with: systemd-run --user --scope -p Delegate=yes " + program
	}
	return f
}

func fileSystems() Finding {
	f := Finding{Name: "file systems", Found: "tmpfs, overlay"}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		f.State, f.Found = Limited, "cannot be listed: "+err.Error()
		return f
	}
	has := strings.Fields(string(b))
	switch {
	case !slices.Contains(has, "tmpfs"):
		f.State, f.Found, f.Fix = Broken, "no tmpfs", "use a kernel with CONFIG_TMPFS"
	case !slices.Contains(has, "overlay"):
		f.State, f.Found, f.Fix = Limited, "no overlay", "sudo modprobe overlay"
		f.Works = "tasks run; those with very many inputs start more slowly"
	}
	return f
}

func devices() Finding {
	f := Finding{Name: "/dev", Found: "has what tasks get of it"}
	var lacks []string
	for _, d := range []string{"full", "null", "random", "urandom", "zero"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join("/dev", d), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
			lacks = append(lacks, "/dev/"+d)
		}
	}
	if len(lacks) > 0 {
		f.State, f.Found, f.Fix = Broken, "lacks "+strings.Join(lacks, " "), "sudo mount -t devtmpfs dev /dev, or mknod them as in mem(4), null(4), random(4)"
	}
	return f
}
