package graph

import (
	"context"
	"io"

	"gaggle/wire"
)

// A File is a decoded graph file.
type File struct {
	Name string // as given to Decode, for messages
}

func readAll(r io.Reader, name string) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, wire.MaxGraphFile))
}

func decode(data []byte, name string) (*File, error) { return &File{Name: name}, nil }

func expand(ctx context.Context, f *File, env Env) (*Plan, error) { return &Plan{}, nil }

// Sub decodes and expands the graph that a task wrote as an output. It is JSON.
// Every refusal is a *wire.Error of CauseGraph, whose message begins with the task's name.
func Sub(ctx context.Context, r io.Reader, p Parent) (*Plan, error) { return &Plan{}, nil }

// Schema returns the JSON Schema (draft 2020-12) of the graph file.
func Schema() []byte { return nil }
