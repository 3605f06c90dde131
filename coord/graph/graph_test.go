package graph

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"gaggle/wire"
)

// memory is Files and Roots over a file system in memory; it counts what it is asked for.
type memory struct {
	fs fstest.MapFS

	mu    sync.Mutex // guards the fields below
	added map[string]int
	roots map[string]int
	names map[wire.Digest]string // what listings call objects
}

// files makes a memory of "name" or "name=content".
func files(names ...string) *memory {
	m := &memory{fs: fstest.MapFS{}, added: map[string]int{}, roots: map[string]int{}, names: map[wire.Digest]string{}}
	for _, n := range names {
		name, content, ok := strings.Cut(n, "=")
		if !ok {
			content = "content of " + name
		}
		content = strings.NewReplacer("\x01", "\n", "\x02", "\r").Replace(content)
		m.fs[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

func (m *memory) named(d wire.Digest, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[d] = name
}

func (m *memory) Add(_ context.Context, host string) (wire.Object, error) {
	p, err := filepath.Rel("/graph", host)
	if err != nil {
		return wire.Object{}, err
	}
	p = filepath.ToSlash(p)
	m.mu.Lock()
	m.added[p]++
	m.mu.Unlock()
	info, err := fs.Stat(m.fs, p)
	if err != nil {
		return wire.Object{}, err
	}
	o := wire.Object{Kind: wire.File, Digest: wire.Sum([]byte(p)), Size: uint64(info.Size())}
	if info.IsDir() {
		o.Kind = wire.Dir
	} else {
		o.Digest = wire.Sum(append([]byte(p), m.fs[p].Data...))
	}
	m.named(o.Digest, p)
	return o, nil
}

func (m *memory) Put(_ context.Context, b []byte) (wire.Object, error) {
	o := wire.FileObject(wire.BlobID(wire.Sum(b)), uint64(len(b)), false)
	m.named(o.Digest, fmt.Sprintf("text %q", b))
	return o, nil
}

func (m *memory) Find(_ context.Context, o wire.Object) (wire.Object, error) {
	if o.Digest == (wire.Digest{}) {
		return o, fs.ErrNotExist
	}
	o.Size = 42
	m.named(o.Digest, "cid "+o.Digest.Short())
	return o, nil
}

func (m *memory) Root(_ context.Context, s RootSpec) (wire.Object, error) {
	id := strings.Join(s.Tools, ",")
	for _, other := range []string{s.Dir, s.OCI, s.Tree} {
		if other != "" {
			id = path.Base(filepath.ToSlash(other))
		}
	}
	if s.Include != nil {
		id += "+" + strings.Join(s.Include, ",")
	}
	m.mu.Lock()
	m.roots[id]++
	m.mu.Unlock()
	if strings.Contains(id, "missing-tool") {
		return wire.Object{}, wire.Errorf(wire.CauseNotFound, "install it", "missing-tool is not on PATH")
	}
	d := wire.Sum([]byte("root " + id))
	m.named(d, id)
	return wire.DirObject(wire.TreeID(d), 1000), nil
}

func (m *memory) env(params ...string) Env {
	e := Env{Dir: filepath.FromSlash("/graph"), FS: m.fs, Files: m, Roots: m, Platform: "linux/amd64", Params: map[string]string{}}
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		e.Params[k] = v
	}
	return e
}

// expandText decodes and expands.
func (m *memory) expandText(text string, params ...string) (*Plan, error) {
	f, err := Decode(strings.NewReader(text), "graph.yaml")
	if err != nil {
		return nil, err
	}
	return Expand(context.Background(), f, m.env(params...))
}

// listing writes a plan for comparison.
func (m *memory) listing(p *Plan) string {
	var b strings.Builder
	name := map[wire.ThunkID]string{}
	for i, t := range p.Tasks {
		th := p.Thunks[i]
		if name[p.IDs[i]] == "" {
			name[p.IDs[i]] = t.Name
		}
		fmt.Fprintf(&b, "%s: %s\n", t.Name, quoteArgs(th.Command))
		if r := m.names[wire.Digest(th.Root)]; r != "" && !th.Builtin() {
			fmt.Fprintf(&b, "  root %s\n", r)
		}
		for _, v := range th.Env {
			fmt.Fprintf(&b, "  env %s=%q\n", v.Name, v.Value)
		}
		for _, in := range th.Inputs {
			fmt.Fprintf(&b, "  in %s = %s\n", in.Path, m.what(in.Object, in.Output, name))
		}
		if th.Stdin != "" {
			fmt.Fprintf(&b, "  stdin %s\n", th.Stdin)
		}
		for _, o := range th.Outputs {
			fmt.Fprintf(&b, "  out %s (%s)", o.Path, o.Kind)
			if o.Graph != "" {
				fmt.Fprintf(&b, " or graph %s", o.Graph)
			}
			b.WriteByte('\n')
		}
		if h := fmt.Sprintf("%+v", t.Hints); h != fmt.Sprintf("%+v", wire.Hints{}) {
			fmt.Fprintf(&b, "  hints %s\n", h)
		}
		if t.Gang != nil {
			fmt.Fprintf(&b, "  sandbox profile %d, gang %+v\n", th.ABI, *t.Gang)
		}
	}
	for _, t := range p.Targets {
		fmt.Fprintf(&b, "target %s = %s\n", t.Path, m.what(wire.Object{Kind: wire.Pending, Digest: wire.Digest(t.Thunk)}, t.Output, name))
	}
	return b.String()
}

func (m *memory) what(o wire.Object, output string, name map[wire.ThunkID]string) string {
	switch {
	case o.Kind == wire.Pending:
		return "@" + name[wire.ThunkID(o.Digest)] + "/" + output
	case o.Kind == wire.Exec:
		return m.names[o.Digest] + " (executable)"
	}
	return m.names[o.Digest]
}

func quoteArgs(args []string) string {
	var q []string
	for _, a := range args {
		if harmless(a) {
			q = append(q, a)
		} else {
			q = append(q, fmt.Sprintf("%q", a))
		}
	}
	return strings.Join(q, " ")
}

func mustErr(t *testing.T, err error) *wire.Error {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T %v, want a *wire.Error", err, err)
	}
	return e
}
