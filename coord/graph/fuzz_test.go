package graph

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/wire"
)

// FuzzGraph checks that any text is a plan that keeps its promises, or an error that a person can
// act on; as a user's file and as a sub-graph.
func FuzzGraph(f *testing.F) {
	for _, text := range []string{mapReduce, gangExample, fibExample, subExample} {
		f.Add(text)
	}
	for _, pattern := range []string{"testdata/expand/*.txt", "../../examples/*/graph.*"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			text, _, _ := strings.Cut(string(b), "\n----\n")
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Decode(strings.NewReader(text), "g")
		if err != nil {
			refused(t, err)
			return
		}
		m := files("a.c", "b.c", "src/d/x.go", "src/y.go", "fib.sh", "sheet.csv=a,b\x011,2\x01", "names.txt=one\x01two\x01")
		par := parentOf(t)
		for _, env := range []Env{m.env(), {Parent: &par}} {
			p, err := Expand(context.Background(), file, env)
			if err != nil {
				refused(t, err)
				continue
			}
			if len(p.Tasks) < 1000 {
				checkPlan(t, p)
			}
		}
	})
}

// refused checks that an error is one for people.
func refused(t *testing.T, err error) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T %v, want a *wire.Error", err, err)
	}
	switch e.Cause {
	case wire.CauseInvalid, wire.CauseGraph, wire.CauseTooLarge:
	default:
		t.Fatalf("error is of %v: %v", e.Cause, e)
	}
}
