package client

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// An Inferred is what coord infer leaves of a build: the calls of tools that nobody has waited for,
// in the order in which they were made. coord force carries them out.
type Inferred struct {
	Version int            `json:"version"`
	Command []string       `json:"command"` // with its arguments
	Dir     string         `json:"dir"`     // of the command, absolute
	Made    time.Time      `json:"made"`
	Envs    [][]string     `json:"environments"` // NAME=value
	Calls   []InferredCall `json:"calls"`
}

// An InferredCall is one of its calls.
type InferredCall struct {
	Tool  string         `json:"tool"`        // the real one, absolute
	Dir   string         `json:"dir"`         // working directory, absolute
	Args  []string       `json:"args"`        // after the tool's name
	Env   int            `json:"environment"` // place in Envs
	Umask uint32         `json:"umask"`
	Makes []InferredFile `json:"makes"`
	Needs []InferredNeed `json:"needs,omitempty"`
	Made  bool           `json:"made,omitempty"` // by coord infer: a program of the build needed it
}

// An InferredNeed is an output of another call that a call reads.
type InferredNeed struct {
	Call int    `json:"call"` // its place in Calls, before this one
	Path string `json:"path"` // absolute, of the file as this call names it
}

// An InferredFile is what a call makes.
type InferredFile struct {
	Path string `json:"path"`           // absolute
	Name string `json:"name,omitempty"` // what the build called it in the end; "" is as Path
	Gone bool   `json:"gone,omitempty"` // the build has removed it again
}

// End returns the path at which the file is when the build has ended, "" if it is not.
func (f *InferredFile) End() string {
	switch {
	case f.Gone:
		return ""
	case f.Name != "":
		return f.Name
	}
	return f.Path
}

const (
	inferredVersion = 1
	maxInferred     = 256 << 20 // bytes of such a file
	keptInferred    = 24        // files, of as many directories
)

// inferredOf notes calls as they would be made.
func inferredOf(cmd *Command, calls []*deferredCall, now time.Time) *Inferred {
	in := &Inferred{Version: inferredVersion, Command: cmd.Build.Command, Dir: cmd.Dir, Made: now, Envs: [][]string{}, Calls: make([]InferredCall, len(calls))}
	number, envs := map[*deferredCall]int{}, map[string]int{}
	for i, c := range calls {
		number[c] = i
		key := strings.Join(c.asked.env, "\x00")
		env, known := envs[key]
		if !known {
			env = len(in.Envs)
			envs[key], in.Envs = env, append(in.Envs, c.asked.env)
		}
		one := &in.Calls[i]
		*one = InferredCall{Made: c.demanded, Tool: c.asked.tool, Dir: c.asked.dir, Args: c.asked.args, Env: env, Umask: uint32(c.asked.umask)}
		for _, f := range c.files {
			made := InferredFile{Path: f.path, Name: cmp.Or(f.end, f.Name())}
			if _, err := os.Lstat(made.Name); err != nil {
				made.Name = "" // made, and removed again
			}
			if made.Gone = made.Name == ""; made.Name == made.Path {
				made.Name = ""
			}
			one.Makes = append(one.Makes, made)
		}
		for _, need := range c.needs {
			if n, ok := number[need.call]; ok {
				one.Needs = append(one.Needs, InferredNeed{n, need.path})
			}
		}
	}
	in.replaced()
	return in
}

// replaced takes those files for gone no longer that a later call makes anew.
func (in *Inferred) replaced() {
	later := map[string]bool{}
	for i := range slices.Backward(in.Calls) {
		makes := in.Calls[i].Makes
		for k := range makes {
			makes[k].Gone = makes[k].Gone && !later[makes[k].Path]
		}
		for _, m := range makes {
			later[m.Path] = true
		}
	}
}

// inferredDir is where the state directory has what was inferred, a file for each directory.
func (d stateDir) inferredDir() string { return d.path("inferred") }

// save writes what was inferred into the state directory, in place of what was for the same directory,
// and forgets the oldest.
func (in *Inferred) save(d stateDir) error {
	dir := d.inferredDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeJSON(inferredFile(d, in.Dir), in); err != nil {
		return err
	}
	files := inferredFiles(d)
	for _, old := range files[min(keptInferred, len(files)):] {
		if err := os.Remove(old); err != nil {
			return err
		}
	}
	return nil
}

// inferredFiles returns the files of what was inferred, the latest first.
func inferredFiles(d stateDir) []string {
	entries, err := os.ReadDir(d.inferredDir())
	if err != nil {
		return nil // nothing was
	}
	var files []string
	times := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".json") {
			path := filepath.Join(d.inferredDir(), e.Name())
			files = append(files, path)
			times[path] = info.ModTime()
		}
	}
	slices.SortFunc(files, func(a, b string) int { return times[b].Compare(times[a]) })
	return files
}

// forgetInferred forgets what was inferred for a directory.
func forgetInferred(d stateDir, dir string) error {
	err := os.Remove(inferredFile(d, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// inferredFile is where that is kept.
func inferredFile(d stateDir, dir string) string {
	return filepath.Join(d.inferredDir(), wire.Sum([]byte(dir)).Short()+".json")
}

// AllInferred returns what was inferred, the latest first, but for files that are damaged or another
// version's.
func AllInferred(state string) (all []*Inferred) {
	for _, path := range inferredFiles(stateDir(state)) {
		if in, err := ReadInferred(path); err == nil {
			all = append(all, in)
		}
	}
	return all
}

// ReadInferred reads a file that coord infer has written.
func ReadInferred(path string) (*Inferred, error) {
	in := new(Inferred)
	if err := readJSON(path, maxInferred, in); err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "coord infer writes such a file", "%v", err)
	}
	if err := in.check(); err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "run coord infer again", "%s: %v", path, err)
	}
	return in, nil
}

// check finds what coord infer would not have written.
func (in *Inferred) check() error {
	if in.Version != inferredVersion {
		return fmt.Errorf("it has version %d, not %d", in.Version, inferredVersion)
	}
	for i := range in.Calls {
		c := &in.Calls[i]
		if !filepath.IsAbs(c.Tool) || !filepath.IsAbs(c.Dir) || c.Env < 0 || c.Env >= len(in.Envs) {
			return fmt.Errorf("call %d has no tool, no directory or no environment", i)
		}
		if slices.ContainsFunc(c.Needs, func(n InferredNeed) bool { return n.Call < 0 || n.Call >= i }) {
			return fmt.Errorf("call %d needs one that is not before it", i)
		}
		relative := func(m InferredFile) bool { return !filepath.IsAbs(m.Path) || m.Name != "" && !filepath.IsAbs(m.Name) }
		if slices.ContainsFunc(c.Makes, relative) {
			return fmt.Errorf("call %d makes a file whose path is not absolute", i)
		}
	}
	return nil
}

// Makers returns the calls, by their places, that are to be made so that a file is there, in their order,
// those too that coord infer has made: their sources may have changed. They are none if no call makes it.
// "" is all that was left.
func (in *Inferred) Makers(file string) []int {
	needed := make([]bool, len(in.Calls))
	last := -1
	for i := range in.Calls {
		makes := func(f InferredFile) bool { return f.End() == file }
		if file == "" {
			needed[i] = !in.Calls[i].Made
		} else if slices.ContainsFunc(in.Calls[i].Makes, makes) {
			last = i // a file that is made twice is what the last call makes
		}
	}
	if last >= 0 {
		needed[last] = true
	}
	var calls []int
	for i := len(in.Calls) - 1; i >= 0; i-- {
		if needed[i] {
			calls = append(calls, i)
			for _, n := range in.Calls[i].Needs {
				needed[n.Call] = true
			}
		}
	}
	slices.Reverse(calls)
	return calls
}
