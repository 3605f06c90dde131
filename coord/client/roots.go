package client

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gaggle/blobstore"
	"gaggle/coord/graph"
	"gaggle/sandbox/capture"
	"gaggle/wire"
)

// roots makes root trees for a graph. It is a graph.Roots. Captured tools are remembered with
// the identity of every file and directory that went in, so that an unchanged set of tools costs
// some stats.
type roots struct {
	b     *backend
	space wire.Space
	path  string // $PATH of the command
	send  func(*Event) error
	from  *sources
}

// A captured is a root tree made from tools, as JSON on disk.
type captured struct {
	Tree  string     `json:"tree"`
	Size  uint64     `json:"size"`
	Tools []identity `json:"tools"` // where each name was found
	Files []identity `json:"files"` // what is in it, as far as it is of this machine
}

// An identity tells whether a file or directory is what it was: its time of change moves with
// every write, rename and chmod.
type identity struct {
	Path  string `json:"path"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // nanoseconds
	Mode  uint32 `json:"mode"`
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
	case spec.OCI != "":
		return capture.OCI(ctx, spec.OCI, sink)
	}
	tools := r.find(spec.Tools)
	file := r.b.dir.path("capture", wire.Sum([]byte(string(r.space)+"\x00"+strings.Join(spec.Tools, "\x00")+"\x00\x00"+strings.Join(spec.Include, "\x00"))).Short()+".json")
	if o, ok := r.remembered(file, tools); ok {
		return o, nil
	}
	if err := r.send(&Event{Note: "capturing " + strings.Join(spec.Tools, " ")}); err != nil {
		return wire.Object{}, err
	}
	o, err := capture.Tools(ctx, spec.Tools, capture.Options{Path: r.path, Include: spec.Include}, sink)
	if err != nil {
		return o, err
	}
	c := &captured{Tree: o.CID(), Size: o.Size, Tools: tools}
	if err := r.list(wire.TreeID(o.Digest), "/", c); err != nil {
		return o, err
	}
	b, err := json.Marshal(c)
	if err == nil && len(b) < maxCaptured && len(spec.Include) == 0 {
		err = writeFile(file, b)
	}
	return o, err
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

// find returns the identities of the programs that the names stand for. A name that is not found
// has none; capture says what is wrong with it.
func (r *roots) find(names []string) []identity {
	found := make([]identity, 0, len(names))
	for _, name := range names {
		path := name
		if !filepath.IsAbs(name) {
			path = lookPath(name, r.path)
		}
		id, _ := identify(path, os.Stat)
		found = append(found, id)
	}
	return found
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

func identify(path string, stat func(string) (os.FileInfo, error)) (identity, bool) {
	info, err := stat(path)
	if err != nil {
		return identity{Path: path}, false
	}
	return identity{Path: path, Size: info.Size(), Mtime: info.ModTime().UnixNano(), Mode: uint32(info.Mode())}, true
}

// remembered returns the tree of an earlier capture if the machine and the store still are as
// they were.
func (r *roots) remembered(file string, tools []identity) (o wire.Object, ok bool) {
	c := new(captured)
	if readJSON(file, maxCaptured, c) != nil || !slices.Equal(c.Tools, tools) {
		return o, false
	}
	for _, f := range c.Files {
		if now, _ := identify(f.Path, os.Lstat); now != f {
			return o, false
		}
	}
	id, err := wire.ParseTreeID(c.Tree)
	if err != nil {
		return o, false
	}
	o = wire.DirObject(id, c.Size)
	missing, err := r.b.store.Missing(r.space, o)
	return o, err == nil && len(missing) == 0
}

// list notes the identity of what a tree holds, where this machine has a file or directory at
// the same path. Directories near the root are left out: they change all the time, and a new
// name in one of them is no part of what was captured.
func (r *roots) list(id wire.TreeID, dir string, c *captured) error {
	t, err := r.b.store.Tree(r.space, id)
	if err != nil {
		return err
	}
	for _, e := range t.Entries {
		path := filepath.Join(dir, e.Name)
		if id, ok := identify(path, os.Lstat); ok && (e.Object.Kind != wire.Dir || strings.Count(path, "/") > 3) {
			c.Files = append(c.Files, id)
		}
		if e.Object.Kind == wire.Dir {
			if err := r.list(wire.TreeID(e.Object.Digest), path, c); err != nil {
				return err
			}
		}
	}
	return nil
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
