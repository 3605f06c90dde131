package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gaggle/wire"
)

// The test binary is engine, zygote and, in a root, the command "probe".
func TestMain(m *testing.M) {
	Main()
	if len(os.Args) > 1 && path.Base(os.Args[0]) == "probe" {
		probe(os.Args[1], os.Args[2:])
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == scriptName { // as the interpreter of a script
		probe(os.Args[2], os.Args[3:])
		os.Exit(0)
	}
	if len(os.Args) == 4 && os.Args[0] == "engine" {
		fmt.Fprintln(os.Stderr, orphan(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	code := m.Run()
	if err := removeTemplate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testLog hands an engine's log to the test.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// newEngine starts an engine, or skips the test where none can be.
func newEngine(t testing.TB, slots int) *Engine {
	t.Helper()
	dir := t.TempDir()
	e, err := New(Config{Dir: dir, Slots: slots, Logger: slog.New(slog.NewTextHandler(testLog{t},
		&slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		if wire.CauseOf(err) == wire.CauseSandbox && !canUnshare() {
			t.Skip("user namespaces are not available: ", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return e
}

func canUnshare() bool {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID}
	return cmd.Run() == nil
}

// programs are what the tests' roots have, if this machine has them.
var programs = []string{"sh", "true", "cat", "echo", "ls", "id", "env", "hostname", "sleep", "yes", "head", "sort", "wc", "rm",
	"mv",
	"cp", "ln", "mkdir", "mkfifo", "chmod", "touch", "stat", "dd", "seq", "kill", "setsid", "umount", "mount", "unshare", "find", "tr", "readlink", "bash", "pwd",
	"nice", "basename", "tail"}

// template is a root tree with the programs and the probe. To find the libraries of each takes
// seconds, so it is made once.
var template struct {
	once sync.Once
	dir  string
}

func makeTemplate(t testing.TB) {
	dir, err := os.MkdirTemp("", "gaggle-root")
	if err != nil {
		t.Fatal(err)
	}
	template.dir = dir
	for _, d := range []string{"dev", "proc", "tmp", "job", "bin", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]string{"/proc/self/exe": "/bin/probe"}
	for _, name := range programs {
		if p, err := exec.LookPath(name); err == nil {
			found[p] = "/bin/" + name
		}
	}
	copyPrograms(t, dir, found)
}

func removeTemplate() error {
	if template.dir == "" {
		return nil
	}
	return os.RemoveAll(template.dir)
}

// testRoot makes a root tree with the programs, the probe, and extra files by path. Its files are
// links to the template's: a test may add files and must not write to one.
func testRoot(t testing.TB, extra map[string]string) string {
	t.Helper()
	template.once.Do(func() { makeTemplate(t) })
	root := filepath.Join(t.TempDir(), "root")
	err := filepath.WalkDir(template.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := root + strings.TrimPrefix(p, template.dir)
		if d.IsDir() {
			return os.Mkdir(to, 0o755)
		}
		return os.Link(p, to)
	})
	if err != nil {
		t.Fatal(err)
	}
	for p, text := range extra {
		writeFile(t, filepath.Join(root, p), text, 0o755)
	}
	return root
}

func writeFile(t testing.TB, name, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

var library = regexp.MustCompile(`(/\S+) \(0x`)

// copyPrograms copies programs, and the libraries they need, into the root.
func copyPrograms(t testing.TB, root string, to map[string]string) {
	t.Helper()
	for from, to := range to {
		install(t, from, filepath.Join(root, to))
	}
	out, _ := exec.Command("ldd", slices.Collect(maps.Keys(to))...).Output() // fails if one is static
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		install(t, m[1], filepath.Join(root, m[1]))
	}
}

func install(t testing.TB, from, to string) {
	t.Helper()
	if _, err := os.Stat(to); err == nil {
		return
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// A memorySink keeps outputs.
type memorySink struct {
	mu    sync.Mutex // guards the fields below
	files map[wire.BlobID][]byte
	trees map[wire.TreeID]*wire.Tree
}

func newSink() *memorySink {
	return &memorySink{files: map[wire.BlobID][]byte{}, trees: map[wire.TreeID]*wire.Tree{}}
}

func (s *memorySink) PutFile(_ context.Context, f *os.File, size int64) (wire.BlobID, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size+1))
	if err == nil && int64(len(b)) != size {
		err = fmt.Errorf("file of %d bytes was announced with %d", len(b), size)
	}
	if err != nil {
		return wire.BlobID{}, err
	}
	return s.PutBytes(context.Background(), b)
}

func (s *memorySink) PutBytes(_ context.Context, b []byte) (wire.BlobID, error) {
	id := wire.BlobID(wire.Sum(b))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[id] = slices.Clone(b)
	return id, nil
}

func (s *memorySink) PutTree(_ context.Context, t *wire.Tree) (wire.TreeID, error) {
	id, _ := t.Encode()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trees[id] = t
	return id, nil
}

// text draws an object: a file as its text, a directory as sorted "path=text" or "path->target".
func (s *memorySink) text(o wire.Object) string {
	s.mu.Lock()
	file, tree := s.files[wire.BlobID(o.Digest)], s.trees[wire.TreeID(o.Digest)]
	s.mu.Unlock()
	switch o.Kind {
	case wire.File, wire.Exec, wire.Graph:
		return string(file)
	case wire.Dir:
		var parts []string
		for _, e := range tree.Entries {
			switch e.Object.Kind {
			case wire.Symlink:
				parts = append(parts, e.Name+"->"+e.Target)
			case wire.Dir:
				parts = append(parts, e.Name+"/{"+s.text(e.Object)+"}")
			case wire.Exec:
				parts = append(parts, e.Name+"*="+s.text(e.Object))
			default:
				parts = append(parts, e.Name+"="+s.text(e.Object))
			}
		}
		return strings.Join(parts, " ")
	}
	return o.Kind.String()
}

// A bench is an engine with a root and a sink, for tests that run many commands.
type bench struct {
	t    testing.TB
	e    *Engine
	root string
	sink *memorySink
}

func newBench(t testing.TB, slots int) *bench {
	e := newEngine(t, slots)
	return &bench{t: t, e: e, root: testRoot(t, nil), sink: newSink()}
}

// run fills in what s lacks and runs it; the sandbox must not fail.
func (b *bench) run(s Spec) Report {
	b.t.Helper()
	if s.Root == "" {
		s.Root = b.root
	}
	s.Sink = b.sink
	if s.Argv[0] == "probe" { // with the race detector it sleeps for a second before it ends
		s.Env = append(s.Env[:len(s.Env):len(s.Env)], "GORACE=atexit_sleep_ms=0")
	}
	r, err := b.e.Run(context.Background(), s)
	if err != nil {
		b.t.Fatalf("Run(%q): %v", s.Argv, err)
	}
	return r
}

// sh runs a script and returns its standard output; it must end well.
func (b *bench) sh(script string, s Spec) string {
	b.t.Helper()
	s.Argv = []string{"sh", "-eu", "-c", script}
	r := b.run(s)
	if r.Failure != nil {
		b.t.Fatalf("sh %q: %s: %s\n%s", script, r.Failure.Cause, r.Failure.Message, r.Stderr)
	}
	return string(bytes.TrimSpace(r.Stdout))
}

// asUser runs this test binary again as an ordinary user, if this one is root.
func asUser(t *testing.T, flags ...string) {
	if os.Geteuid() != 0 {
		t.Skip("already an ordinary user")
	}
	dir, err := os.MkdirTemp("", "gaggle-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const uid = 65_533
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	flags = append(flags, "-test.v=true", "-test.timeout=10m", fmt.Sprintf("-test.short=%t", testing.Short()))
	// Its own program, as in a user's home.
	program := filepath.Join(dir, "test")
	install(t, "/proc/self/exe", program)
	if err := os.Chown(program, uid, uid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, flags...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "GOCOVERDIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Fatal(err)
	}
}
