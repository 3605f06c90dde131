package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// groups are the cgroups of an engine: below the cgroup that the engine itself is in, one
// directory of its own in each hierarchy it needs, and in that one for each slot. Version 2 has
// one hierarchy; where memory and pids are still bound to version 1, each has its own.
type groups struct {
	v2     bool
	memory string // the engine's directory; "" if memory cannot be bounded
	pids   string // likewise; the same directory in version 2
}

// openGroups finds and makes the directories. Where something is missing that is, the fields are
// empty: limits are then enforced as far as they can be.
func openGroups() groups {
	own, err := ownGroups("/proc/self/cgroup", "/proc/self/mountinfo")
	if err != nil {
		return groups{}
	}
	if dir := own[""]; dir != "" {
		if engine, err := openUnified(dir); err == nil {
			return groups{v2: true, memory: engine, pids: engine}
		}
	}
	var g groups
	for controller, dir := range map[string]*string{"memory": &g.memory, "pids": &g.pids} {
		if parent := own[controller]; parent != "" {
			if d, err := engineDir(parent); err == nil {
				*dir = d
			}
		}
	}
	return g
}

// ownGroups returns the directory of this process's cgroup for every version 1 controller, and
// for version 2 under "".
func ownGroups(membership, mounts string) (map[string]string, error) {
	at := map[string]string{} // controller -> path of our cgroup in its hierarchy
	err := eachLine(membership, func(line string) {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			return
		}
		for c := range strings.SplitSeq(f[1], ",") {
			at[c] = f[2]
		}
	})
	if err != nil {
		return nil, err
	}
	own := map[string]string{}
	err = eachLine(mounts, func(line string) {
		// 36 35 98:0 /root /point options [tags] - type source superoptions
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 3 {
			return
		}
		controllers := []string{""}
		switch r[0] {
		case "cgroup":
			controllers = strings.Split(r[2], ",")
		case "cgroup2":
		default:
			return
		}
		for _, c := range controllers {
			if p, ok := at[c]; ok {
				if rel, err := filepath.Rel(l[3], p); err == nil && filepath.IsLocal(rel) {
					own[c] = filepath.Join(l[4], rel)
				}
			}
		}
	})
	return own, err
}

func eachLine(name string, f func(string)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f(lines.Text())
	}
	return lines.Err()
}

// groupPrefix starts the name of an engine's directory; its process id follows.
const groupPrefix = "gaggle-"

// engineDir makes a directory of the engine's own below parent, and removes those of engines
// that have died.
func engineDir(parent string) (string, error) {
	old, err := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			removeGroups(dir)
		}
	}
	return os.MkdirTemp(parent, fmt.Sprintf("%s%d-", groupPrefix, os.Getpid()))
}

// removeGroups removes a cgroup and those below, which must be empty.
func removeGroups(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.IsDir() {
			err = errors.Join(err, removeGroups(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, os.Remove(dir))
}

// openUnified makes the engine's directory below a version 2 cgroup. One with processes cannot
// have children with controllers, so the engine moves itself aside if it is alone there, as a
// service with delegation is.
func openUnified(dir string) (string, error) {
	const need = "+memory +pids"
	if err := hasControllers(filepath.Join(dir, "cgroup.controllers")); err != nil {
		return "", err
	}
	if hasControllers(filepath.Join(dir, "cgroup.subtree_control")) != nil {
		control := filepath.Join(dir, "cgroup.subtree_control")
		err := os.WriteFile(control, []byte(need), 0)
		if errors.Is(err, unix.EBUSY) {
			aside := filepath.Join(dir, "gaggle")
			if err := os.Mkdir(aside, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return "", err
			}
			if err := enterGroup(aside, os.Getpid()); err != nil {
				return "", err
			}
			if err = os.WriteFile(control, []byte(need), 0); err != nil {
				err = errors.Join(err, enterGroup(dir, os.Getpid()), os.Remove(aside))
			}
		}
		if err != nil {
			return "", err
		}
	}
	engine, err := engineDir(dir)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(engine, "cgroup.subtree_control"), []byte(need), 0); err != nil {
		return "", errors.Join(err, os.Remove(engine))
	}
	return engine, nil
}

func hasControllers(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, c := range []string{"memory", "pids"} {
		if !slices.Contains(strings.Fields(string(b)), c) {
			return fmt.Errorf("no controller %s in %s", c, file)
		}
	}
	return nil
}

func enterGroup(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// limits says what cannot be bounded.
func (g *groups) limits() string {
	const delegate = "; to have cgroups, start it with: systemd-run --user --scope -p Delegate=yes"
	switch {
	case g.memory == "" && g.pids == "":
		return "memory is sampled every " + sampleEvery.String() + ", not bounded, and a task that starts too many processes is not told apart from one that fails" + delegate
	case g.memory == "":
		return "memory is sampled every " + sampleEvery.String() + ", not bounded" + delegate
	case g.pids == "":
		return "a task that starts too many processes is not told apart from one that fails" + delegate
	}
	return ""
}

// close removes the engine's directories, whose slots are empty.
func (g *groups) close() (err error) {
	for _, dir := range []string{g.memory, g.pids} {
		if dir != "" && (dir != g.memory || err == nil) {
			if e := removeGroups(dir); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}
