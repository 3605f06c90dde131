package clustertest

import (
	"bytes"
	"cmp"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// built returns the objects, archives, libraries and programs below a directory, by path.
func built(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if bytes.HasPrefix(b, []byte("\x7fELF")) || bytes.HasPrefix(b, []byte("!<arch>")) {
			files[p] = b
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A project is built from its Debian source.
type project struct {
	source   string   // package
	prepare  string   // a script, run before
	make     []string // arguments
	clean    string   // what make is asked for
	least    int      // files that it makes, at least
	calls    string   // of tools that are on the mesh, a regular expression; "" is any number
	watched  string   // an object: a node is killed when it is there
	check    []string // a command that ends well, and prints what begins so
	prints   string
	upToDate bool // make sees that all is made; git's asks for its own flags
}

// TestMakeLua builds Lua with make, then with coord make on four nodes, one of which is killed in the
// middle, then once more.
//
//	hub  node1  node2  node3  node4  anna
//	 |     |      X      |      |      |
//	 +-----+------+-br0--+------+------+
func TestMakeLua(t *testing.T) {
	t.Parallel()
	testProject(t, &project{
		source: "lua5.4", make: []string{"posix"}, clean: "clean", least: 30, calls: `38 of 38`, watched: "src/lcode.o",
		check: []string{"src/lua", "-e", "print(40 + 2)"}, prints: "42\n", upToDate: true,
	})
}

// TestMakeProjects does the same with larger ones.
func TestMakeProjects(t *testing.T) {
	for name, p := range map[string]*project{
		"redis": {
			source: "redis", make: []string{"MALLOC=libc"}, least: 150, watched: "src/dict.o", clean: "distclean",
			check: []string{"src/redis-benchmark", "--version"}, prints: "redis-benchmark 7",
		},
		"vim": {
			source: "vim", prepare: "./configure --disable-gui --without-x --disable-netbeans", least: 100, watched: "src/objects/eval.o", clean: "clean",
			check: []string{"sh", "-c", `src/vim -es -u NONE -c 'call writefile([string(6*7)], "out")' -c qa; cat out`}, prints: "42\n",
		},
		"mosh": {
			source: "mosh", prepare: "./autogen.sh && ./configure", least: 50, watched: "src/util/select.o", clean: "clean",
			check: []string{"make", "-s", "-C", "src/tests", "check", "TESTS=ocb-aes encrypt-decrypt base64"},
		},
		"git": {
			source: "git", make: strings.Fields("NO_CURL=1 NO_EXPAT=1 NO_GETTEXT=1 NO_OPENSSL=1 NO_TCLTK=1 NO_PERL=1 NO_PYTHON=1 all"), least: 500, watched: "dir.o", clean: "clean",
			check: []string{"./git", "hash-object", "--stdin"}, prints: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !slices.Contains(strings.Split(*projects, ","), name) {
				t.Skip("it takes long: make builds")
			}
			testProject(t, p)
		})
	}
}

var projects = flag.String("projects", "", "to build besides Lua, with commas between: git, mosh, redis, vim")

func testProject(t *testing.T, of *project) {
	m := NewMesh(t, bin, 4, 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, of.source)
	debianSource(t, of.source, dir)
	run := func(name string, args ...string) Output {
		t.Helper()
		o := anna.Try("env", append([]string{"-C", dir, "SOURCE_DATE_EPOCH=1700000000", name}, args...)...)
		if o.Exit != 0 {
			t.Fatalf("%s %q: exit %d\n%s", name, args, o.Exit, o.Stderr)
		}
		return o
	}
	if of.prepare != "" {
		run("sh", "-c", of.prepare)
	}
	local := run("make", append([]string{"-s", "-j2"}, of.make...)...)
	want := built(t, dir)
	if len(want) < of.least {
		t.Fatalf("make made %d files", len(want))
	}
	calls := regexp.MustCompile(`(?m)^` + cmp.Or(of.calls, `\d+ of \d+`) + ` compiler calls on the mesh: (\d+) ran, (\d+) memo, 0 shared`)
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
		if out := run(of.check[0], of.check[1:]...).Stdout; !strings.HasPrefix(out, of.prints) {
			t.Errorf("what was built prints %q", out)
		}
		if of.upToDate {
			run("make", append([]string{"-q"}, of.make...)...)
		}
		run("make", "-s", of.clean)
		return ran, memo
	}
	run("make", "-s", of.clean)
	begun := time.Now()
	p := anna.Start("env", append([]string{"-C", dir, "SOURCE_DATE_EPOCH=1700000000", "coord", "make", "-s", "-j8"}, of.make...)...)
	for time.Since(begun) < 5*time.Minute {
		if _, err := os.ReadFile(filepath.Join(dir, of.watched)); err == nil { // it waits until it is made
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.nodes[1].Kill()
	if code := p.WaitExit(); code != 0 {
		t.Fatalf("coord make: exit %d\n%s", code, p.Log())
	}
	cold := time.Since(begun)
	ran, memo := check(p.Log())
	if ran == 0 || memo > ran/20 && // a build may make one call twice
		!strings.Contains(p.Log(), "make runs again") {
		t.Errorf("at first %d ran on the mesh and %d were known:\n%s", ran, memo, p.Log())
	}
	hot := run("coord", append([]string{"make", "-s", "-j8"}, of.make...)...)
	if _, memo := check(hot.Stderr); memo < ran {
		t.Errorf("of the %d calls that ran %d were known the second time:\n%s", ran, memo, hot.Stderr)
	}
	t.Logf("%d files; make -j2 %v; coord make -j8 on four nodes of one slot, one killed, with the capture of gcc %v, %d ran; again %v", len(want), local.Took, cold, ran, hot.Took)
}
