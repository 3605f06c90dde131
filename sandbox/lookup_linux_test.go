package sandbox

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gaggle/wire"
)

// lookupBench is a bench whose runs tell what they looked for.
func lookupBench(t *testing.T) *bench {
	t.Helper()
	e, err := New(Config{Dir: t.TempDir(), Slots: 1, Lookups: true})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { e.Close() })
	return &bench{t: t, e: e, root: testRoot(t, nil), sink: newSink()}
}

// vain are the paths that were nowhere.
func vain(l *Lookups) (all []string) {
	for _, m := range l.Missing {
		if !m.Elsewhere {
			all = append(all, m.Use+" "+m.Path)
		}
	}
	return all
}

func TestLookups(t *testing.T) {
	b := lookupBench(t)
	const source = `#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
	struct stat st;
	char buf[9];
	open("/opt/one", O_RDONLY);
	open("/opt/one", O_RDONLY); // once is told
	stat("two", &st);
	mkdir("d", 0755);
	symlink("gone", "d/link");
	lstat("d/link", &st); // is there
	readlink("d/link", buf, 9);
	stat("d/link", &st); // leads nowhere
	openat(open("d", O_RDONLY | O_DIRECTORY), "three", O_RDONLY);
	open("made", O_CREAT | O_WRONLY, 0644);
	open("nodir/unmade", O_CREAT | O_WRONLY, 0644);
	access("made", R_OK);
	access("/etc/passwd/x", R_OK); // not a directory
	open("/proc/self/nothing", O_RDONLY);
	open("/x/made", O_RDONLY); // found elsewhere
	chdir("d");
	open("../../opt//./four", O_RDONLY);
	if (!fork()) { execl("/bin/five", "five", NULL); _exit(0); }
	wait(NULL);
	stat((char *)8, &st); // an address without memory
	return 3;
}
`
	compile(t, source, filepath.Join(b.root, "bin/seek"))
	for range 2 { // the slot tells of each command alone
		r := b.run(Spec{Argv: []string{"seek"}})
		if r.Failure == nil || r.Failure.Exit != 3 || r.Lookups == nil {
			t.Fatalf("report = %+v, want exit code 3", r)
		}
		want := []string{"open /opt/one", "look /job/two", "look /job/d/link", "open /job/d/three", "open /job/nodir/unmade",
			"look /etc/passwd/x", "open /opt/four", "execute /bin/five"}
		if got := vain(r.Lookups); !slices.Equal(got, want) {
			t.Errorf("looked in vain for\n  %q, want\n  %q", got, want)
		}
		if i := slices.IndexFunc(r.Lookups.Missing, func(m Missing) bool { return m.Path == "/x/made" }); i < 0 || !r.Lookups.Missing[i].Elsewhere {
			t.Errorf("missing %+v, want /x/made, which is elsewhere", r.Lookups.Missing)
		}
		if !slices.Equal(r.Lookups.Listed, []string{"/job/d"}) || r.Lookups.Unread != 1 || r.Lookups.Earlier != 0 {
			t.Errorf("lookups = %+v, want /job/d listed and one call unread", r.Lookups)
		}
	}
	if r := newBench(t, 1).run(Spec{Argv: []string{"true"}}); r.Lookups != nil {
		t.Errorf("unasked: %+v", r.Lookups)
	}
}

// What is dropped of many are the first; a refused call is refused and told of all the same.
func TestLookupsBounded(t *testing.T) {
	b := lookupBench(t)
	const source = `#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
	char name[200];
	for (int i = 0; i < 3000; i++) { sprintf(name, "/none/%0150d", i); access(name, 0); }
	return syscall(SYS_bpf, 0, 0, 0) ? 1 : 0;
}
`
	compile(t, source, filepath.Join(b.root, "bin/many"))
	r := b.run(Spec{Argv: []string{"many"}})
	if r.Failure == nil || !strings.Contains(r.Failure.Hint, "bpf") {
		t.Errorf("failure = %+v, want it to name bpf", r.Failure)
	}
	l := r.Lookups
	if n := len(l.Missing); n != maxMissing || l.Earlier < 3000-n || !strings.HasSuffix(l.Missing[n-1].Path, "2999") {
		t.Errorf("%d and %d earlier, the last %s", n, l.Earlier, l.Missing[n-1].Path)
	}
}

// Real programs: a dynamic linker without its library, a shell without its program, and Python
// without its modules.
func TestLookupsOfPrograms(t *testing.T) {
	b := lookupBench(t)
	dir := t.TempDir()
	writeFile(t, dir+"/lib.c", "int f(void) { return 0; }\n", 0o644)
	writeFile(t, dir+"/main.c", "int f(void); int main(void) { return f(); }\n", 0o644)
	for _, args := range [][]string{{"-shared", "-fPIC", "-o", "libgone.so.1", "lib.c"}, {"-o", "main", "main.c", "./libgone.so.1"}} {
		cmd := exec.Command("cc", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("cc: %v\n%s", err, out)
		}
	}
	copyPrograms(t, b.root, map[string]string{dir + "/main": "/bin/linked"})
	r := b.run(Spec{Argv: []string{"linked"}})
	if r.Failure == nil || !slices.ContainsFunc(vain(r.Lookups), func(l string) bool { return strings.HasSuffix(l, "libgone.so.1") }) {
		t.Errorf("a library: %+v, looked in vain for %q", r.Failure, vain(r.Lookups))
	}
	r = b.run(Spec{Argv: []string{"sh", "-c", "wont-be-there"}, Env: []string{"PATH=/opt/bin:/bin"}})
	got := vain(r.Lookups)
	for _, want := range []string{"/opt/bin/wont-be-there", "/bin/wont-be-there"} {
		if !slices.ContainsFunc(got, func(l string) bool { return strings.HasSuffix(l, " "+want) }) {
			t.Errorf("a program: looked in vain for %q, want %s", got, want)
		}
	}
}

// The collector of the slot's process works while commands start and wait for it.
func TestLookupsOfMany(t *testing.T) {
	b := lookupBench(t)
	in := writeFile(t, t.TempDir()+"/in", strings.Repeat("x", 4000), 0o444)
	var inputs []Input
	for i := range 200 {
		inputs = append(inputs, Input{Path: "d/" + strings.Repeat("y", i+1), Source: in})
	}
	var out bytes.Buffer
	for range 30 {
		r := b.run(Spec{Argv: []string{"sh", "-c", "cat d/y; cat none"}, Inputs: inputs, Stdout: &out})
		if r.Failure == nil || r.Failure.Cause != wire.CauseExit || !slices.Contains(vain(r.Lookups), "open /job/none") {
			t.Fatalf("report = %+v, %+v", r.Failure, r.Lookups)
		}
	}
	if out.Len() != 30*4000 {
		t.Errorf("printed %d bytes", out.Len())
	}
	if _, err := os.Stat(in); err != nil {
		t.Error(err)
	}
}
