package infer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/blobstore"
	"gaggle/coord/infer/scan"
	"gaggle/sandbox"
	"gaggle/sandbox/capture"
	"gaggle/wire"
)

// The test binary is its own zygote.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// diskStore is a Store, and takes in what is captured and what a sandbox gives.
type diskStore struct {
	*blobstore.Store
	space wire.Space
}

func (s diskStore) Tree(id wire.TreeID) (*wire.Tree, error) { return s.Store.Tree(s.space, id) }

func (s diskStore) PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error) {
	return s.Store.PutTree(ctx, s.space, t)
}

func (s diskStore) Add(ctx context.Context, path string) (wire.Object, error) {
	return s.AddPath(ctx, path)
}

func (s diskStore) AddPath(ctx context.Context, path string) (wire.Object, error) {
	return s.Store.AddPath(ctx, s.space, path, blobstore.AddOptions{})
}

func (s diskStore) PutFile(ctx context.Context, f *os.File, size int64) (wire.BlobID, error) {
	return s.Store.PutFile(ctx, s.space, f, size)
}

func (s diskStore) PutBytes(ctx context.Context, b []byte) (wire.BlobID, error) {
	id, _, err := s.Put(ctx, s.space, bytes.NewReader(b))
	return id, err
}

// contentOf reads a file of the store.
func (s diskStore) contentOf(o wire.Object) ([]byte, error) {
	b, err := s.Open(s.space, o.Digest)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

// A bench runs thunks in the real sandbox.
type bench struct {
	store   diskStore
	engine  *sandbox.Engine
	planner *Planner
	chains  map[string]*Toolchain
}

func newBench(t *testing.T) *bench {
	t.Helper()
	engine, err := sandbox.New(sandbox.Config{Dir: t.TempDir(), Slots: 1})
	if wire.CauseOf(err) == wire.CauseSandbox {
		t.Skip("no sandbox on this machine: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	dir, err := os.MkdirTemp("/var/tmp", "gaggle-infer-") // the sandbox has a /tmp of its own
	if err != nil {
		t.Skip("no place for files: ", err)
	}
	store, err := blobstore.Open(dir, blobstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), removeAll(dir)); err != nil {
			t.Error(err)
		}
	})
	b := &bench{store: diskStore{store, wire.Public}, engine: engine, chains: map[string]*Toolchain{}}
	b.planner = &Planner{Store: b.store, Scanner: scan.New(scan.Options{}), Toolchain: b.toolchain}
	return b
}

// removeAll removes a store, which has read-only directories.
func removeAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// toolchain captures what belongs to tools.
func (b *bench) toolchain(ctx context.Context, tools []string) (*Toolchain, error) {
	key := strings.Join(tools, " ")
	if c := b.chains[key]; c != nil {
		return c, nil
	}
	root, err := capture.Tools(ctx, tools, capture.Options{Path: sandbox.DefaultPath, Dir: "/"}, b.store)
	if err != nil {
		return nil, err
	}
	b.chains[key] = NewToolchain(root.Object, b.store)
	return b.chains[key], nil
}

// run carries a plan out and returns the bytes of its outputs by path, and which can be executed.
func (b *bench) run(t *testing.T, p *Plan) (made map[string][]byte, runs map[string]bool) {
	t.Helper()
	ctx, th := t.Context(), p.Thunk
	root, release, err := b.store.Resident(ctx, b.store.space, th.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	spec := sandbox.Spec{Root: root, Argv: th.Command, Outputs: th.Outputs, JobDir: th.JobDir, WorkDir: th.WorkDir, Sink: b.store}
	for _, v := range th.Env {
		spec.Env = append(spec.Env, v.Name+"="+v.Value)
	}
	for _, in := range th.Inputs {
		i := sandbox.Input{Path: in.Path, Dir: in.Object.Kind == wire.Dir, Exec: in.Object.Kind == wire.Exec}
		_, i.Writable = th.OutputIndex(in.Path)
		if i.Dir {
			i.Source, release, err = b.store.Resident(ctx, b.store.space, wire.TreeID(in.Object.Digest))
		} else {
			i.Source, release, err = b.store.File(b.store.space, in.Object.Digest, i.Exec)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		spec.Inputs = append(spec.Inputs, i)
	}
	r, err := b.engine.Run(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failure != nil {
		t.Fatalf("the thunk fails: %+v\n%s", r.Failure, r.Stderr)
	}
	made, runs = map[string][]byte{}, map[string]bool{}
	for i, o := range th.Outputs {
		if made[o.Path], err = b.store.contentOf(r.Outputs[i]); err != nil {
			t.Fatal(err)
		}
		runs[o.Path] = r.Outputs[i].Kind == wire.Exec
	}
	return made, runs
}

// A direct is what a tool did that was simply run.
type direct struct {
	stdout, stderr []byte
	files          map[string][]byte // what it wrote
	modes          map[string]os.FileMode
}

// direct lays the world out in dir and runs a tool there.
func (w *world) direct(t *testing.T, dir, tool string, argv, env []string) *direct {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w.lay(t, dir)
	cmd := exec.Command(tool, argv[1:]...)
	cmd.Args[0] = argv[0] // which its messages may begin with
	cmd.Dir, cmd.Env = dir, append([]string{"LC_ALL=C", "PATH=" + standardPath}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("the real tool fails: %v\n%s", err, stderr.Bytes())
	}
	d := &direct{stdout.Bytes(), stderr.Bytes(), map[string][]byte{}, map[string]os.FileMode{}}
	for name, data := range contents(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if before, was := w.files[name]; !was || !bytes.Equal(before, data) || !info.ModTime().Equal(longAgo) {
			d.files[name], d.modes[name] = data, info.Mode().Perm()
		}
	}
	return d
}

// TestThunksAgreeWithTools runs the links, archives and changes of testdata/calls.txt as thunks, in a
// root that has nothing but the captured tool, and compares what they make with what the tool itself
// makes there; with -everycall all calls. What two runs of the tool itself make differently, as the
// names of temporary files in a map, is not compared.
func TestThunksAgreeWithTools(t *testing.T) {
	needTools(t, "gcc", "g++", "ar", "ld")
	b := newBench(t)
	w := newWorld(t, "testdata/world.txtar")
	text, err := os.ReadFile("testdata/calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(realTempDir(t), "w")
	n, ran, here, candidates := 0, map[Mode]int{}, map[string]int{}, 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || strings.Contains(line, " => ") {
			continue
		}
		// The world stays as it was made, which is cheaper than to lay it out for each line.
		tool, words, env := parsed(line, w.dir)
		if tool == "" {
			continue
		}
		mode := Model(tool, words, w.dir, env, Disk{})
		if !*everyCall && (mode.Mode < Link || mode.Mode == List || mode.Model == "clang" || strings.Contains(tool, "llvm")) {
			continue
		}
		if candidates++; !*everyCall && candidates%6 != 0 {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		w.lay(t, dir)
		_, words, env = parsed(line, dir)
		c := Model(tool, words, dir, env, Disk{})
		if c.Local != "" {
			t.Errorf("%s is local: %s", line, c.Local)
			continue
		}
		d, err := b.planner.Draft(t.Context(), c, words[1:], dir, append([]string{"PATH=" + standardPath}, env...))
		var reason Local
		if errors.As(err, &reason) {
			here[line+": "+string(reason)]++
			continue
		}
		if err != nil {
			t.Fatalf("%d %s: %v", n, line, err)
		}
		t.Run(strings.ReplaceAll(line, "/", "_"), func(t *testing.T) {
			b.compare(t, w, dir, tool, words, env, d)
		})
		ran[c.Mode]++
	}
	t.Logf("as thunks: %v; local: %d", ran, len(here))
	for why := range here {
		t.Log(why)
	}
	if ran[Link] < 5 || ran[Archive] < 2 || ran[Change] < 2 {
		t.Errorf("links, archives and changes are thunks: %v", ran)
	}
}

// parsed takes a line of calls.txt apart; there is no tool if it is not on this machine.
func parsed(line, dir string) (tool string, words, env []string) {
	words = strings.Fields(strings.ReplaceAll(strings.TrimPrefix(line, "over "), "$PWD", dir))
	for strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "-") {
		env, words = append(env, words[0]), words[1:]
	}
	tool, err := exec.LookPath(words[0])
	if err != nil {
		return "", nil, nil
	}
	return tool, words, env
}

// compare runs a draft's thunk and the tool itself.
func (b *bench) compare(t *testing.T, w *world, dir, tool string, argv, env []string, d *Draft) {
	p, err := d.Plan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]os.FileMode{} // of what outputs are to be like
	for _, m := range d.Made {
		if info, err := os.Stat(m.Mode); m.Mode != "" && err == nil {
			modes[m.Path] = info.Mode().Perm()
		}
	}
	got, runs := b.run(t, p)
	want, again := w.direct(t, dir, tool, argv, env), w.direct(t, dir, tool, argv, env)
	if bytes.Equal(want.stdout, again.stdout) && !bytes.Equal(got[wire.Stdout], want.stdout) {
		t.Errorf("it prints %q, want %q", got[wire.Stdout], want.stdout)
	}
	if bytes.Equal(want.stderr, again.stderr) && !bytes.Equal(got[wire.Stderr], want.stderr) {
		t.Errorf("it complains %q, want %q", got[wire.Stderr], want.stderr)
	}
	for _, m := range d.Made {
		name := strings.TrimPrefix(m.Path, dir+"/")
		data, made := want.files[name]
		if !made && m.Mode == m.Path { // there was nothing to change
			data, made = w.files[name], true
			want.modes[name] = modes[m.Path]
			again.files[name] = data
		}
		if !made {
			t.Errorf("the tool does not make %s", name)
			continue
		}
		delete(want.files, name)
		if !bytes.Equal(data, again.files[name]) {
			t.Logf("%s is not the same twice", name)
		} else if !bytes.Equal(got[m.Output], data) {
			t.Errorf("%s differs: %d bytes, want %d", name, len(got[m.Output]), len(data))
		}
		mode, like := modes[m.Path]
		if like && want.modes[name] != mode || !like && runs[m.Output] != (want.modes[name]&0o100 != 0) {
			t.Errorf("%s: executable %v, or as %v; want %v", name, runs[m.Output], mode, want.modes[name])
		}
	}
	for name := range want.files {
		t.Errorf("the tool makes %s as well", name)
	}
}
