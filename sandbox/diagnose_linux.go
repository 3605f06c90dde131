package sandbox

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Groups says what an engine of this process could do with cgroups.
type Groups struct {
	Layout string // "v2", "v1", "hybrid" (v1 with a v2 tree beside it) or "none"
	Memory bool   // memory of a run can be bounded
	Pids   bool   // and its processes
}

// LookAtGroups makes the cgroups of an engine and removes them again.
func LookAtGroups() Groups {
	own, err := ownGroups("/proc/self/cgroup", "/proc/self/mountinfo")
	if err != nil {
		own = nil
	}
	_, unified := own[""]
	v1 := own["memory"] != "" || own["pids"] != "" || own["freezer"] != ""
	layout := "none"
	switch {
	case unified && v1:
		layout = "hybrid"
	case unified:
		layout = "v2"
	case v1:
		layout = "v1"
	}
	g := openGroups()
	defer g.close() // what is left is removed by the next engine
	return Groups{Layout: layout, Memory: g.memory != "", Pids: g.pids != ""}
}

// TryNamespaces makes the namespaces of a slot around a process that ends at once.
func TryNamespaces() error {
	cmd := exec.Command("/proc/self/exe", holderArg)
	cmd.Args[0] = zygoteName
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
		unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	return cmd.Run()
}
