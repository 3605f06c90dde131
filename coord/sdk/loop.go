package sdk

import "bytes"

// A Loop is a variable and what it runs over. The variable is {{Var}} in every string of the task,
// and in the environment of its command.
type Loop struct {
	Var  string
	Over Source
}

// A Source is what a variable runs over. It is made by the functions that return one.
type Source struct {
	values []string // of Values
	file   fileSource
}

// fileSource is a Source as the file has it, but for a list of values.
type fileSource struct {
	Glob     []string `json:"glob,omitempty"`
	Lines    string   `json:"lines,omitempty"`
	CSV      string   `json:"csv,omitempty"`
	Range    []int64  `json:"range,omitempty"`
	Chunk    int      `json:"chunk,omitempty"`
	Optional bool     `json:"optional,omitempty"`
}

// Values runs over these. A variable cannot run over none.
func Values(values ...string) Source { return Source{values: values} }

// Matches runs over the local files that match one of some patterns, in which ** is any
// directories; with a final slash, over directories.
func Matches(patterns ...string) Source { return Source{file: fileSource{Glob: patterns}} }

// Lines runs over the lines of a local file.
func Lines(path string) Source { return Source{file: fileSource{Lines: path}} }

// CSV runs over the rows of a local file with a header: its columns are variables, the first the
// loop's own.
func CSV(path string) Source { return Source{file: fileSource{CSV: path}} }

// Range runs over the whole numbers from from to before to, step apart.
func Range(from, to, step int64) Source {
	return Source{file: fileSource{Range: []int64{from, to, step}}}
}

// Chunk returns s, of Matches or Lines, with about n values to an instance: the variable is a
// list. What is with what is told by hashes, so that a file more changes one chunk.
func (s Source) Chunk(n int) Source {
	s.file.Chunk = n
	return s
}

// Optional returns s, of Matches, that may find nothing; then there is no instance.
func (s Source) Optional() Source {
	s.file.Optional = true
	return s
}

// MarshalJSON returns s as it stands in a graph file.
func (s Source) MarshalJSON() ([]byte, error) {
	if s.values != nil {
		return marshal(s.values)
	}
	return marshal(s.file)
}

// loops are an object whose order counts.
type loops []Loop

func (l loops) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, one := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := marshal(one.Var)
		if err != nil {
			return nil, err
		}
		over, err := marshal(one.Over)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(over)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// A Reduce makes a tree of instances over an output of a task with For or Count: each finds up to
// By of its parts below in/, 2 or more, 16 if 0, and leaves an output of the same name. What others
// refer to is the one at the top.
type Reduce struct {
	From Ref `json:"from"`
	By   int `json:"by,omitempty"`
}
