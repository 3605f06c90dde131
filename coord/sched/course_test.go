package sched

import (
	"fmt"
	"testing"
	"time"

	"gaggle/wire"
)

// TestToAskLeavesNothing: what jobs wait for is told, when somebody asks and by itself, and nothing is
// kept of what they asked for.
func TestToAskLeavesNothing(t *testing.T) {
	w, client := small(t, 0)
	for i := range byte(20) {
		p := makePlan(t, fmt.Sprintf("k%d -> src", i))
		id := w.submit(i+1, client, p, func(e *Submitted) { e.Tasks[0].Hints.Labels = map[string]string{"rack": fmt.Sprint(i)} }, fmt.Sprint("k", i))
		w.run(2*time.Second, nil)
		if list := w.s.Tasks(id, ""); len(list) != 1 || list[0].Waiting == "" || w.s.Jobs()[i].Waiting == "" {
			t.Fatalf("nobody says what is waited for: %+v, %+v", list, w.s.Jobs()[i])
		}
		w.step(Cancelled{id})
	}
	if len(w.s.classes) > 0 || len(w.s.classOf) > 0 || len(w.s.kinds) > 0 {
		t.Errorf("%d classes (%d found) and %d kinds are kept of runs that were never looked at", len(w.s.classes), len(w.s.classOf), len(w.s.kinds))
	}
}

// TestClassesAreListedOnce, while runs ask for them and some for longer.
func TestClassesAreListedOnce(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src; b -> src2; c -> src3")
	id := w.submit(1, client, p, nil, "a", "b", "c")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "a", "b", "c")
	if len(w.s.classes) != 1 || w.s.classes[0].runs != 0 || w.s.classOf[w.s.classes[0].classKey] != w.s.classes[0] {
		t.Errorf("the classes are %+v", w.s.classes)
	}
}

// TestSharingKeepsCredit: a job whose only run gets a course while it stands ready competes on, and has
// what it left unused before.
func TestSharingKeepsCredit(t *testing.T) {
	w, client := small(t, 0)
	p := makePlan(t, "a -> src")
	first := w.submit(1, client, p, nil, "a")
	w.submit(2, client, makePlan(t, "b -> src"), func(e *Submitted) { e.Tenant = "u" }, "b")
	w.s.tenantOf["u"].pass = time.Minute // it had slots meanwhile
	w.submit(3, client, p, nil, "a")
	j := w.s.jobs.at(w.s.jobOf[first])
	run := w.s.runs.at(w.s.first(j))
	if run.course == nil || len(w.s.allWaiters(run)) != 2 {
		t.Fatalf("the run is not shared: %+v", run)
	}
	if pass := j.tenant.pass; pass != 0 || j.queued != 1 || j.tenant.jobs != 1 || len(j.heap) != 1 {
		t.Errorf("the tenant is charged %v for sharing; %d runs queued, %d in the heap, %d jobs compete", pass, j.queued, len(j.heap), j.tenant.jobs)
	}
	if over := w.s.jobs.at(w.s.jobOf[wire.JobID{3}]); over.queued != 0 {
		t.Errorf("the job that shares has %d runs queued", over.queued)
	}
	w.addNode("late", 2).beat()
	w.run(time.Minute, w.ended(first, wire.JobID{3}))
	w.wantValues(first, p, "a")
}
