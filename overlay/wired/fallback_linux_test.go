package wired

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// fallback does what could stand in for a pool that is empty: all endpoints of a tenant share one
// namespace, in which every address of theirs is local (AnyIP), and a program on a cgroup has each
// process there bind its own. An endpoint is then a cgroup and an entry of a map. Our slots cannot
// use it, for each has a process in a namespace of its own before it has an endpoint.
type fallback struct {
	particle
	group  string // below which are those of the endpoints
	owners *ebpf.Map
	bind   link.Link
}

// unifiedCgroups returns where cgroups of version 2 are mounted.
func unifiedCgroups() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("no cgroups of version 2 are mounted: %w", errors.ErrUnsupported)
}

func (f *fallback) prepare(n int) error {
	f.addresses = anyIP
	if err := f.particle.prepare(n); err != nil {
		return err
	}
	top, err := unifiedCgroups()
	if err != nil {
		return err
	}
	if f.group, err = os.MkdirTemp(top, "bench-endpoints-"); err != nil {
		return err
	}
	if err := threaded(f.group); err != nil {
		return errors.Join(err, errors.ErrUnsupported, unix.Rmdir(f.group))
	}
	if f.owners, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: 4096}); err != nil {
		return err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Bind, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), // struct bpf_sock_addr
		asm.LoadMem(asm.R1, asm.R6, 4, asm.Word),
		asm.JNE.Imm(asm.R1, 0, "ok"), // an address was asked for
		asm.FnGetCurrentCgroupId.Call(),
		asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, f.owners.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "ok"),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.Word),
		asm.StoreMem(asm.R6, 4, asm.R7, asm.Word),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("ok"),
		asm.Return(),
	}})
	if err != nil {
		return err
	}
	defer p.Close()
	f.bind, err = link.AttachCgroup(link.CgroupOptions{Path: f.group, Attach: ebpf.AttachCGroupInet4Bind, Program: p})
	return err
}

// threaded lets a cgroup have threads without their process, as those of the measurement have to be.
func threaded(group string) error {
	return os.WriteFile(filepath.Join(group, "cgroup.type"), []byte("threaded"), 0)
}

// anyIP has the kernel take all addresses of endpoints for its own.
func anyIP(r *rtnl, _ int) error {
	m := request(unix.RTM_NEWROUTE, createNew)
	m.b = append(m.b, unix.AF_INET, 16, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_BOOT, unix.RT_SCOPE_HOST, unix.RTN_LOCAL, 0, 0, 0, 0)
	return r.batch(m.attr(unix.RTA_DST, 10, 100, 0, 0).number(unix.RTA_OIF, 1))
}

// make has the calling thread be the endpoint's process, which takes the address that it is given.
func (f *fallback) make(i int) (int, netip.Addr, error) {
	ns, addr, err := f.particle.make(i)
	if err != nil {
		return 0, netip.Addr{}, err
	}
	dir := filepath.Join(f.group, strconv.Itoa(i))
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return 0, netip.Addr{}, err
	}
	if err := threaded(dir); err != nil {
		return 0, netip.Addr{}, errors.Join(err, unix.Rmdir(dir))
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, netip.Addr{}, err
	}
	if err := f.owners.Put(st.Ino, be(addr)); err != nil {
		return 0, netip.Addr{}, err
	}
	err = os.WriteFile(filepath.Join(dir, "cgroup.threads"), []byte(strconv.Itoa(unix.Gettid())), 0)
	return ns, netip.IPv4Unspecified(), err
}

func (f *fallback) remove() error {
	var err error
	for i := range f.n {
		err = errors.Join(err, removeGroupDir(filepath.Join(f.group, strconv.Itoa(i))))
	}
	return err
}

// removeGroupDir removes a cgroup once the kernel has seen its last thread out.
func removeGroupDir(dir string) error {
	for end := time.Now().Add(20 * time.Second); ; {
		err := unix.Rmdir(dir)
		if err != unix.EBUSY || time.Now().After(end) {
			return err
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (f *fallback) wait() error {
	f.bind.Close()
	f.owners.Close()
	return errors.Join(removeGroupDir(f.group), f.particle.wait())
}
