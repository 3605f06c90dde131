package sched

import (
	"fmt"
	"testing"
	"time"

	"gaggle/wire"
)

// BenchmarkGangOfAThousand: a gang of 1,000 on a network is submitted where 250 nodes have four slots
// each, and placed in the same Step.
func BenchmarkGangOfAThousand(b *testing.B) {
	p := netPlan(b, gangSpec{name: "g", others: 1000})
	var spent time.Duration
	for b.Loop() {
		w := newWorld(b, 1)
		w.calm = true
		client := w.addNode("laptop", 0)
		for i := range 250 {
			w.addNode(fmt.Sprint("n", i), 4)
		}
		w.givesNetworks()
		client.put(testRoot)
		w.run(time.Second, nil)
		begun := time.Now()
		actions := w.s.Step(w.now, time.Unix(0, 0), []Event{Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: client.peer, Tasks: p.tasks, Targets: p.target("g-o0")}})
		spent += time.Since(begun)
		offers := 0
		for _, a := range actions {
			if _, ok := a.(Offer); ok {
				offers++
			}
		}
		if offers != 1000 {
			b.Fatalf("%d offers, want 1000", offers)
		}
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "us/gang")
}
