package clustertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// CutOut drops what the host sends; what is sent to it still arrives.
func (h *Host) CutOut() { h.drop(h.ns, "eth0") }

// CutIn drops what is sent to the host; what it sends still arrives.
func (h *Host) CutIn() { h.drop(h.lab.switchNS(), h.port) }

// HealOut ends a CutOut, HealIn a CutIn. A rate that was set is gone.
func (h *Host) HealOut() { h.pass(h.ns, "eth0") }

// HealIn ends a CutIn.
func (h *Host) HealIn() { h.pass(h.lab.switchNS(), h.port) }

// drop has what leaves by an interface go nowhere, without telling the sender.
func (h *Host) drop(ns, dev string) {
	h.lab.t.Helper()
	h.lab.run("tc", "-n", ns, "qdisc", "replace", "dev", dev, "root", "blackhole")
}

func (h *Host) pass(ns, dev string) {
	h.lab.t.Helper()
	h.lab.run("tc", "-n", ns, "qdisc", "del", "dev", dev, "root")
}

// SmallDisk makes the host's node state a file system of its own, in memory, of so many MiB.
func (h *Host) SmallDisk(mib int) (dir string) {
	h.lab.t.Helper()
	dir = filepath.Join(h.Dir, "node")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.lab.t.Fatal(err)
	}
	h.lab.run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "tmpfs", dir)
	h.lab.t.Cleanup(func() { h.lab.try("umount", "--lazy", dir) })
	return dir
}

// Freeze stops the process and all that it has started, as a suspended machine does; Thaw lets
// them go on. The clocks of this machine do not stop, so no clock differs between the two.
func (p *Process) Freeze() { p.signalTree(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (p *Process) Thaw() { p.signalTree(syscall.SIGCONT) }

func (p *Process) signalTree(s syscall.Signal) {
	p.h.lab.t.Helper()
	for _, pid := range tree(p.cmd.Process.Pid) {
		if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH {
			p.h.lab.t.Errorf("signalling %d on %s: %v", pid, p.h.Name, err)
		}
	}
}

// tree returns a process and those below it, parents first.
func tree(root int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// After the name in parentheses, which may hold anything, come state and parent.
		if f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])); len(f) > 1 {
			parent, _ := strconv.Atoi(f[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}
