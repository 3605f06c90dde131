package sched

import (
	"fmt"
	"runtime"
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

// A benchMesh is a State with 1,000 nodes of 4 slots that answer at once. One holds all leaves at first.
type benchMesh struct {
	*State
	now    time.Duration
	beaten time.Duration // when all nodes were last heard of
	peers  []wire.PeerID
	placed int
	spent  [stages]time.Duration
	clock  time.Duration            // that it takes to look at the clock
	queue  []Event                  // answers
	then   map[wire.LeaseID][]Event // those about the continuations of leases
	equal  bool                     // all thunks give the same value
}

func newBenchMesh() *benchMesh {
	m := &benchMesh{State: New(Config{}), then: map[wire.LeaseID][]Event{}, clock: clockCost()}
	m.step(EpochBegan{Epoch: 1})
	leaves := []wire.Object{testRoot}
	for i := range 1000 {
		leaves = append(leaves, leaf(fmt.Sprint("leaf", i)))
	}
	for i := range 1000 {
		p := wire.PeerID(wire.Sum(fmt.Append(nil, i)))
		m.peers = append(m.peers, p)
		m.step(NodeUp{Peer: p, Hello: wire.Hello{Name: fmt.Sprint("n", i), Slots: 4, Versions: wire.Versions{Platforms: []string{"linux/amd64"}, ABIs: []uint64{1}}}})
		if i == 0 {
			m.step(Have{Peer: p, Set: wire.SpaceSet{Space: "t", Objects: leaves}, Durable: true})
		}
	}
	return m
}

func (m *benchMesh) step(events ...Event) {
	m.now += time.Millisecond
	if m.now-m.beaten > time.Second {
		m.beaten = m.now
		for _, p := range m.peers {
			events = append(events, Beat{Peer: p})
		}
	}
	for _, a := range m.stepTimed(events) {
		if o, ok := a.(Offer); ok {
			m.placed++
			out := wire.Object{Kind: wire.File, Digest: wire.Sum(o.Offer.Thunk), Size: 100}
			if m.equal {
				out = leaf("equal")
			}
			v := wire.NewValue([]wire.Object{out})
			var got []wire.Object // what the node fetched
			for _, h := range o.Offer.Holders {
				got = append(got, h.Object)
			}
			if len(got) > 0 {
				m.queue = append(m.queue, Have{Peer: o.Node, Set: wire.SpaceSet{Space: "t", Objects: got}})
			}
			m.queue = append(m.queue, Started{o.Node, o.Offer.Lease}, Resulted{Peer: o.Node, Value: v,
				Result: wire.Result{Lease: o.Offer.Lease, Space: "t", Thunk: wire.ThunkID(wire.Sum(o.Offer.Thunk)), Run: time.Millisecond}})
			for _, next := range o.Offer.Then { // rare here, and not to be counted
				m.then[o.Offer.Lease] = append(m.then[o.Offer.Lease], Recalled{o.Node, next.Lease})
			}
		}
	}
}

// A stage is a part of what a task costs.
type stage int

const (
	stageSubmit  stage = iota // hashed, checked and entered
	stageResolve              // its thunk resolved and looked up, a run made of it
	stagePlace                // and whatever else a Step does once for all
	stageStart                // its node says that it has its inputs, and that it runs
	stageResult               // and what it gave
	stages
)

// clockCost returns what looking at the clock takes, at best.
func clockCost() time.Duration {
	const looks = 1000
	best := time.Hour
	for range 20 {
		begin := stageClock()
		for range looks {
			stageClock()
		}
		best = min(best, (stageClock()-begin)/(looks+1))
	}
	return best
}

// stepTimed is State.Step, with the time that each stage takes.
func (m *benchMesh) stepTimed(events []Event) []Action {
	s, since := m.State, stageClock()
	spend := func(st stage) {
		now := stageClock()
		m.spent[st] += now - since - m.clock
		since = now
	}
	s.sleptUntil(m.now)
	s.now, s.wall, s.out = m.now, time.Unix(0, 0), make([]Action, 0, s.outs+s.outs/4)
	for _, e := range events {
		s.apply(e)
		switch e.(type) {
		case Resulted:
			spend(stageResult)
		case Started, Recalled, Have:
			spend(stageStart)
		case Extended:
			spend(stageSubmit)
		default:
			spend(stagePlace)
		}
		s.resolveAll()
		s.goOn()
		spend(stageResolve)
	}
	s.scan()
	s.settle()
	s.place()
	s.settle()
	spend(stagePlace)
	out := s.out
	s.out, s.outs = nil, len(out)
	return out
}

// submit gives a job in parts, as the server does.
func (m *benchMesh) submit(e Submitted) {
	rest := e.Tasks
	e.Stream, e.Total, e.Tasks = 1, len(rest), nil
	m.step(e)
	for len(rest) > 0 {
		k := min(len(rest), wire.MaxBatch)
		m.step(Extended{Job: e.Job, Stream: 1, Tasks: rest[:k:k], End: k == len(rest)})
		rest = rest[k:]
	}
}

// answer gives answers, in batches of up to wire.MaxBatch events, until so many tasks are placed.
func (m *benchMesh) answer(placed int) {
	for idle := 0; m.placed < placed && idle < 100; {
		if idle++; len(m.queue) == 0 { // some wait a moment, for a place near their inputs
			m.now += 100 * time.Millisecond
			m.step(Tick{})
			continue
		}
		idle = 0
		k := min(len(m.queue), wire.MaxBatch)
		events := m.queue[:k:k] // step appends to it
		m.queue = m.queue[k:]
		m.step(events...)
		for _, e := range events {
			if r, ok := e.(Resulted); ok { // the continuation's turn has come
				m.queue = append(m.queue, m.then[r.Result.Lease]...)
				delete(m.then, r.Result.Lease)
			}
		}
	}
}

// BenchmarkPartsAfterFailure takes the rest of a job that stopped at its first task, a task in a part,
// as a client may send it.
func BenchmarkPartsAfterFailure(b *testing.B) {
	for _, n := range []int{10_000, 40_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := benchJob(b, n)
			tasks := e.Tasks
			for b.Loop() {
				s := New(Config{})
				step := func(events ...Event) { s.Step(time.Second, time.Unix(0, 0), events) }
				e.Stream, e.Total, e.Tasks = 1, n, tasks[:1:1]
				step(EpochBegan{Epoch: 1}, e)
				s.fail(s.jobs.at(s.jobOf[e.Job]).tasks[0], wire.Failure{Cause: wire.CauseExit}, nil)
				for i := 1; i < n; i++ {
					step(Extended{Job: e.Job, Stream: 1, Tasks: tasks[i : i+1 : i+1], End: i+1 == n})
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/part")
		})
	}
}

// BenchmarkStep does jobs of rising size, and says what each stage costs a task, in CPU time where that
// can be had. A placement is all but what a task costs as it comes.
func BenchmarkStep(b *testing.B) {
	for _, tasks := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(tasks), func(b *testing.B) {
			e := benchJob(b, tasks)
			encoded := 0
			for i := range e.Tasks {
				encoded += len(e.Tasks[i].Thunk) + len(e.Tasks[i].Name)
			}
			var spent [stages]time.Duration
			var waiting, done int64
			runtime.LockOSThread() // whose time is taken
			defer runtime.UnlockOSThread()
			for b.Loop() {
				m := newBenchMesh()
				m.spent = [stages]time.Duration{}
				empty := heapBytes()
				m.submit(e)
				waiting += heapBytes() - empty
				m.answer(tasks)
				if m.placed < tasks { // copies of stragglers count, too
					b.Fatalf("%d placed of %d", m.placed, tasks)
				}
				m.queue = nil
				done += heapBytes() - empty
				for st := range stages {
					spent[st] += m.spent[st]
				}
				runtime.KeepAlive(m)
			}
			n := float64(tasks) * float64(b.N)
			var all time.Duration
			for st, name := range []string{"submit", "resolve", "place", "start", "result"} {
				b.ReportMetric(float64(spent[st].Nanoseconds())/n, "ns/"+name)
				all += spent[st]
			}
			b.ReportMetric(n/(all-spent[stageSubmit]).Seconds(), "placements/s")
			b.ReportMetric(n/all.Seconds(), "tasks/s")
			b.ReportMetric(float64(waiting)/n, "B/waiting")
			b.ReportMetric(float64(done)/n, "B/done")
			b.ReportMetric(float64(encoded)/float64(tasks), "encoded-B/thunk")
			runtime.KeepAlive(e)
		})
	}
}

// BenchmarkShared does jobs of tasks whose values are equal, so that all that need them are one run: what
// a task costs must not depend on how many share it.
func BenchmarkShared(b *testing.B) {
	for _, tasks := range []int{2_000, 20_000, 80_000} {
		b.Run(fmt.Sprint(tasks), func(b *testing.B) {
			p := &plan{ids: map[string]wire.ThunkID{}}
			e := Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t"}
			for i := range tasks {
				th := wire.Thunk{Command: []string{"/bin/a"}, Env: []wire.EnvVar{{Name: "N", Value: fmt.Sprint(i)}}, Root: wire.TreeID(testRoot.Digest),
					Platform: "linux/amd64", ABI: 1, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
				a := p.add(b, fmt.Sprintf("a[%d]", i), th, wire.Hints{})
				th.Command, th.Env = []string{"/bin/b"}, nil
				th.Inputs = []wire.Input{{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(a)}, Output: "out"}}
				e.Targets = []wire.TargetSpec{{Path: "x", Thunk: p.add(b, fmt.Sprintf("b[%d]", i), th, wire.Hints{}), Output: "out"}}
			}
			e.Tasks = p.tasks
			for b.Loop() {
				m := newBenchMesh()
				m.equal = true
				m.submit(e)
				m.answer(tasks + 1)
				if j := m.Jobs()[0]; j.Counts.Tasks != 2*tasks || m.placed < tasks {
					b.Fatalf("%d placed of %+v", m.placed, j.Counts)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*tasks), "ns/task")
		})
	}
}

// BenchmarkTasks tells of a job of which all nodes are full, mostly of tasks that are not placed. Everything else
// waits meanwhile.
func BenchmarkTasks(b *testing.B) {
	for _, tasks := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(tasks), func(b *testing.B) {
			m := newBenchMesh()
			e := benchJob(b, tasks)
			m.submit(e)
			for b.Loop() {
				if n := len(m.Tasks(e.Job, "task[9")); n != ExplainBound {
					b.Fatalf("%d tasks", n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/answer")
		})
	}
}

// BenchmarkCancel ends a job half-way, and says how much of its memory is left.
func BenchmarkCancel(b *testing.B) {
	const tasks = 200_000
	e := benchJob(b, tasks)
	for b.Loop() {
		m := newBenchMesh()
		before := heapBytes()
		m.submit(e)
		m.answer(tasks / 2)
		held, begin := heapBytes()-before, time.Now()
		m.step(Cancelled{e.Job})
		took := time.Since(begin)
		m.queue = nil
		m.step(Tick{})
		left := heapBytes() - before
		b.ReportMetric(took.Seconds()*1000, "ms/cancel")
		b.ReportMetric(float64(held)/(1<<20), "MiB-before")
		b.ReportMetric(float64(left)/(1<<20), "MiB-after")
		runtime.KeepAlive(m)
	}
	runtime.KeepAlive(e)
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
