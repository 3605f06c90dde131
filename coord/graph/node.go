package graph

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"gaggle/wire"
)

// A kind is the type of a value in a graph file, JSON's.
type kind uint8

const (
	null kind = iota
	boolean
	number
	str
	list
	object
)

var kindNames = [...]string{null: "empty", boolean: "true or false", number: "a number", str: "a string", list: "a list", object: "an object"}

func (k kind) String() string { return kindNames[k] }

// A node is a value of a graph file, whichever language it was written in.
type node struct {
	kind kind
	line int32
	text string // of a scalar: as written, a string unquoted
	keys []key  // of an object, in the order of the file; no name twice
	kids []node // of a list; of an object, in the order of keys
}

type key struct {
	name string
	line int32
}

// readAll reads a graph file of at most wire.MaxGraphFile bytes.
func readAll(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, wire.MaxGraphFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) > wire.MaxGraphFile {
		return nil, tooLarge(name, wire.MaxGraphFile, "let the graph make parts of itself with for, or let tasks write sub-graphs")
	}
	return data, nil
}

func tooLarge(name string, limit int, hint string) error {
	return wire.Errorf(wire.CauseTooLarge, hint, "%s is larger than the bound of %d MiB", name, limit>>20)
}

// parse reads the text of a graph file into nodes.
func parse(data []byte, name string) (*node, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // Windows editors put it there
	ps := newProblems(name)
	if i := badUTF8(data); i >= 0 {
		ps.add(pos{line: lineAt(data, i)}, "save it as UTF-8", "byte 0x%02x is not UTF-8", data[i])
		return nil, ps.err()
	}
	if len(bytes.TrimSpace(data)) == 0 {
		ps.add(pos{}, "the least is gaggle: 1, tasks and targets", "the file is empty")
		return nil, ps.err()
	}
	if isJSON(data, name) {
		return parseJSON(data, name)
	}
	return parseYAML(data, name)
}

func isJSON(data []byte, name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return true
	case ".yaml", ".yml":
		return false
	}
	return bytes.TrimSpace(data)[0] == '{'
}

func badUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// lineAt returns the line, from 1, that the byte at offset i is in.
func lineAt(b []byte, i int) int32 {
	return int32(1 + bytes.Count(b[:min(i, len(b))], []byte("\n")))
}

// tally counts nodes and depth against their bounds.
type tally struct{ nodes int }

func (t *tally) add(ps *problems, line int32, depth int) bool {
	t.nodes++
	switch {
	case t.nodes > maxNodes:
		ps.cause = wire.CauseTooLarge
		ps.add(pos{line: line}, "let the graph make parts of itself with for, and use fewer aliases",
			"more than %d values", maxNodes)
	case depth > maxDepth:
		ps.add(pos{line: line}, "a graph needs seven", "lists and objects are nested more than %d deep", maxDepth)
	default:
		return true
	}
	return false
}
