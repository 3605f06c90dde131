package clustertest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// debianSource copies the source of a Debian package into a directory, or skips the test.
func debianSource(t *testing.T, name, dir string) {
	t.Helper()
	out, err := exec.Command("../scripts/source", name).Output()
	if err != nil {
		t.Skipf("the source of %s cannot be had: %v", name, err)
	}
	if err := os.CopyFS(dir, os.DirFS(strings.TrimSpace(string(out)))); err != nil {
		t.Fatal(err)
	}
}

// built returns the files that a build has made, by path.
func built(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	is := regexp.MustCompile(`\.(o|a|so)$|/(lua|luac)$`)
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !is.MatchString(p) {
			return err
		}
		files[p], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestMakeLua builds Lua from its Debian source with make, then with coord make on four nodes, one
// of which is killed in the middle, then once more.
//
//	hub  node1  node2  node3  node4  anna
//	 |     |      X      |      |      |
//	 +-----+------+-br0--+------+------+
func TestMakeLua(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 4, 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "lua")
	debianSource(t, "lua5.4", dir)
	run := func(name string, args ...string) Output {
		t.Helper()
		o := anna.Try("env", append([]string{"-C", dir, name}, args...)...)
		if o.Exit != 0 {
			t.Fatalf("%s %q: exit %d\n%s", name, args, o.Exit, o.Stderr)
		}
		return o
	}
	local := run("make", "-s", "-j2", "posix")
	want := built(t, dir)
	if len(want) < 30 {
		t.Fatalf("make made %d files", len(want))
	}
	calls := regexp.MustCompile(`(?m)^\d+ of 38 compiler calls on the mesh: (\d+) ran, (\d+) memo, 0 shared`)
	// check compares what was built, and returns how many calls ran on the mesh or were known. On a
	// machine that is too busy some may not, and are compiled here.
	check := func(said string) (ran, memo int) {
		t.Helper()
		got := built(t, dir)
		for p := range want {
			if !bytes.Equal(got[p], want[p]) {
				t.Errorf("%s differs from that of make", p)
			}
		}
		m := calls.FindStringSubmatch(said)
		if m == nil {
			t.Fatalf("want %s in\n%s", calls, said)
		}
		ran, _ = strconv.Atoi(m[1])
		memo, _ = strconv.Atoi(m[2])
		if out := run("src/lua", "-e", "print(40 + 2)").Stdout; out != "42\n" {
			t.Errorf("the lua that was built prints %q", out)
		}
		run("make", "-q", "posix")
		run("make", "-s", "clean")
		return ran, memo
	}
	run("make", "-s", "clean")
	begun := time.Now()
	p := anna.Start("env", "-C", dir, "coord", "make", "-s", "-j8", "posix")
	for _, err := os.Stat(filepath.Join(dir, "src/lcode.o")); err != nil && time.Since(begun) < time.Minute; _, err = os.Stat(filepath.Join(dir, "src/lcode.o")) {
		time.Sleep(20 * time.Millisecond)
	}
	m.nodes[1].Kill()
	if code := p.WaitExit(); code != 0 {
		t.Fatalf("coord make: exit %d\n%s", code, p.Log())
	}
	cold := time.Since(begun)
	ran, memo := check(p.Log())
	if ran == 0 || memo != 0 && !strings.Contains(p.Log(), "make runs again") {
		t.Errorf("at first %d ran on the mesh and %d were known:\n%s", ran, memo, p.Log())
	}
	hot := run("coord", "make", "-s", "-j8", "posix")
	if _, memo := check(hot.Stderr); memo < ran {
		t.Errorf("of the %d calls that ran %d were known the second time:\n%s", ran, memo, hot.Stderr)
	}
	t.Logf("make -j2 %v; coord make -j8 on four nodes of one slot, one killed, with the capture of gcc %v, %d of 38 there; again %v", local.Took, cold, ran, hot.Took)
}
