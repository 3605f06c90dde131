// Package sdk writes graph files from Go programs, for "program | coord submit -", or as what a
// task leaves for an output that may be a graph.
//
//	g := sdk.New(os.Stdout, sdk.Header{Defaults: sdk.Settings{Tools: []string{"tr"}}})
//	upper := g.Task("upper", sdk.Task{
//		Inputs:  sdk.Files("names.txt"),
//		Shell:   "tr a-z A-Z < names.txt > upper.txt",
//		Outputs: []string{"upper.txt"},
//	})
//	g.Target("upper.txt", upper.Output("upper.txt"))
//	if err := g.Close(); err != nil {
//		log.Fatal(err)
//	}
//
// A graph file is JSON of one object, and nothing here can do more than print that: see
// examples/words for the same graph from a Python script, and coord schema for what every key
// means. What is said here of a field is what it is in Go; its bounds are those of the file, which
// coord checks, naming the key.
//
// Tasks are written as they come and not kept: a graph of 10^5 takes no more memory than one of
// ten, but for its targets, which stand at the end of the file. coord reads files of up to 64 MiB.
//
// The file's templates work in all strings: {{name}} is a variable of For or a parameter. Not to
// be said with this package, because a program need not, are templates where the file has a number
// (count: "{{n}}"; the program knows n), a task's zero against a default that is not zero
// (retries: 0), and an empty script. Conditions and loops over anything are the program's own.
package sdk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"
)

// Version is the version of the file's format.
const Version = 1

// A Header is what stands in a graph file beside tasks and targets. The zero value is good.
type Header struct {
	Params   map[string]string // values of {{name}}, which coord submit -p name=value replaces
	Defaults Settings          // what every task has that does not say otherwise
}

// A Graph writes one graph file. Its methods keep the first error, after which they do nothing,
// and Close returns it. They are not safe for concurrent use.
type Graph struct {
	w       *bufio.Writer
	targets bytes.Buffer // as they are to be written
	tasks   int
	closed  bool
	err     error
}

// New begins a graph file. What w fails with is returned by Close, which must be called.
func New(w io.Writer, h Header) *Graph {
	g := &Graph{w: bufio.NewWriterSize(w, 64<<10)}
	fmt.Fprintf(g.w, `{"gaggle":%d`, Version)
	if len(h.Params) > 0 {
		g.print(g.w, `,"params":`, h.Params, "the parameters")
	}
	if !reflect.ValueOf(h.Defaults).IsZero() {
		g.print(g.w, `,"defaults":`, h.Defaults, "the defaults")
	}
	_, _ = g.w.WriteString(`,"tasks":{`) // a bufio.Writer keeps its error
	return g
}

// Task writes a task and returns its name, by which others refer to it: also before it is written,
// the order of tasks in the file means nothing. A name is 1 to 100 of A-Z a-z 0-9 _ . - and there
// once in a graph.
func (g *Graph) Task(name string, t Task) Name {
	g.entry(g.w, &g.tasks, name, t, "task "+quote(name))
	return Name(name)
}

// Target asks for an output: it becomes the file or directory at a path below --out. If the task
// has several instances, theirs lie below it, or where variables of For in the path lead. The graph
// that a task writes has exactly one target.
func (g *Graph) Target(path string, r Ref) {
	n := g.targets.Len()
	g.entry(&g.targets, &n, path, r, "target "+quote(path))
}

// Close writes what is left, and returns the first error of all calls: that of the writer, or one
// that names the task with what cannot be written. It does not close the writer.
func (g *Graph) Close() error {
	if g.closed {
		return errors.New("closing a graph: it is closed")
	}
	g.closed = true
	if g.err != nil {
		return g.err
	}
	_, _ = g.w.WriteString("\n},\"targets\":{")
	_, _ = g.w.Write(g.targets.Bytes())
	_, _ = g.w.WriteString("\n}}\n")
	if err := g.w.Flush(); err != nil {
		return fmt.Errorf("writing a graph: %w", err)
	}
	return nil
}

// entry writes a key with its value on a line of its own, so that a line is what coord names when
// something is wrong with it.
func (g *Graph) entry(w io.Writer, n *int, key string, value any, what string) {
	switch {
	case g.err != nil:
		return
	case g.closed:
		g.err = fmt.Errorf("writing %s: the graph is closed", what)
		return
	}
	before := "\n"
	if *n > 0 {
		before = ",\n"
	}
	*n++
	g.print(w, before, key, what)
	g.print(w, ":", value, what)
}

// print writes a value as JSON, with something before it.
func (g *Graph) print(w io.Writer, before string, value any, what string) {
	if g.err != nil {
		return
	}
	b, err := marshal(value)
	if err != nil {
		g.err = fmt.Errorf("writing %s: %w", what, err)
		return
	}
	if bad, found := notText(reflect.ValueOf(value)); found {
		g.err = fmt.Errorf("writing %s: %q is not UTF-8, and JSON has no other text", what, bad)
		return
	}
	if _, err := io.WriteString(w, before); err != nil {
		g.err = fmt.Errorf("writing a graph: %w", err)
		return
	}
	if _, err := w.Write(b); err != nil {
		g.err = fmt.Errorf("writing a graph: %w", err)
	}
}

// marshal is json.Marshal without the escapes of HTML: scripts are to be read.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// notText finds a string that is not UTF-8: encoding/json would put something else in its place.
func notText(v reflect.Value) (bad string, found bool) {
	switch v.Kind() {
	case reflect.String:
		return v.String(), !utf8.ValidString(v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			return notText(v.Elem())
		}
	case reflect.Slice:
		for i := 0; i < v.Len() && !found; i++ {
			bad, found = notText(v.Index(i))
		}
	case reflect.Struct:
		for i := 0; i < v.NumField() && !found; i++ {
			bad, found = notText(v.Field(i))
		}
	case reflect.Map:
		for each := v.MapRange(); !found && each.Next(); {
			if bad, found = notText(each.Key()); !found {
				bad, found = notText(each.Value())
			}
		}
	}
	return bad, found
}

// quote shows a name in an error.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Sprintf("%q", s)
}
