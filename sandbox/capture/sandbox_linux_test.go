package capture

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
	"gaggle/sandbox/capture/programs"
	"gaggle/wire"
)

// The test binary is its own zygote, and becomes the commands that it watches.
func TestMain(m *testing.M) {
	sandbox.Main()
	Main()
	os.Exit(m.Run())
}

// An onDisk is a Sink that remembers where on this machine a file is, to copy it from there. It
// names files by their paths: to hash a gigabyte of programs would show nothing here.
type onDisk struct {
	*memory
	mu    sync.Mutex // guards paths
	paths map[wire.Digest]string
}

func (s *onDisk) AddPath(_ context.Context, p string) (wire.Object, error) {
	fi, err := os.Stat(p)
	if err != nil {
		return wire.Object{}, err
	}
	d := wire.Sum([]byte(p))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths[d] = p
	return wire.FileObject(wire.BlobID(d), uint64(fi.Size()), false), nil
}

// write makes a directory of o and returns how many files, directories and links it has.
func (s *onDisk) write(t *testing.T, o wire.Object, dir string) (n int) {
	t.Helper()
	for _, e := range s.trees[wire.TreeID(o.Digest)].Entries {
		p := filepath.Join(dir, e.Name)
		n++
		switch e.Object.Kind {
		case wire.Dir:
			if err := os.Mkdir(p, 0o755); err != nil {
				t.Fatal(err)
			}
			n += s.write(t, e.Object, p)
		case wire.Symlink:
			if err := os.Symlink(e.Target, p); err != nil {
				t.Fatal(err)
			}
		default:
			s.file(t, e.Object, p)
		}
	}
	return n
}

func (s *onDisk) file(t *testing.T, o wire.Object, p string) {
	t.Helper()
	mode := os.FileMode(0o644)
	if o.Kind == wire.Exec {
		mode = 0o755
	}
	source, ok := s.paths[o.Digest]
	if !ok {
		if err := os.WriteFile(p, s.blobs[o.Digest], mode); err != nil {
			t.Fatal(err)
		}
		return
	}
	from, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(to, from); err != nil { // in the kernel
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
}

// newEngine starts the real sandbox with one slot.
func newEngine(t *testing.T) *sandbox.Engine {
	t.Helper()
	e, err := sandbox.New(sandbox.Config{Dir: t.TempDir(), Slots: 1})
	if wire.CauseOf(err) == wire.CauseSandbox {
		t.Skip("no sandbox on this machine: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// elsewhere makes a directory that is not below /tmp, which the sandbox has an own of.
func elsewhere(t *testing.T) string {
	t.Helper()
	return temporary(t, "/var/tmp")
}

func temporary(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "gaggle-capture-")
	if err != nil {
		t.Skip("no place for files: ", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// inMemory makes a directory for a root of hundreds of megabytes, in memory where programs can be
// run from there.
func inMemory(t *testing.T) string {
	t.Helper()
	var fs unix.Statfs_t
	if unix.Statfs("/dev/shm", &fs) != nil || fs.Flags&unix.ST_NOEXEC != 0 || fs.Bavail*uint64(fs.Bsize) < 2<<30 {
		return t.TempDir()
	}
	return temporary(t, "/dev/shm")
}

// run captures the program of the machine that was prepared in dir and runs it in the sandbox,
// whose root is that alone: no file of this machine can be reached from it. It returns the
// standard output.
func run(t *testing.T, p *programs.Program, dir string) string {
	t.Helper()
	sink := &onDisk{memory: newMemory(), paths: map[wire.Digest]string{}}
	begin := time.Now()
	r, err := Tools(t.Context(), p.Tools, Options{Path: p.Path(dir), Dir: p.Dir(dir)}, sink)
	if err != nil {
		t.Fatalf("Tools(%q): %v", p.Tools, err)
	}
	took := time.Since(begin)
	root := filepath.Join(inMemory(t), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	nodes := sink.write(t, r.Object, root)
	t.Logf("%6.1f MB %6d entries %6d ms to capture %s", float64(r.Object.Size)/1e6, nodes, took.Milliseconds(), strings.Join(p.Tools, " "))
	for _, note := range r.Notes {
		t.Log("note: ", note)
	}
	rep, err := newEngine(t).Run(t.Context(), sandbox.Spec{Root: root, Argv: []string{"/bin/sh", "-euc", p.Run}, Sink: newMemory(),
		Outputs: []wire.Output{{Path: wire.Stdout}}, Limits: sandbox.Limits{Wall: 2 * time.Minute, MemBytes: 2 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Failure != nil {
		t.Fatalf("in the sandbox: %+v\n%s%s", *rep.Failure, rep.Stdout, rep.Stderr)
	}
	return string(rep.Stdout)
}

// Each of these has needs of its own kind, and runs with nothing but its capture.
func TestCapturedProgramsRun(t *testing.T) {
	for _, p := range programs.All() {
		t.Run(p.Name, func(t *testing.T) {
			dir := elsewhere(t)
			why, err := p.Prepare(dir)
			if err != nil {
				t.Fatal(err)
			}
			if why != "" {
				t.Skip(why)
			}
			if got := run(t, p, dir); got != p.Want {
				t.Errorf("printed %q, want %q", got, p.Want)
			}
		})
	}
}
