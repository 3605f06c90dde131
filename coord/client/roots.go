package client

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gaggle/blobstore"
	"gaggle/coord/graph"
	"gaggle/sandbox/capture"
	"gaggle/wire"
)

// roots makes root trees for a graph. It is a graph.Roots. Captured tools are remembered with
// the identity of all that the capture looked at, so that an unchanged set of tools costs some
// stats.
type roots struct {
	b     *backend
	space wire.Space
	path  string // $PATH of the command
	dir   string // of the graph
	send  func(*Event) error
	from  *sources
}

// A captured is a root tree made from tools, as JSON on disk.
type captured struct {
	Tree string             `json:"tree"`
	Size uint64             `json:"size"`
	Seen []capture.Identity `json:"seen"`
}

// maxCaptured bounds a remembered capture on disk: 200,000 files with paths of 200 bytes.
const maxCaptured = 64 << 20

// Root makes the tree that spec asks for.
func (r *roots) Root(ctx context.Context, spec graph.RootSpec) (wire.Object, error) {
	o, err := r.make(ctx, spec)
	again := *r
	again.send = func(*Event) error { return nil } // the command may be gone
	return r.from.note("a root", func(ctx context.Context) (wire.Object, error) { return again.make(ctx, spec) }, o, err)
}

func (r *roots) make(ctx context.Context, spec graph.RootSpec) (wire.Object, error) {
	sink := storeSink{r.b.store, r.space}
	switch {
	case spec.Tree != "":
		return r.tree(spec.Tree)
	case spec.Dir != "":
		return capture.Dir(ctx, spec.Dir, capture.DirOptions{Root: true}, sink)
	}
	file := r.b.dir.path("capture", r.key(spec)+".json")
	if o, ok := r.remembered(file); ok {
		return o, nil
	}
	what := strings.Join(spec.Tools, " ")
	switch {
	case spec.OCI != "":
		what = spec.OCI
	case what == "":
		what = "what include names"
	}
	if err := r.send(&Event{Note: "capturing " + what}); err != nil {
		return wire.Object{}, err
	}
	begun := time.Now()
	root, err := r.capture(ctx, spec, sink)
	if err != nil {
		return wire.Object{}, err
	}
	if root.Seen != nil {
		b, err := json.Marshal(&captured{Tree: root.Object.CID(), Size: root.Object.Size, Seen: root.Seen})
		if err == nil && len(b) < maxCaptured {
			err = writeFile(file, b)
		}
		if err != nil {
			return wire.Object{}, err
		}
	}
	if err := r.send(&Event{Captured: &Captured{what, root.Object.Size, time.Since(begun)}}); err != nil {
		return wire.Object{}, err
	}
	for _, note := range root.Notes {
		if err := r.send(&Event{Note: note}); err != nil {
			return wire.Object{}, err
		}
	}
	return root.Object, nil
}

func (r *roots) capture(ctx context.Context, spec graph.RootSpec, sink capture.Sink) (*capture.Root, error) {
	if spec.OCI != "" {
		return capture.OCI(ctx, spec.OCI, sink)
	}
	return capture.Tools(ctx, spec.Tools, capture.Options{Path: r.path, Dir: r.dir, Include: spec.Include}, sink)
}

// key names what a capture depends on but for the machine's files.
func (r *roots) key(spec graph.RootSpec) string {
	b, err := json.Marshal([]any{capture.Rules, r.space, r.path, r.dir, spec.OCI, spec.Tools, spec.Include})
	if err != nil {
		panic(err) // strings
	}
	return wire.Sum(b).Short()
}

// tree returns the root named by a CID.
func (r *roots) tree(text string) (wire.Object, error) {
	id, err := wire.ParseTreeID(text)
	if err != nil {
		return wire.Object{}, wire.Errorf(wire.CauseInvalid, "", "root tree: %v", err)
	}
	t, err := r.b.store.Tree(r.space, id)
	if err != nil {
		return wire.Object{}, wire.Errorf(wire.CauseInvalid, "fetch it first with coord get, or name another root", "root tree %s is not in this machine's store", text)
	}
	return wire.DirObject(id, t.Size()), nil
}

// lookPath returns the file that a command name stands for, "" if there is none.
func lookPath(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// remembered returns the tree of an earlier capture if the machine and the store still are as
// they were.
func (r *roots) remembered(file string) (o wire.Object, ok bool) {
	c, err := r.b.captures.read(file)
	if err != nil || len(c.Seen) == 0 || !capture.Unchanged(c.Seen) {
		return o, false
	}
	id, err := wire.ParseTreeID(c.Tree)
	if err != nil {
		return o, false
	}
	o = wire.DirObject(id, c.Size)
	missing, err := r.b.store.Missing(r.space, o)
	return o, err == nil && len(missing) == 0
}

// storeSink puts what is captured into the store.
type storeSink struct {
	store *blobstore.Store
	space wire.Space
}

func (s storeSink) PutFile(ctx context.Context, f *os.File, size int64) (wire.BlobID, error) {
	return s.store.PutFile(ctx, s.space, f, size)
}

func (s storeSink) PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error) {
	return s.store.PutTree(ctx, s.space, t)
}

func (s storeSink) AddPath(ctx context.Context, path string) (wire.Object, error) {
	return s.store.AddPath(ctx, s.space, path, blobstore.AddOptions{})
}
