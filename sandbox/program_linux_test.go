package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// scriptName is where a root has a script whose interpreter is to be a program of the machine.
const scriptName = "/bin/script"

// probeProgram tries to change the program it runs from.
func probeProgram([]string) error {
	const exe = "/proc/self/exe"
	for name, err := range map[string]error{
		"chmod":  os.Chmod(exe, 0o4755),
		"chtime": os.Chtimes(exe, syscallTime, syscallTime),
		"xattr":  unix.Setxattr(exe, "user.x", []byte("y"), 0),
	} {
		if !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("%s: %v, want EROFS", name, err)
		}
	}
	f, err := os.OpenFile(exe, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	// EROFS is looked for last: the program runs, and the owner may be another.
	if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.ETXTBSY) && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("open: %v, want EROFS", err)
	}
	return nil
}

func TestProgramIsOutOfReach(t *testing.T) {
	before, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, 1)
	writeFile(t, filepath.Join(b.root, scriptName), "#!/proc/self/exe\n", 0o755)
	if r := b.run(Spec{Argv: []string{scriptName, "program"}}); r.Failure != nil {
		t.Errorf("%s\n%s", r.Failure.Message, r.Stderr)
	}
	after, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the machine's program was %s of %s, is %s of %s", before.Mode(), before.ModTime(),
			after.Mode(), after.ModTime())
	}
}

// Until its execve a command has what the zygote has: descriptors and credentials.
func TestScriptCannotNameHost(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	install(t, "/proc/self/exe", program)
	b := newBench(t, 1)
	var tries []string
	for fd := range 32 {
		for _, p := range []string{program, "/host" + program} {
			tries = append(tries, fmt.Sprintf("/proc/self/fd/%d%s", fd, p))
		}
	}
	for _, p := range []string{"1/root", "1/task/1/root", "1/cwd", "self/root", "self/cwd", "2/root"} {
		tries = append(tries, "/proc/"+p+"/host"+program, "/proc/"+p+program)
	}
	for _, try := range append(tries, "/proc/1/exe") {
		writeFile(t, filepath.Join(b.root, scriptName), "#!"+try+"\n", 0o755)
		if r := b.run(Spec{Argv: []string{scriptName, "reach"}}); r.Failure == nil {
			t.Errorf("%s was executed", try)
		}
	}
}

func TestCopyToMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	fd, err := copyToMount("/proc/self/exe")
	if errors.Is(err, unix.EPERM) {
		t.Skip("not allowed to mount: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	name := fmt.Sprintf("/proc/self/fd/%d", fd)
	want, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || string(got) != string(want) {
		t.Errorf("copied %d bytes of %d, %v", len(got), len(want), err)
	}
	if err := os.Chmod(name, 0o777); !errors.Is(err, unix.EROFS) {
		t.Errorf("chmod of the copy: %v, want EROFS", err)
	}
}
