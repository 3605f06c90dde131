package sdk

import "errors"

// A Name is a task's, as others refer to it.
type Name string

// Output refers to an output of the task, "stdout" too. If the task has several instances it is a
// directory with that of each.
func (n Name) Output(path string) Ref { return Ref{ref: "@" + string(n) + "/" + path} }

// Instance refers to an output of one instance: key is the value of its variable, several joined
// by commas, or its index.
func (n Name) Instance(key, path string) Ref {
	return Ref{ref: "@" + string(n) + "[" + key + "]/" + path}
}

// A Ref says which file or directory is meant. It is made by the functions that return one; the
// zero value is none.
type Ref struct {
	ref  string // the string form, or else one of those below
	text *string
	cid  string
	glob string
	size uint64
	exec bool
}

// File refers to a local file or directory, by a path relative to the graph file, or to where
// coord runs if the graph comes through a pipe. It may be a list, "{{src}}", of a variable that is
// one.
func File(path string) Ref { return Ref{ref: path} }

// Files refers to several.
func Files(paths ...string) []Ref {
	refs := make([]Ref, len(paths))
	for i, p := range paths {
		refs[i] = File(p)
	}
	return refs
}

// Parent refers to an input of the task that writes the graph.
func Parent(path string) Ref { return Ref{ref: "@parent/" + path} }

// Text is a file with this content.
func Text(content string) Ref { return Ref{text: &content} }

// CID is a file or directory that the mesh holds, by its CID. Its size in bytes is needed where the
// object is not on the machine that submits; 0 says nothing.
func CID(cid string, sizeBytes uint64) Ref { return Ref{cid: cid, size: sizeBytes} }

// Glob is all local files that match a pattern, with the paths they have. It stands in Task.Inputs
// only.
func Glob(pattern string) Ref { return Ref{glob: pattern} }

// Executable returns what r is, a Text or CID, as a file that may be run.
func (r Ref) Executable() Ref {
	r.exec = true
	return r
}

// Part returns what lies at a path below r, which is an output that is a directory. A final slash
// says that it is a directory itself. What else changes in r runs nothing anew.
func (r Ref) Part(path string) Ref {
	r.ref += "//" + path
	return r
}

// IsZero reports whether r refers to nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

var (
	errNoRef     = errors.New("a reference to nothing")
	errExec      = errors.New("only a text or CID can be made executable")
	errPartOfAll = errors.New("only an output or an input of the parent has parts")
)

// MarshalJSON returns r as it stands in a graph file. It fails for the zero value, and for a Part
// or Executable of what has none.
func (r Ref) MarshalJSON() ([]byte, error) {
	switch {
	case r.IsZero():
		return nil, errNoRef
	case r.exec && r.text == nil && r.cid == "":
		return nil, errExec
	case r.ref == "":
		return marshal(struct {
			Text *string `json:"text,omitempty"`
			CID  string  `json:"cid,omitempty"`
			Glob string  `json:"glob,omitempty"`
			Size uint64  `json:"size,omitempty"`
			Exec bool    `json:"executable,omitempty"`
		}{r.text, r.cid, r.glob, r.size, r.exec})
	case r.text != nil || r.cid != "" || r.glob != "":
		return nil, errPartOfAll
	}
	return marshal(r.ref)
}
