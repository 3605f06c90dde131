package sdk

import (
	"errors"
	"fmt"
	"time"
)

// A Task is a command, or several of one form: at most one of For, Reduce and Count makes
// instances of it. It has one of Run, Shell and Bash.
type Task struct {
	Run   []string // the command, as a list of arguments
	Shell string   // a script for sh -eu
	Bash  string   // a script for bash -euo pipefail

	Inputs  []Ref             // what the command finds at the paths they have where they are from
	At      map[string]Ref    // instead of Inputs: what it finds at paths of your choice
	Stdin   Ref               // standard input; none if zero
	Outputs []string          // what it leaves: files, directories ("dir/"), "stdout"
	Graphs  map[string]string // of some outputs, the file in which it may leave a graph instead

	For    []Loop  // an instance for every combination of values, the last varying fastest
	Reduce *Reduce // a tree of instances
	Count  int     // so many instances, told apart by $GAGGLE_INDEX

	Settings

	Gang    string // tasks of one gang start together
	Overlay bool   // it reaches the others of its gang by their names
	Service bool   // it ends when the others of its gang have, and has no outputs
	Ready   int    // of a service: the TCP port that must answer before the others start
	// Deterministic says that equal gangs give equal values, which are remembered then.
	Deterministic bool
}

// Settings are what Defaults can say of every task. Zero values say nothing.
type Settings struct {
	Tools    []string          // programs of this machine that the task's file system is made of
	Include  []string          // absolute globs of more files of this machine, for Tools
	Root     Root              // the file system, instead of Tools
	Env      map[string]string // environment variables
	Labels   map[string]string // what the node's labels must be
	CPU      float64           // cores it keeps busy, 0.001 to 1024
	Memory   int64             // limit, bytes
	Timeout  time.Duration     // limit on running time
	Retries  int               // how often a failure of the task's own is tried again, 0 to 10
	Priority int               // -100 to 100; higher goes first
}

// A Root is the file system of a task. At most one field is set.
type Root struct {
	Dir  string `json:"dir,omitempty"`  // a directory of this machine
	Tree string `json:"tree,omitempty"` // the CID of a tree
	OCI  string `json:"oci,omitempty"`  // an OCI image archive
}

// fileSettings is Settings as the file has it.
type fileSettings struct {
	Tools    []string          `json:"tools,omitempty"`
	Include  []string          `json:"include,omitempty"`
	Root     Root              `json:"root,omitzero"`
	Env      map[string]string `json:"env,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	CPU      float64           `json:"cpu,omitempty"`
	Memory   int64             `json:"memory,omitempty"`
	Timeout  string            `json:"timeout,omitempty"`
	Retries  int               `json:"retries,omitempty"`
	Priority int               `json:"priority,omitempty"`
}

// file returns s as the file has it.
func (s *Settings) file() fileSettings {
	f := fileSettings{s.Tools, s.Include, s.Root, s.Env, s.Labels, s.CPU, s.Memory, "", s.Retries, s.Priority}
	if s.Timeout != 0 {
		f.Timeout = s.Timeout.String()
	}
	return f
}

// MarshalJSON returns s as it stands in a graph file.
func (s Settings) MarshalJSON() ([]byte, error) { return marshal(s.file()) }

// fileTask is Task as the file has it.
type fileTask struct {
	Run     []string     `json:"run,omitempty"`
	Shell   string       `json:"shell,omitempty"`
	Bash    string       `json:"bash,omitempty"`
	Inputs  any          `json:"inputs,omitempty"`
	Stdin   Ref          `json:"stdin,omitzero"`
	Outputs []fileOutput `json:"outputs,omitempty"`
	For     loops        `json:"for,omitempty"`
	Reduce  *Reduce      `json:"reduce,omitempty"`
	Count   int          `json:"count,omitempty"`
	fileSettings
	Gang    string     `json:"gang,omitempty"`
	Network string     `json:"network,omitempty"`
	Service bool       `json:"service,omitempty"`
	Ready   *fileReady `json:"ready,omitempty"`

	Deterministic bool `json:"deterministic,omitempty"`
}

type fileReady struct {
	TCP int `json:"tcp"`
}

// A fileOutput is a path, with a graph or not.
type fileOutput struct{ path, graph string }

func (o fileOutput) MarshalJSON() ([]byte, error) {
	if o.graph == "" {
		return marshal(o.path)
	}
	return marshal(struct {
		Path  string `json:"path"`
		Graph string `json:"graph"`
	}{o.path, o.graph})
}

var (
	errCommand = errors.New("it needs one of Run, Shell and Bash")
	errInputs  = errors.New("it has Inputs and At: give all inputs paths, or none")
)

// MarshalJSON returns t as it stands in a graph file. It fails for what the file has no form for;
// what else may be wrong coord says.
func (t Task) MarshalJSON() ([]byte, error) {
	f := fileTask{Run: t.Run, Shell: t.Shell, Bash: t.Bash, Stdin: t.Stdin, For: t.For, Reduce: t.Reduce, Count: t.Count,
		fileSettings: t.file(), Gang: t.Gang, Service: t.Service, Deterministic: t.Deterministic}
	commands := 0
	for _, is := range []bool{len(t.Run) > 0, t.Shell != "", t.Bash != ""} {
		if is {
			commands++
		}
	}
	switch {
	case commands != 1:
		return nil, errCommand
	case len(t.Inputs) > 0 && len(t.At) > 0:
		return nil, errInputs
	case len(t.Inputs) > 0:
		f.Inputs = t.Inputs
	case len(t.At) > 0:
		f.Inputs = t.At
	}
	graphs := 0
	for _, path := range t.Outputs {
		graph, ok := t.Graphs[path]
		if ok {
			graphs++
		}
		f.Outputs = append(f.Outputs, fileOutput{path, graph})
	}
	if graphs != len(t.Graphs) {
		return nil, fmt.Errorf("its Graphs name %d outputs that it does not have, or has twice", len(t.Graphs))
	}
	if t.Overlay {
		f.Network = "overlay"
	}
	if t.Ready != 0 {
		f.Ready = &fileReady{t.Ready}
	}
	return marshal(f)
}
