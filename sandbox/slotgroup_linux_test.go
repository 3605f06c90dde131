package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGroupFiles pins what is written to the files of a slot's cgroup, and read from them, in
// either version. Plain files stand in for the kernel's: a machine has one version only.
func TestGroupFiles(t *testing.T) {
	for name, c := range map[string]struct {
		v2   bool
		have map[string]string // file: content before
		want map[string]string // after
	}{
		"version 2": {true, map[string]string{"memory.max": "", "memory.current": "1000\n", "memory.peak": "6000\n",
			"memory.events": "max 9\noom 8\noom_kill 1\n", "pids.max": "", "pids.current": "12\n",
			"pids.events": "max 2\n", "cpu.weight": "", "cgroup.freeze": "", "cgroup.procs": ""},
			map[string]string{"memory.max": "17825792", "pids.max": "70", "cpu.weight": "50", "cgroup.freeze": "1",
				"cgroup.procs": "4711"}},
		"version 1": {false, map[string]string{"memory.limit_in_bytes": "", "memory.usage_in_bytes": "1000\n",
			"memory.max_usage_in_bytes": "6000\n", "memory.oom_control": "under_oom 0\noom_kill 1\n", "pids.max": "",
			"pids.current": "12\n", "pids.events": "max 2\n", "cpu.shares": "", "freezer.state": "", "cgroup.procs": ""},
			map[string]string{"memory.limit_in_bytes": "17825792", "pids.max": "70", "cpu.shares": "512",
				"freezer.state": "FROZEN", "cgroup.procs": "4711"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			slot := filepath.Join(dir, "slot3")
			for f, text := range c.have {
				writeFile(t, filepath.Join(slot, f), text, 0o644)
			}
			g := groups{v2: c.v2, memory: dir, pids: dir, cpu: dir}
			g.setFreezer(dir, c.v2)
			s, err := g.open(3, 4711)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			s.settle()
			if err := s.limit(Limits{MemBytes: 1 << 20, Pids: 50, CPUWeight: 50}); err != nil {
				t.Fatal(err)
			}
			if err := s.hold(true); err != nil {
				t.Fatal(err)
			}
			for f, want := range c.want {
				if got, err := os.ReadFile(filepath.Join(slot, f)); err != nil || string(got) != want {
					t.Errorf("%s is %q, %v, want %q", f, got, err, want)
				}
			}
			if s.outOfMemory() || s.outOfPids() {
				t.Error("what was before counts as the command's")
			}
			events := map[bool]string{false: "memory.oom_control", true: "memory.events"}[c.v2]
			writeFile(t, filepath.Join(slot, events), "oom_kill 2\n", 0o644)
			writeFile(t, filepath.Join(slot, "pids.events"), "max 3\n", 0o644)
			if !s.outOfMemory() || !s.outOfPids() {
				t.Error("a kill and a refused fork went unnoticed")
			}
			peak := map[bool]string{false: "memory.max_usage_in_bytes", true: "memory.peak"}[c.v2]
			writeFile(t, filepath.Join(slot, peak), "9000\n", 0o644)
			if got := s.peakBytes(); got != 8000 {
				t.Errorf("peakBytes() = %d, want 8000", got)
			}
		})
	}
}
