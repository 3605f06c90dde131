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
// one hierarchy; where controllers are still bound to version 1, each has its own, and version 2's
// freezer, which needs no controller, is used if it is mounted as well (a "hybrid").
type groups struct {
	v2     bool
	memory string // the engine's directory; "" if memory cannot be bounded
	pids   string // likewise; the same directory in version 2
	cpu    string // likewise
	freeze string // likewise
	// freezeFile is the file in a slot's directory that freezes it, and freezeWords what to write
	// there to thaw and to freeze.
	freezeFile  string
	freezeWords [2]string
}

// shareAmong gives the engine's directory the weight of as many processes as it has slots. By
// default it would weigh as much as one: where others are not in cgroups of their own, all slots
// together would get what one of them gets.
func (g *groups) shareAmong(slots int) {
	if g.cpu == "" {
		return
	}
	file, n := "cpu.shares", 1024*slots
	if g.v2 {
		file, n = "cpu.weight", min(DefaultCPUWeight*slots, 10_000)
	}
	os.WriteFile(filepath.Join(g.cpu, file), []byte(strconv.Itoa(n)), 0) // else it is the default
}

// directories returns each of the engine's directories once.
func (g *groups) directories() (list []string) {
	for _, d := range []string{g.memory, g.pids, g.cpu, g.freeze} {
		if d != "" && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
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
			g := groups{v2: true, memory: engine, pids: engine}
			if hasControllers(filepath.Join(engine, "cgroup.subtree_control"), "cpu") == nil {
				g.cpu = engine
			}
			g.setFreezer(engine, true)
			return g
		}
	}
	var g groups
	made := map[string]string{} // by parent: controllers may share a hierarchy
	open := func(controller string) string {
		parent := own[controller]
		if parent == "" || made[parent] != "" {
			return made[parent]
		}
		if d, err := engineDir(parent); err == nil {
			made[parent] = d
		}
		return made[parent]
	}
	g.memory, g.pids, g.cpu = open("memory"), open("pids"), open("cpu")
	if g.setFreezer(open(""), true); g.freeze == "" {
		g.setFreezer(open("freezer"), false)
	}
	return g
}

func (g *groups) setFreezer(dir string, v2 bool) {
	g.freeze, g.freezeFile, g.freezeWords = dir, "freezer.state", [2]string{"THAWED", "FROZEN"}
	if v2 {
		g.freezeFile, g.freezeWords = "cgroup.freeze", [2]string{"0", "1"}
	}
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
			thawGroups(dir)
			removeGroups(dir)
		}
	}
	return os.MkdirTemp(parent, fmt.Sprintf("%s%d-", groupPrefix, os.Getpid()))
}

// thawGroups lets what an engine that died has frozen notice that.
func thawGroups(dir string) {
	for file, word := range map[string]string{"cgroup.freeze": "0", "freezer.state": "THAWED"} {
		frozen, _ := filepath.Glob(filepath.Join(dir, "slot*", file))
		for _, f := range frozen {
			os.WriteFile(f, []byte(word), 0)
		}
	}
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
	need := "+memory +pids"
	if err := hasControllers(filepath.Join(dir, "cgroup.controllers"), "memory", "pids"); err != nil {
		return "", err
	}
	if hasControllers(filepath.Join(dir, "cgroup.controllers"), "cpu") == nil {
		need += " +cpu"
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	if hasControllers(control, strings.Fields(strings.ReplaceAll(need, "+", ""))...) != nil {
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

func hasControllers(file string, want ...string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, c := range want {
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
	for _, dir := range g.directories() {
		if e := removeGroups(dir); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
