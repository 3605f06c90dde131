package graph

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gaggle/wire"
)

// A serial runs plans one thunk after the other, with this machine's programs and without a
// sandbox: enough to see that the graphs of examples/ do what they say.
type serial struct {
	t   *testing.T
	dir string

	mu      sync.Mutex // guards the fields below
	objects map[wire.Digest]string
	memo    map[wire.ThunkID][]wire.Object // of resolved thunks, sub-graphs done
	ran     int
}

func newSerial(t *testing.T) *serial {
	if runtime.GOOS != "linux" {
		t.Skip("runs the examples with the programs of a Linux machine")
	}
	return &serial{t: t, dir: t.TempDir(), objects: map[wire.Digest]string{}, memo: map[wire.ThunkID][]wire.Object{}}
}

// Add keeps a file or directory by the hash of all that is in it.
func (s *serial) Add(_ context.Context, host string) (wire.Object, error) {
	info, err := os.Stat(host)
	if err != nil {
		return wire.Object{}, err
	}
	o := wire.Object{Kind: wire.File}
	h := wire.NewHash()
	switch {
	case info.IsDir():
		o.Kind = wire.Dir
	case info.Mode()&0o100 != 0:
		o.Kind = wire.Exec
	}
	err = filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(host, p)
		b, err := os.ReadFile(p)
		o.Size += uint64(len(b))
		fmt.Fprintf(h, "%s %d ", rel, len(b))
		h.Write(b)
		return err
	})
	o.Digest = wire.HashDigest(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[o.Digest]; !ok {
		kept := filepath.Join(s.dir, o.Digest.String())
		if err := clone(host, kept); err != nil {
			return o, err
		}
		s.objects[o.Digest] = kept
	}
	return o, err
}

func (s *serial) Put(ctx context.Context, b []byte) (wire.Object, error) {
	name := filepath.Join(s.t.TempDir(), "text")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		return wire.Object{}, err
	}
	return s.Add(ctx, name)
}

func (s *serial) Find(context.Context, wire.Object) (wire.Object, error) {
	return wire.Object{}, fs.ErrNotExist
}

// Root checks that the programs are on this machine.
func (s *serial) Root(_ context.Context, spec RootSpec) (wire.Object, error) {
	for _, name := range spec.Tools {
		if _, err := exec.LookPath(name); err != nil {
			s.t.Skipf("%s is not on this machine", name)
		}
	}
	return wire.DirObject(wire.TreeID(wire.Sum(fmt.Append(nil, spec))), 1), nil
}

// clone copies a file or directory, following links.
func clone(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, info.Mode().Perm()|0o600)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if err == nil {
			err = clone(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
	return err
}

// run gives the values of a plan's targets by path.
func (s *serial) run(p *Plan) map[string]wire.Object {
	values := map[wire.ThunkID][]wire.Object{}
	find := func(id wire.ThunkID, output string) (wire.Object, bool) {
		for i, other := range p.IDs {
			if j, ok := p.Thunks[i].OutputIndex(output); ok && other == id {
				return values[id][j], true
			}
		}
		return wire.Object{}, false
	}
	for i, th := range p.Thunks {
		r, err := th.Resolve(find)
		if err != nil {
			s.t.Fatalf("%s: %v", p.Tasks[i].Name, err)
		}
		id, _ := r.Encode()
		if _, ok := s.memo[id]; !ok {
			s.memo[id] = s.thunk(p.Tasks[i], r)
		}
		values[p.IDs[i]] = s.memo[id]
	}
	out := map[string]wire.Object{}
	for _, t := range p.Targets {
		out[t.Path], _ = find(t.Thunk, t.Output)
	}
	return out
}

// thunk runs one resolved thunk, and the sub-graphs it writes.
func (s *serial) thunk(task wire.TaskSpec, th *wire.Thunk) []wire.Object {
	ctx := context.Background()
	if th.Builtin() {
		return []wire.Object{s.mustAdd(filepath.Join(s.objects[th.Inputs[0].Object.Digest], th.Command[1]))}
	}
	s.ran++
	dir := s.t.TempDir()
	for _, in := range th.Inputs {
		at := filepath.Join(dir, in.Path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := clone(s.objects[in.Object.Digest], at); err != nil {
			s.t.Fatalf("%s: %v", task.Name, err)
		}
	}
	cmd := exec.Command(th.Command[0], th.Command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	for _, v := range th.Env {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %q: %v\n%s", task.Name, th.Command, err, stderr.Bytes())
	}
	out := make([]wire.Object, len(th.Outputs))
	for i, o := range th.Outputs {
		graph := filepath.Join(dir, o.Graph)
		switch text, err := os.ReadFile(graph); {
		case o.Path == wire.Stdout:
			if err := os.WriteFile(filepath.Join(dir, wire.Stdout), stdout.Bytes(), 0o644); err != nil {
				s.t.Fatal(err)
			}
			out[i] = s.mustAdd(filepath.Join(dir, wire.Stdout))
		case o.Graph == "" || err != nil:
			out[i] = s.mustAdd(filepath.Join(dir, o.Path))
		default:
			f, err := Decode(bytes.NewReader(text), task.Name)
			if err != nil {
				s.t.Fatal(err)
			}
			p, err := Expand(ctx, f, Env{Parent: &Parent{Name: task.Name, Thunk: th, Hints: task.Hints, RootSize: task.RootSize}})
			if err != nil {
				s.t.Fatal(err)
			}
			checkPlan(s.t, p)
			for _, v := range s.run(p) {
				out[i] = v
			}
		}
	}
	return out
}

func (s *serial) mustAdd(host string) wire.Object {
	o, err := s.Add(context.Background(), host)
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

func (s *serial) content(o wire.Object) string {
	b, err := os.ReadFile(s.objects[o.Digest])
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// example expands examples/name/file with its directory copied to a new one, which prepare adds to.
func (s *serial) example(name, file string, prepare func(dir string), params ...string) *Plan {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), name)
	if err := clone(filepath.Join("..", "..", "examples", name), dir); err != nil {
		s.t.Fatal(err)
	}
	if prepare != nil {
		prepare(dir)
	}
	r, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	f, err := Decode(r, file)
	if err != nil {
		s.t.Fatal(err)
	}
	env := Env{Dir: dir, Files: s, Roots: s, Params: map[string]string{}}
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		env.Params[k] = v
	}
	p, err := Expand(context.Background(), f, env)
	if err != nil {
		s.t.Fatal(err)
	}
	checkPlan(s.t, p)
	return p
}

func TestExampleWordcount(t *testing.T) {
	s := newSerial(t)
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("go is not on PATH: %v", err)
	}
	src := filepath.Join(strings.TrimSpace(string(root)), "src", "container")
	if _, err := os.Stat(src); err != nil {
		t.Skipf("the sources of Go are not here: %v", err)
	}
	p := s.example("wordcount", "graph.yaml", func(dir string) {
		if err := os.Symlink(src, filepath.Join(dir, "src")); err != nil {
			t.Fatal(err)
		}
	}, "top=5")
	got := s.content(s.run(p)["top.txt"])
	counts := map[string]int{}
	if err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, ".go") {
			return err
		}
		b, err := os.ReadFile(p)
		for _, w := range strings.FieldsFunc(string(b), func(r rune) bool {
			return r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			counts[w]++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var words []string
	for w := range counts {
		words = append(words, w)
	}
	slices.SortFunc(words, func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	want := ""
	for _, w := range words[:5] {
		want += fmt.Sprintf("%d %s\n", counts[w], w)
	}
	if got != want {
		t.Errorf("top.txt =\n%swant\n%s", got, want)
	}
}

func TestExampleFib(t *testing.T) {
	s := newSerial(t)
	p := s.example("fib", "graph.json", nil)
	if got := strings.TrimSpace(s.content(s.run(p)["fib.txt"])); got != "2880067194370816120" {
		t.Errorf("fib(90) = %s, want 2880067194370816120", got)
	}
	if s.ran != 91+89 {
		t.Errorf("ran %d thunks, want each number and each sum once: 91 and 89", s.ran)
	}
}

func TestExampleVideo(t *testing.T) {
	s := newSerial(t)
	p := s.example("video", "graph.yaml", nil, "seconds=3", "chunk=1", "chunks=3", "size=160x90")
	film := s.run(p)["film.mp4"]
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", s.objects[film.Digest]).Output()
	if err != nil {
		t.Fatalf("probing film.mp4: %v", err)
	}
	if d, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64); err != nil || d < 2.9 || d > 3.2 {
		t.Errorf("film.mp4 lasts %s s, want 3", out)
	}
}

func TestExampleThumbs(t *testing.T) {
	s := newSerial(t)
	p := s.example("thumbs", "graph.yaml", func(dir string) {
		if _, err := exec.LookPath("convert"); err != nil {
			t.Skip("ImageMagick is not on this machine")
		}
		cmd := exec.Command("./pictures.sh", "2")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("pictures.sh: %v\n%s", err, out)
		}
	})
	got := s.run(p)
	for _, name := range []string{"thumbs/picture-1.jpg.png", "thumbs/picture-2.jpg.png"} {
		if o := got[name]; o.Kind != wire.File || !strings.HasPrefix(s.content(o), "\x89PNG") {
			t.Errorf("%s is %v, want a PNG", name, o.Kind)
		}
	}
}

func TestExampleOCI(t *testing.T) {
	s := newSerial(t)
	p := s.example("oci", "graph.yaml", func(dir string) {
		cmd := exec.Command("./image.sh")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("image.sh: %v\n%s", err, out)
		}
	})
	if len(p.Tasks) != 1 || p.Targets[0].Path != "inside.txt" {
		t.Errorf("expanded to %d tasks, target %q", len(p.Tasks), p.Targets[0].Path)
	}
}

// The network of examples/redis is not there without a mesh; see cluster-test.
func TestExampleRedis(t *testing.T) {
	s := newSerial(t)
	p := s.example("redis", "graph.yaml", nil, "clients=3")
	if len(p.Tasks) != 4 || len(p.Targets) != 3 || p.Targets[2].Path != "bench/2" {
		t.Fatalf("expanded to %d tasks, targets %+v", len(p.Tasks), p.Targets)
	}
	for i, task := range p.Tasks {
		if g := task.Gang; g == nil || g.Size != 4 || !g.Network || g.Service != (i == 0) || (g.Ready == 6379) != (i == 0) {
			t.Errorf("%s is of the gang %+v", task.Name, g)
		}
	}
}
