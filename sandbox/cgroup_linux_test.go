package sandbox

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnGroups(t *testing.T) {
	for name, c := range map[string]struct {
		membership, mounts string
		want               map[string]string
	}{
		"version 2": {
			"0::/user.slice/user-1000.slice/session-2.scope\n",
			"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			map[string]string{"": "/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope"},
		},
		"hybrid": {
			"8:pids:/\n4:cpu,memory:/job/7\n0::/\n",
			"40 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,cpu\n" +
				"41 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
				"42 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			map[string]string{"memory": "/sys/fs/cgroup/memory/job/7", "cpu": "/sys/fs/cgroup/memory/job/7",
				"pids": "/sys/fs/cgroup/pids", "": "/sys/fs/cgroup/unified"},
		},
		"container that sees its own part": {
			"0::/docker/abc/x\n",
			"30 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			map[string]string{"": "/sys/fs/cgroup/x"},
		},
		"container that sees another part": {
			"0::/other\n",
			"30 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			map[string]string{},
		},
		"none": {"", "24 1 8:1 / / rw - ext4 /dev/sda rw\nmalformed\n", map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			got, err := ownGroups(writeFile(t, filepath.Join(dir, "cgroup"), c.membership, 0o644), writeFile(t, filepath.Join(dir,
				"mountinfo"), c.mounts, 0o644))
			if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("ownGroups = %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

// TestSweepGroups: an engine removes the cgroups of those that were killed.
func TestSweepGroups(t *testing.T) {
	own, err := ownGroups("/proc/self/cgroup", "/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	parent := own["pids"]
	if parent == "" {
		parent = own[""]
	}
	old, err := os.MkdirTemp(parent, groupPrefix+"999999999-")
	if err != nil {
		t.Skip("no cgroup can be made here: ", err)
	}
	if err := os.Mkdir(filepath.Join(old, "slot0"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := engineDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := removeGroups(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the cgroup of a dead engine is left")
		removeGroups(old)
	}
}

func TestNumber(t *testing.T) {
	f, err := os.Open(writeFile(t, filepath.Join(t.TempDir(), "events"),
		"low 1\nmax 22\nRssAnon:\t   12 kB\noom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for label, want := range map[string]int64{"max ": 22, "RssAnon:": 12, "oom_kill ": 3, "none ": 0} {
		if got := number(f, label); got != want {
			t.Errorf("number(%q) = %d, want %d", label, got, want)
		}
	}
}
