package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"gaggle/coord/graph"
	"gaggle/wire"
)

// Commands of the simulation are pure functions of the thunk: ["mix", salt, milliseconds] gives
// the hash of salt and inputs; ["grow", salt, milliseconds, depth] writes a graph of two mixes
// and a grow of less depth in place of its output, until depth is 0, when it mixes.

// bytesOf gives an input's bytes.
type bytesOf func(wire.Object) []byte

// compute gives the bytes of a thunk's only output, and whether they are a graph.
func compute(t *wire.Thunk, read bytesOf) (data []byte, isGraph bool) {
	h := wire.NewHash()
	fmt.Fprintf(h, "%q", t.Command[1])
	for _, in := range t.Inputs {
		fmt.Fprintf(h, "%q", in.Path)
		h.Write(read(in.Object))
	}
	d := wire.HashDigest(h)
	if t.Command[0] == "mix" || t.Command[3] == "0" {
		return []byte(d.String()), false
	}
	return subGraph(t, d), true
}

func subGraph(t *wire.Thunk, d wire.Digest) []byte {
	depth, err := strconv.Atoi(t.Command[3])
	if err != nil {
		panic(err)
	}
	type m = map[string]any
	inputs := m{}
	for i, in := range t.Inputs {
		inputs[fmt.Sprint("i", i)] = "@parent/" + in.Path
	}
	text, err := json.Marshal(m{"gaggle": 1, "tasks": m{
		"a": m{"inputs": inputs, "run": []string{"mix", "a" + d.Short(), "40"}, "outputs": []string{"out"}},
		"b": m{"inputs": m{"x": "@a/out"}, "run": []string{"grow", "b" + d.Short(), "30", fmt.Sprint(depth - 1)},
			"outputs": []any{m{"path": "out", "graph": "next.json"}}},
		"c": m{"inputs": m{"x": "@a/out", "y": "@b/out"}, "run": []string{"mix", "c", "20"}, "outputs": []string{"out"}},
	}, "targets": m{"out": "@c/out"}})
	if err != nil {
		panic(err)
	}
	return text
}

func runTime(t *wire.Thunk) time.Duration {
	ms, err := strconv.Atoi(t.Command[2])
	if err != nil {
		panic(err)
	}
	return time.Duration(ms) * time.Millisecond
}

// A serial evaluator: what a job must give, computed without any of the machinery.
type serial struct {
	blobs  map[wire.Digest][]byte
	values map[wire.ThunkID]wire.Object // of unresolved thunks' only outputs
}

func newSerial() *serial {
	return &serial{blobs: map[wire.Digest][]byte{}, values: map[wire.ThunkID]wire.Object{}}
}

func (s *serial) put(b []byte) wire.Object {
	d := wire.Sum(b)
	s.blobs[d] = b
	return wire.FileObject(wire.BlobID(d), uint64(len(b)), false)
}

// run evaluates tasks in their order, each after those it depends on.
func (s *serial) run(tasks []wire.TaskSpec) {
	for _, spec := range tasks {
		t, err := wire.DecodeThunk(spec.Thunk)
		if err != nil {
			panic(err)
		}
		r, err := t.Resolve(func(id wire.ThunkID, _ string) (wire.Object, bool) {
			o, ok := s.values[id]
			return o, ok
		})
		if err != nil {
			panic(err)
		}
		data, isGraph := compute(r, func(o wire.Object) []byte { return s.blobs[o.Digest] })
		value := s.put(data)
		if isGraph {
			f, err := graph.Decode(bytes.NewReader(data), spec.Name)
			if err != nil {
				panic(err)
			}
			p, err := graph.Expand(context.Background(), f, graph.Env{Platform: r.Platform,
				Parent: &graph.Parent{Name: spec.Name, Thunk: r, Hints: spec.Hints, RootSize: spec.RootSize}})
			if err != nil {
				panic(err)
			}
			s.run(p.Tasks)
			value = s.values[p.Targets[0].Thunk]
		}
		s.values[wire.ThunkID(wire.Sum(spec.Thunk))] = value
	}
}

// A job is drawn at random: tasks over leaves and over each other. Jobs of one world draw from
// few salts, so that they share.
type job struct {
	id      wire.JobID
	tasks   []wire.TaskSpec
	targets []wire.TargetSpec
	leaves  []wire.Object
	detach  bool
	twice   bool
}

// rootOf is the directory every thunk has as its root: an empty one.
func rootOf() (*wire.Tree, wire.TreeID) {
	t, err := wire.NewTree(nil)
	if err != nil {
		panic(err)
	}
	id, _ := t.Encode()
	return t, id
}

func drawJob(rng *rand.Rand, put func([]byte) wire.Object) *job {
	j := &job{detach: rng.IntN(4) == 0, twice: rng.IntN(4) == 0}
	for i := range j.id {
		j.id[i] = byte(rng.Uint32())
	}
	for i := range 1 + rng.IntN(3) {
		j.leaves = append(j.leaves, put(fmt.Appendf(nil, "leaf %d of %d", i, rng.IntN(3))))
	}
	var made []wire.ThunkID
	_, root := rootOf()
	for i := range 3 + rng.IntN(20) {
		var inputs []wire.Input
		for k := range rng.IntN(4) {
			in := wire.Input{Path: fmt.Sprint("in", k)}
			if len(made) > 0 && rng.IntN(3) > 0 {
				in.Object, in.Output = wire.Object{Kind: wire.Pending, Digest: wire.Digest(made[rng.IntN(len(made))])}, "out"
			} else {
				in.Object = j.leaves[rng.IntN(len(j.leaves))]
			}
			inputs = append(inputs, in)
		}
		command := []string{"mix", fmt.Sprint("s", rng.IntN(4)), fmt.Sprint(10 + rng.IntN(3000))}
		out := wire.Output{Path: "out", Kind: wire.File}
		if rng.IntN(6) == 0 {
			command = []string{"grow", command[1], command[2], fmt.Sprint(rng.IntN(3))}
			out.Graph = "next.json"
		}
		t, err := wire.NewThunk(wire.Thunk{Command: command, Root: root, Inputs: inputs, Outputs: []wire.Output{out}, Platform: "linux/amd64", ABI: wire.ABI})
		if err != nil {
			panic(err)
		}
		id, enc := t.Encode()
		made = append(made, id)
		j.tasks = append(j.tasks, wire.TaskSpec{Name: fmt.Sprint("t", i), Thunk: enc})
	}
	for i := range 1 + rng.IntN(3) {
		j.targets = append(j.targets, wire.TargetSpec{Path: fmt.Sprint("target", i), Thunk: made[len(made)-1-rng.IntN(min(3, len(made)))], Output: "out"})
	}
	return j
}
