// Package graph turns graph files into thunks: Decode reads the file, Expand makes its tasks
// into instances and those into thunks, for a graph that a task wrote as for one that a user
// wrote. Schema describes the file to editors and SDKs.
//
// A graph file is JSON or YAML 1.2 of one data model. What a key means stands beside it in
// table.go, which drives the decoder and the schema alike. The rules that need more than a line:
//
// Defaults. A task's scalar or list replaces that of `defaults`; env and labels are merged key by
// key, the task's winning. root, tools and include are one thing: a task that has root or tools
// takes none of the three from defaults; one that has only include keeps the root of defaults.
// The program of shell, bash or run is added to tools by itself.
//
// Instances. A task has one, or one for every combination of its `for` variables (the last
// varies fastest), or `count`, or the tree of a `reduce`. Each has a key: the value of the
// variable, several joined by commas; the first column of a csv row; the index of a count; for
// a chunk the bits of its hash prefix. Keys name instances in "@task[key]/output", in the names
// of tasks ("count[a.go]") and below an input or target that is all instances at once: there a
// key that is a usable relative path stays one, any other is percent-encoded.
//
// Paths. Local references are relative to the graph file and stay below its directory; roots may
// be anywhere on the machine. A list of inputs keeps the path that each has where it is from, an
// object gives it a new one. "@task/dir//part" becomes a thunk of its own that the worker runs
// itself; "part/" with a final slash says that it is a directory, as outputs do.
//
// Sub-graphs have their parent's root, env, platform and hints under what they say themselves, its
// inputs as "@parent/path", for over lists and ranges, and exactly one target. They have no local
// files, no {"text"}, and no root but the parent's or {"tree"}.
//
// Groups. chunk and reduce group by hash of the key, never by position: see group.go.
//
// Templates. {{name}} stands for a variable or parameter in any string of a task, in the sources
// of `for` and in targets; a target's path may use the variables of the task it refers to.
// Anything else in double braces is left as it is, and what is put in is not looked at again. In
// shell and bash a value is quoted to fit where it stands: see shell.go.
package graph

import (
	"context"
	"io"
	"io/fs"

	"gaggle/wire"
)

// Env is what a graph file does not say itself.
type Env struct {
	// Dir is the directory of the graph file as a host path. Local references are relative to
	// it and may not leave it.
	Dir string
	// FS reads lines, csv and globs; nil reads Dir.
	FS fs.FS
	// Params overrides values of the file's params. One that the file does not declare is an
	// error.
	Params map[string]string
	Files  Files
	Roots  Roots
	// Platform of the thunks, "os/arch"; "" is linux on this machine's architecture.
	Platform string
	// Parent is set when the graph was written by a task; then Dir, FS, Params, Files, Roots
	// and Platform are not used.
	Parent *Parent
}

// Files puts local files where thunks can be given them. Its methods are called from several
// goroutines at once.
type Files interface {
	// Add hashes the file or directory at a host path into the store. The error wraps
	// fs.ErrNotExist if there is nothing.
	Add(ctx context.Context, path string) (wire.Object, error)
	// Put stores the bytes of a {"text": ..}.
	Put(ctx context.Context, data []byte) (wire.Object, error)
	// Find returns the object of a {"cid": ..}, given its kind (File or Dir) and digest, with
	// its size. The error wraps fs.ErrNotExist if it is not at hand.
	Find(ctx context.Context, o wire.Object) (wire.Object, error)
}

// Roots makes the root tree of a thunk, and returns it as a Dir object. Equal specs are asked
// for once per Expand.
type Roots interface {
	Root(ctx context.Context, spec RootSpec) (wire.Object, error)
}

// A RootSpec says what the file system of a thunk is: one of Tools (with Include), Dir, Tree and
// OCI.
type RootSpec struct {
	Tools   []string // names looked up on this machine's PATH, sorted
	Include []string // absolute glob patterns of more files of this machine
	Dir     string   // host path of a directory
	Tree    string   // CID of a tree
	OCI     string   // host path of an OCI image archive
}

// Parent is the task whose output a graph is.
type Parent struct {
	Name     string      // of the task; the new ones are called Name/task
	Thunk    *wire.Thunk // resolved: gives root, env, platform and the inputs "@parent/.."
	Hints    wire.Hints
	RootSize uint64 // bytes of the root
}

// A Plan is a graph as thunks.
type Plan struct {
	// Tasks stand after those they depend on, and otherwise in the order of the file and of
	// their keys. Two may be the same thunk.
	Tasks   []wire.TaskSpec
	Thunks  []*wire.Thunk  // of Tasks, decoded
	IDs     []wire.ThunkID // of Tasks
	Targets []wire.TargetSpec
	// Leaves are the objects that no task makes: local inputs, texts and roots, each once.
	// For a sub-graph they are what the parent has, and {"cid": ..}.
	Leaves []wire.Object
}

// Decode reads a graph file: JSON if the name ends in .json or the text begins with a brace and
// the name does not end in .yaml or .yml, else YAML. The name is used in messages, which say no places
// if it is empty. The error is a
// *wire.Error of CauseInvalid, or CauseTooLarge, that lists what is wrong with line and path, or
// what reading r gave.
func Decode(r io.Reader, name string) (*File, error) {
	data, err := readAll(r, name)
	if err != nil {
		return nil, err
	}
	return decode(data, name)
}

// Expand makes the thunks of f. The error is a *wire.Error of CauseInvalid that lists what is
// wrong with line and path, of CauseGraph if env has a Parent, or what Files and Roots or ctx
// gave, wrapped.
func Expand(ctx context.Context, f *File, env Env) (*Plan, error) {
	return expand(ctx, f, env)
}
