package wire

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Thunk is a command with everything that may influence its result. Its encoding is canonical
// DAG-CBOR:
//
//	[1, command, [[name, value], ...], root, [[path, [kind, link, size], output], ...],
//	 [[path, kind, graph], ...], stdin, platform, abi]
//
// and if it has a JobDir
//
//	[2, command, ... abi, jobdir, workdir]
//
// Hints (memory, timeout, priority ...) are not part of it: they steer where and for how long it
// runs, not what it computes.
type Thunk struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	// Command is argv; Command[0] is an absolute path in the root, a path in the job directory
	// (with a slash) or a name looked up in the root's PATH. A Builtin command runs without
	// a sandbox.
	Command []string
	Env     []EnvVar // ascending by Name
	Root    TreeID   // the file system it sees; zero only for a Builtin
	Inputs  []Input  // ascending by Path
	Outputs []Output // ascending by Path; none only of ABINetworked, for services
	Stdin   string   // path of the input that is standard input; "" is an empty one
	// Platform is the "os/arch" it runs on, as in GOOS/GOARCH and OCI.
	Platform string
	ABI      uint64 // version of the sandbox profile: ABI, ABIPlaced, ABINetworked

	// JobDir is where the command sees the job directory, for one whose outputs name their
	// sources by absolute paths: absolute and clean, a directory of the root, or one below an
	// empty directory of the root, or below /tmp.
	// "" is /job. With one the output path Stderr stands for the standard error, and ABI is
	// ABIPlaced.
	JobDir string `cbor:"-"`
	// WorkDir is the working directory, relative to the job directory; "" is that itself. It is
	// made if no input is in it.
	WorkDir string `cbor:"-"`
}

// Placed reports whether the thunk says where its job directory is to be seen.
func (t *Thunk) Placed() bool { return t.JobDir != "" }

// An EnvVar is one environment variable.
type EnvVar struct {
	_           struct{} `cbor:",toarray"`
	Name, Value string
}

// An Input is something laid out in the job directory before the command starts. An input that
// is also an output, or lies below a directory that is one, is a writable copy.
type Input struct {
	_      struct{} `cbor:",toarray"`
	Path   string
	Object Object
	Output string // if Object is Pending: the path of the output of that thunk
}

// An Output is something the command must leave in the job directory. The path Stdout means the
// standard output.
type Output struct {
	_    struct{} `cbor:",toarray"`
	Path string
	Kind Kind // File (executable or not, as it is found) or Dir
	// Graph, if not empty, is where the command may write a graph file instead of the output;
	// the raw value then holds an Object of kind Graph, and the graph's one target becomes the
	// output.
	Graph string
}

// Stdout is the output path that stands for a command's standard output.
const Stdout = "stdout"

// Stderr is the output path that stands for the standard error of a thunk with a JobDir. Of
// others it is a file like any.
const Stderr = "stderr"

// Formats of thunks.
const (
	thunkPlain  = 1
	thunkPlaced = 2 // with a JobDir
)

// ThunkFormats are the formats of thunks that this build reads.
func ThunkFormats() []uint64 { return []uint64{thunkPlain, thunkPlaced} }

// ABI is the version of the sandbox profile that this build gives a thunk: what DESIGN calls its
// abi. It changes when the same thunk could compute something else.
const ABI = 1

// ABIPlaced is that of a thunk with a JobDir.
const ABIPlaced = 2

// ABINetworked is that of a thunk on a network of its gang's: ABI and an interface beside loopback,
// names by the resolver at 169.254.1.1, and GAGGLE_ADDR. Only nodes give it that have Hello.Overlay.
const ABINetworked = 3

// ABIs are the sandbox profiles that this build gives on every machine.
func ABIs() []uint64 { return []uint64{ABI, ABIPlaced} }

// FileTime is the modification time of every file that a command finds, and its SOURCE_DATE_EPOCH,
// in seconds: 1980-01-01 00:00:00 UTC. gzip refuses 0, and zip knows no earlier year.
const FileTime = 315_532_800

// The builtins: commands the worker carries out itself, on trees alone. Their Root is zero.
const (
	// BuiltinSelect is ["gaggle:select", path]: its one input "in" is a directory, its one output
	// "out" the object at path in it. It makes "@task/dir//sub/path" a thunk of its own, so that
	// a change elsewhere in the directory is cut off.
	BuiltinSelect = "gaggle:select"
)

// Builtin reports whether the worker runs t itself.
func (t *Thunk) Builtin() bool {
	return len(t.Command) > 0 && strings.HasPrefix(t.Command[0], "gaggle:")
}

// NewThunk sorts the parts of t that have an order, sets its version, checks it and returns it.
func NewThunk(t Thunk) (*Thunk, error) {
	t.Version = thunkPlain
	if t.Placed() {
		t.Version = thunkPlaced
	}
	slices.SortFunc(t.Env, func(a, b EnvVar) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Inputs, func(a, b Input) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(t.Outputs, func(a, b Output) int { return strings.Compare(a.Path, b.Path) })
	return &t, t.check()
}

// Encode returns the canonical encoding and the id it hashes to.
func (t *Thunk) Encode() (ThunkID, []byte) {
	b := encodeHashed(t)
	return ThunkID(Sum(b)), b
}

// DecodeThunk reads a canonical encoding and checks it.
func DecodeThunk(b []byte) (*Thunk, error) {
	t := new(Thunk)
	var err error
	if v, _ := formatOf(b); v == thunkPlaced {
		p := new(placedThunk)
		if err = decodeHashed(b, p, MaxThunk, thunkPlaced); err == nil {
			t = p.thunk()
		}
	} else {
		err = decodeHashed(b, t, MaxThunk, thunkPlain)
	}
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return nil, fmt.Errorf("decoding a thunk: %w", err)
	}
	return t, nil
}

// Resolved reports whether every input is a blob or a tree, so that t can run and its result can
// be looked up.
func (t *Thunk) Resolved() bool {
	return !slices.ContainsFunc(t.Inputs, func(in Input) bool { return in.Object.Kind == Pending })
}

// OutputIndex returns the place of an output in t.Outputs, and in the values of t.
func (t *Thunk) OutputIndex(path string) (int, bool) {
	return slices.BinarySearchFunc(t.Outputs, path, func(o Output, p string) int { return strings.Compare(o.Path, p) })
}

// Resolve returns t with every Pending input replaced by what lookup gives for it (gg's
// reduction, ATC'19 section 3.3), which has another ThunkID: two thunks that differ only in how
// their inputs came to be are one from here on. It fails if lookup does not know an output or
// gives something that is not final.
func (t *Thunk) Resolve(lookup func(ThunkID, string) (Object, bool)) (*Thunk, error) {
	r := *t
	r.Inputs = slices.Clone(t.Inputs)
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if in.Object.Kind != Pending {
			continue
		}
		o, ok := lookup(ThunkID(in.Object.Digest), in.Output)
		if !ok || !o.Final() {
			return nil, fmt.Errorf("resolving input %q: thunk %s has no output %q", in.Path, ThunkID(in.Object.Digest), in.Output)
		}
		in.Object, in.Output = o, ""
	}
	return &r, nil
}

// InputBytes returns the size of everything the thunk reads but its root.
func (t *Thunk) InputBytes() (n uint64) {
	for i := range t.Inputs {
		n += t.Inputs[i].Object.Size
	}
	return n
}

func (t *Thunk) check() error {
	if t.Version != thunkPlain && t.Version != thunkPlaced || (t.Version == thunkPlaced) != t.Placed() {
		return &Error{Cause: CauseVersion, Message: fmt.Sprintf("thunk format %d is not known here", t.Version), Hint: "update gaggle on this machine"}
	}
	if len(t.Command) == 0 || t.Command[0] == "" {
		return fmt.Errorf("no command")
	}
	if t.Builtin() {
		if err := t.checkBuiltin(); err != nil {
			return err
		}
	}
	if len(t.Command) > MaxArgs || len(t.Env) > MaxArgs || len(t.Inputs) > MaxInputs || len(t.Outputs) > MaxOutputs {
		return fmt.Errorf("%d arguments, %d variables, %d inputs, %d outputs: the bounds are %d, %d, %d, %d",
			len(t.Command), len(t.Env), len(t.Inputs), len(t.Outputs), MaxArgs, MaxArgs, MaxInputs, MaxOutputs)
	}
	for _, a := range t.Command {
		if err := checkText(a); err != nil {
			return fmt.Errorf("argument: %w", err)
		}
	}
	for i, v := range t.Env {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || !utf8.ValidString(v.Name) || i > 0 && t.Env[i-1].Name >= v.Name {
			return fmt.Errorf("variable %q is badly named, out of order or there twice", v.Name)
		}
		if err := checkText(v.Value); err != nil {
			return fmt.Errorf("variable %q: %w", v.Name, err)
		}
	}
	if err := t.checkInputs(); err != nil {
		return err
	}
	if os, arch, ok := strings.Cut(t.Platform, "/"); !ok || !ValidName(os) || !ValidName(arch) {
		return fmt.Errorf("platform %q is not os/arch", t.Platform)
	}
	if err := t.checkPlace(); err != nil {
		return err
	}
	return t.checkOutputs()
}

func (t *Thunk) checkBuiltin() error {
	switch {
	case t.Command[0] != BuiltinSelect:
		return &Error{Cause: CauseVersion, Message: fmt.Sprintf("command %q is not known here", t.Command[0]), Hint: "update gaggle on this machine"}
	case len(t.Command) != 2 || len(t.Inputs) != 1 || t.Inputs[0].Path != "in" || len(t.Outputs) != 1 || t.Outputs[0].Path != "out":
		return fmt.Errorf("%s wants one path, the input \"in\" and the output \"out\"", BuiltinSelect)
	}
	return CheckPath(t.Command[1])
}

func (t *Thunk) checkInputs() error {
	for i, in := range t.Inputs {
		if err := CheckPath(in.Path); err != nil {
			return fmt.Errorf("input: %w", err)
		}
		if i > 0 && t.Inputs[i-1].Path >= in.Path {
			return fmt.Errorf("input %q is out of order or there twice", in.Path)
		}
		for j := range len(in.Path) {
			if in.Path[j] == '/' && t.hasInput(in.Path[:j]) {
				return fmt.Errorf("input %q lies below input %q", in.Path, in.Path[:j])
			}
		}
		pending := in.Object.Kind == Pending
		if !pending && !in.Object.Final() {
			return fmt.Errorf("input %q is %s", in.Path, in.Object.Kind)
		}
		if pending != (in.Output != "") {
			return fmt.Errorf("input %q: only the output of a thunk has an output name", in.Path)
		}
		if pending && in.Output != Stdout {
			if err := CheckPath(in.Output); err != nil {
				return fmt.Errorf("input %q: %w", in.Path, err)
			}
		}
	}
	if t.Stdin != "" && !t.hasInput(t.Stdin) {
		return fmt.Errorf("standard input %q is not an input", t.Stdin)
	}
	return nil
}

func (t *Thunk) hasInput(path string) bool {
	_, ok := slices.BinarySearchFunc(t.Inputs, path, func(in Input, p string) int { return strings.Compare(in.Path, p) })
	return ok
}

func (t *Thunk) checkOutputs() error {
	if len(t.Outputs) == 0 && t.ABI != ABINetworked { // as services are, which somebody else may reach
		return fmt.Errorf("no outputs: a thunk without one has no value")
	}
	for i, o := range t.Outputs {
		if err := CheckPath(o.Path); err != nil {
			return fmt.Errorf("output: %w", err)
		}
		if i > 0 && t.Outputs[i-1].Path >= o.Path {
			return fmt.Errorf("output %q is out of order or there twice", o.Path)
		}
		if o.Kind != File && o.Kind != Dir {
			return fmt.Errorf("output %q is declared as %s, want file or directory", o.Path, o.Kind)
		}
		if o.Graph != "" {
			if err := CheckPath(o.Graph); err != nil {
				return fmt.Errorf("output %q: graph: %w", o.Path, err)
			}
		}
	}
	return nil
}

func checkText(s string) error {
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return fmt.Errorf("%q holds a NUL or is not UTF-8", s[:min(len(s), 80)])
	}
	return nil
}
