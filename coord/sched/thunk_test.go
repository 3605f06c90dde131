package sched

import (
	"bytes"
	"slices"
	"testing"

	"gaggle/wire"
)

func sampleThunks(t testing.TB) (thunks []*wire.Thunk) {
	pending := wire.Object{Kind: wire.Pending, Digest: wire.Sum([]byte("dep"))}
	for _, th := range []wire.Thunk{
		{Command: []string{"a"}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}},
		{Command: []string{"/bin/sh", "-c", "x"}, Env: []wire.EnvVar{{Name: "A", Value: "1"}, {Name: "B"}}, Stdin: "in/b",
			Inputs: []wire.Input{{Path: "in/a", Object: leaf("a")}, {Path: "in/b", Object: pending, Output: "out"},
				{Path: "in/c", Object: leaf("c~300")}, {Path: "in/d", Object: pending, Output: "stdout"}},
			Outputs: []wire.Output{{Path: "dir", Kind: wire.Dir, Graph: "next.json"}, {Path: "stdout", Kind: wire.File}}},
		{Command: []string{wire.BuiltinSelect, "x"}, Inputs: []wire.Input{{Path: "in", Object: pending, Output: "d"}},
			Outputs: []wire.Output{{Path: "out", Kind: wire.Dir}}},
		{Command: []string{"gcc"}, ABI: wire.ABIPlaced, JobDir: "/home/u", WorkDir: "src", Inputs: []wire.Input{{Path: "a", Object: pending, Output: "out"}},
			Outputs: []wire.Output{{Path: "out", Kind: wire.File}}},
	} {
		th.Platform = "linux/amd64"
		if !th.Placed() {
			th.ABI = wire.ABI
		}
		x, err := wire.NewThunk(th)
		if err != nil {
			t.Fatal(err)
		}
		thunks = append(thunks, x)
	}
	return thunks
}

// checkView fails the test unless the view of a thunk says what decoding it does.
func checkView(t *testing.T, th *wire.Thunk, enc []byte) {
	t.Helper()
	var v view
	if !v.read(enc) {
		t.Fatalf("view does not read %x", enc)
	}
	if v.builtin != th.Builtin() || v.root != wire.Digest(th.Root) || string(v.platform) != th.Platform || v.abi != th.ABI ||
		len(v.inputs) != len(th.Inputs) || len(v.outputs) != len(th.Outputs) {
		t.Fatalf("view of %+v = %+v", th, v)
	}
	var outs view
	if !outs.readOutputs(enc) || outs.builtin != v.builtin || !slices.EqualFunc(outs.outputs, v.outputs, func(a, b viewOutput) bool {
		return string(a.path) == string(b.path) && a.kind == b.kind && a.graph == b.graph
	}) {
		t.Errorf("readOutputs gives %+v, want the outputs of %+v", outs, v)
	}
	var objects []wire.Object
	for i, in := range th.Inputs {
		if v.inputs[i].object != in.Object || string(v.inputs[i].output) != in.Output {
			t.Errorf("input %d = %+v, want %+v", i, v.inputs[i], in)
		}
		if in.Object.Kind == wire.Pending {
			objects = append(objects, leaf("for "+in.Output+"~7"))
		}
	}
	for i, o := range th.Outputs {
		if got := v.outputs[i]; string(got.path) != o.Path || got.kind != o.Kind || got.graph != (o.Graph != "") {
			t.Errorf("output %d = %+v, want %+v", i, got, o)
		}
	}
	r, err := th.Resolve(func(_ wire.ThunkID, output string) (wire.Object, bool) { return leaf("for " + output + "~7"), true })
	if err != nil {
		t.Fatal(err)
	}
	if _, want := r.Encode(); !bytes.Equal(v.resolved(enc, objects), want) {
		t.Errorf("resolved differs from wire's\n got %x\nwant %x", v.resolved(enc, objects), want)
	}
}

func TestView(t *testing.T) {
	for _, th := range sampleThunks(t) {
		_, enc := th.Encode()
		checkView(t, th, enc)
		var v view
		for i := range enc {
			if v.read(enc[:i]) {
				t.Errorf("view reads %d bytes of %d", i, len(enc))
			}
		}
	}
}

func FuzzView(f *testing.F) {
	for _, th := range sampleThunks(f) {
		_, enc := th.Encode()
		f.Add(enc)
	}
	f.Fuzz(func(t *testing.T, enc []byte) {
		var v view
		v.read(enc) // must not panic
		v.readOutputs(enc)
		if th, err := wire.DecodeThunk(enc); err == nil {
			checkView(t, th, enc)
		}
	})
}

func TestIndex(t *testing.T) {
	keys := make([]key, 5000)
	x := index[uint32]{at: func(r uint32) *key { return &keys[r] }}
	for i := range keys {
		keys[i] = key{uint32(i % 3), wire.Sum([]byte{byte(i), byte(i >> 8)})}
		keys[i].id[0], keys[i].id[1] = byte(i%7), 0 // clustered
		if i > 0 {
			x.put(uint32(i))
		}
	}
	for i := 1; i < len(keys); i += 2 {
		x.del(uint32(i))
	}
	for i := 1; i < len(keys); i++ {
		want := uint32(i) * uint32((i+1)%2)
		if got := x.find(&keys[i]); got != want {
			t.Fatalf("find(%d) = %d, want %d", i, got, want)
		}
	}
	for i := 2; i < len(keys); i += 2 {
		x.del(uint32(i))
	}
	if x.n != 0 || len(x.slots) > 256 {
		t.Errorf("%d left in %d slots", x.n, len(x.slots))
	}
}
