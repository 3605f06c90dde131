package sched

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

// benchJob is a job of n tasks of which every tenth needs the nine before it.
func benchJob(b *testing.B, n int) Submitted {
	p := &plan{ids: map[string]wire.ThunkID{}}
	var ids []wire.ThunkID
	for i := range n {
		th := wire.Thunk{Command: []string{"/bin/sh", "-eu", "-c", "sort in > out"}, Env: []wire.EnvVar{{Name: "N", Value: fmt.Sprint(i)}},
			Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
		if i%10 == 9 {
			for k := range 9 {
				th.Inputs = append(th.Inputs, wire.Input{Path: fmt.Sprint("in", k), Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(ids[i-9+k])}, Output: "out"})
			}
		} else {
			th.Inputs = []wire.Input{{Path: "in", Object: leaf(fmt.Sprint("leaf", i%1000))}}
		}
		ids = append(ids, p.add(b, fmt.Sprintf("task[%d]", i), th, wire.Hints{}))
	}
	return Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Tasks: p.tasks,
		Targets: []wire.TargetSpec{{Path: "x", Thunk: ids[n-1], Output: "out"}}}
}

// BenchmarkStep places a job of 200,000 tasks on 1,000 nodes of 4 slots that answer at once, in
// batches of up to wire.MaxBatch events.
func BenchmarkStep(b *testing.B) {
	const tasks = 200_000
	for b.Loop() {
		b.StopTimer()
		e := benchJob(b, tasks)
		s := New(Config{})
		now := time.Duration(0)
		step := func(events ...Event) []Action {
			now += time.Millisecond
			return s.Step(now, time.Unix(0, 0), events)
		}
		step(EpochBegan{Epoch: 1})
		var leaves []wire.Object
		for i := range 1000 {
			leaves = append(leaves, leaf(fmt.Sprint("leaf", i)))
		}
		leaves = append(leaves, testRoot)
		var peers []wire.PeerID
		for i := range 1000 {
			p := wire.PeerID(wire.Sum(fmt.Append(nil, i)))
			peers = append(peers, p)
			step(NodeUp{Peer: p, Hello: wire.Hello{Name: fmt.Sprint("n", i), Slots: 4, Versions: wire.Versions{Platforms: []string{"linux/amd64"}, ABIs: []uint64{1}}}})
		}
		step(Have{Peer: peers[0], Set: wire.SpaceSet{Space: "t", Objects: leaves}, Durable: true})
		before := heapBytes()
		encoded := 0
		for i := range e.Tasks {
			encoded += len(e.Tasks[i].Thunk) + len(e.Tasks[i].Name)
		}
		b.StartTimer()
		begin := time.Now()
		actions := step(e)
		submit := time.Since(begin)
		b.StopTimer()
		actions = slices.Clone(slices.DeleteFunc(actions, func(a Action) bool { _, ok := a.(Offer); return !ok }))
		resident := float64(heapBytes()-before) / tasks
		b.StartTimer()
		begin = time.Now()
		placed := 0
		var queue []Event
		for {
			for _, a := range actions {
				if o, ok := a.(Offer); ok {
					placed++
					v := wire.NewValue([]wire.Object{{Kind: wire.File, Digest: wire.Sum(o.Offer.Thunk), Size: 100}})
					queue = append(queue, Started{o.Node, o.Offer.Lease}, Resulted{Peer: o.Node, Value: v,
						Result: wire.Result{Lease: o.Offer.Lease, Space: "t", Thunk: wire.ThunkID(wire.Sum(o.Offer.Thunk)), Run: time.Millisecond}})
				}
			}
			if len(queue) == 0 {
				break
			}
			k := min(len(queue), wire.MaxBatch)
			actions = step(queue[:k]...)
			queue = queue[k:]
		}
		took := time.Since(begin)
		if placed != tasks {
			b.Fatalf("%d placed of %d", placed, tasks)
		}
		b.ReportMetric(float64(placed)/took.Seconds(), "placements/s")
		b.ReportMetric(float64(tasks)/submit.Seconds(), "submitted/s")
		b.ReportMetric(resident, "B/thunk")
		b.ReportMetric(float64(encoded)/tasks, "encoded-B/thunk")
		runtime.KeepAlive(s)
		runtime.KeepAlive(e)
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkMemoHits submits a job of which all is known.
func BenchmarkMemoHits(b *testing.B) {
	const tasks = 50_000
	e := benchJob(b, tasks)
	s := New(Config{})
	s.Step(0, time.Unix(0, 0), []Event{EpochBegan{Epoch: 1}, NodeUp{Peer: wire.PeerID{1}, Hello: wire.Hello{Name: "n"}}})
	var objects []wire.Object
	var v view
	values := map[wire.ThunkID]wire.Object{}
	for _, t := range e.Tasks {
		v.read(t.Thunk)
		var in []wire.Object
		for _, i := range v.inputs {
			if i.object.Kind == wire.Pending {
				in = append(in, values[wire.ThunkID(i.object.Digest)])
			}
		}
		enc := v.resolved(t.Thunk, in)
		o := wire.Object{Kind: wire.File, Digest: wire.Sum(enc), Size: 100}
		values[wire.ThunkID(wire.Sum(t.Thunk))] = o
		objects = append(objects, o)
		s.Step(0, time.Unix(0, 0), []Event{Known{Space: "t", Thunk: wire.ThunkID(wire.Sum(enc)), Value: wire.NewValue([]wire.Object{o})}})
	}
	s.Step(0, time.Unix(0, 0), []Event{Have{Peer: wire.PeerID{1}, Set: wire.SpaceSet{Space: "t", Objects: objects}, Durable: true}})
	n := byte(1)
	for b.Loop() {
		n++
		e.Job = wire.JobID{n, byte(b.N)}
		s.Step(time.Duration(n), time.Unix(0, 0), []Event{e})
		s.Step(time.Duration(n), time.Unix(0, 0), []Event{Released{e.Job}})
		if len(s.live) != 0 {
			b.Fatal("the job is not over")
		}
	}
	b.ReportMetric(float64(tasks)*float64(b.N)/b.Elapsed().Seconds(), "hits/s")
}
