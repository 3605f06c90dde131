package sched

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

// TestGangsUnderLoad: 100 random gangs on networks, beside ordinary tasks, ask together for 90 % of
// what the slots can do. Every gang starts, all its members at once; the waits are printed. The nodes
// have 2 to 9 slots, and a gang up to a third of all. Another load has another -seed.
func TestGangsUnderLoad(t *testing.T) {
	gangsUnderLoad(t, max(1, *seedFlag))
}

func gangsUnderLoad(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	w.calm = true
	rng := rand.New(rand.NewPCG(seed, 11)) // of the load alone
	client := w.addNode("laptop", 0)
	client.beat()
	slots := 0
	for i := range 16 {
		n := w.addNode(fmt.Sprint("node", i), 2+i%8)
		slots += n.hello.Slots
		n.beat()
	}
	w.givesNetworks()
	spans := map[string]time.Duration{}
	w.runs = func(name string) time.Duration { return spans[name] }
	var load time.Duration // slots times time, asked for
	span := func(name string, cores int) {
		spans[name] = 5*time.Second + time.Duration(rng.IntN(20000))*time.Millisecond
		load += spans[name] * time.Duration(cores)
	}
	submit := func(at time.Duration, number int, p *plan, target string) wire.JobID {
		e := Submitted{Job: wire.JobID{byte(number >> 8), byte(number), 1}, Space: "t", Tenant: "t", Client: client.peer, Owner: client.owner, Tasks: p.tasks, Targets: p.target(target), KeepGoing: true}
		w.after(at, func() { w.step(e) })
		return e.Job
	}

	const gangs = 100
	type arrival struct {
		id   wire.JobID
		p    *plan
		goal string
		at   time.Duration
	}
	var arrivals []arrival
	plans := make([]*plan, gangs)
	for i := range gangs {
		g := gangSpec{name: fmt.Sprint("g", i), others: 1 + rng.IntN(slots/3), services: rng.IntN(2), hints: wire.Hints{MilliCPU: 1000 * int64(1+rng.IntN(5)/4)}}
		plans[i] = netPlan(t, g)
		for _, task := range plans[i].tasks {
			span(task.Name, int(g.hints.MilliCPU/1000))
			if task.Gang.Service {
				spans[task.Name] = time.Hour
			}
		}
	}
	forGangs := load
	work := 3 * forGangs / 2 // of ordinary tasks beside them
	var others []*plan
	var names []string
	for k := 0; load < forGangs+work; k++ {
		name := fmt.Sprint("t", k)
		p := &plan{ids: map[string]wire.ThunkID{}}
		p.ids[name] = p.add(t, name, wire.Thunk{Command: []string{name}, Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1,
			Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}, wire.Hints{})
		span(name, 1)
		others, names = append(others, p), append(names, name)
	}
	period := load / time.Duration(slots) * 10 / 9 // 90 %
	client.put(testRoot)
	number := 0
	for i, p := range plans {
		at := time.Duration(rng.Int64N(int64(period)))
		number++
		goal := fmt.Sprintf("g%d-o0", i)
		arrivals = append(arrivals, arrival{submit(at, number, p, goal), p, goal, at})
	}
	for i, p := range others {
		number++
		submit(time.Duration(rng.Int64N(int64(period))), number, p, names[i])
	}
	began := map[string]time.Duration{}
	w.mayStart = func(_ *simNode, o *wire.Offer) bool {
		began[o.Name] = w.now
		return true
	}
	if !w.run(period+time.Hour, func() bool { return len(w.done) == number }) {
		t.Fatalf("at %v %d of %d jobs have ended", w.now, len(w.done), number)
	}
	waits := make([]time.Duration, 0, gangs)
	for _, a := range arrivals {
		w.wantValues(a.id, a.p, a.goal)
		waits = append(waits, began[a.goal]-a.at)
	}
	if len(w.networks) != gangs {
		t.Errorf("%d networks for %d gangs, each of which should begin once", len(w.networks), gangs)
	}
	slices.Sort(waits)
	t.Logf("%d slots, %d tasks in %v, of which gangs %.0f %%; all done at %v; gangs waited %v, %v, %v, %v (half, 90 %%, 99 %%, longest)", slots, len(spans), period.Round(time.Second),
		100*float64(forGangs)/float64(load), w.now.Round(time.Second), waits[gangs/2].Round(time.Millisecond), waits[gangs*9/10].Round(time.Millisecond), waits[gangs*99/100].Round(time.Millisecond), waits[gangs-1].Round(time.Millisecond))
	// Beside them ordinary work goes on: it is not held up for much longer than the longest gang runs.
	if limit := 2 * time.Minute; waits[gangs-1] > limit {
		t.Errorf("a gang waited for %v, want at most %v", waits[gangs-1], limit)
	}
}
