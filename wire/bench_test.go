package wire

import (
	"fmt"
	"testing"
)

// typicalThunk is a compiler call: ten inputs, a dozen arguments.
func typicalThunk(t testing.TB) *Thunk {
	k := Thunk{
		Command: []string{"sh", "-eu", "-c", "cat in/* | tr -cs 'A-Za-z_' '\\n' | sort | uniq -c > counts"},
		Env:     []EnvVar{{Name: "LANG", Value: "C"}, {Name: "src", Value: "cmd/compile/internal/ssa/rewrite.go"}},
		Root:    TreeID(fill(1)), Platform: "linux/amd64", ABI: ABI,
		Outputs: []Output{{Path: "counts", Kind: File}},
	}
	for i := range 10 {
		k.Inputs = append(k.Inputs, Input{Path: fmt.Sprintf("src/cmd/compile/internal/ssa/file%d.go", i), Object: Object{File, fill(byte(i)), 12_345}})
	}
	made, err := NewThunk(k)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func BenchmarkThunkEncode(b *testing.B) {
	k := typicalThunk(b)
	b.ReportAllocs()
	for b.Loop() {
		k.Encode()
	}
}

func BenchmarkThunkDecode(b *testing.B) {
	_, encoded := typicalThunk(b).Encode()
	b.ReportAllocs()
	b.SetBytes(int64(len(encoded)))
	for b.Loop() {
		if _, err := DecodeThunk(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTreeDecode(b *testing.B) {
	var entries []Entry
	for i := range 1000 {
		entries = append(entries, Entry{Name: fmt.Sprintf("some-file-%d.go", i), Object: Object{File, fill(byte(i)), 12_345}})
	}
	tree, err := NewTree(entries)
	if err != nil {
		b.Fatal(err)
	}
	_, encoded := tree.Encode()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeTree(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
