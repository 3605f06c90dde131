package sched

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// TestTenantsAreBounded: what exceeds a tenant's bound is refused with the reason, before and not in
// the place of what was accepted; another tenant does not notice, and there is room again when a job
// has ended.
func TestTenantsAreBounded(t *testing.T) {
	w, client := small(t, 1)
	w.cfg.MaxQueued = 50
	w.begin()
	for _, n := range w.nodes {
		n.connect()
	}
	text, names := independent(40)
	p := makePlan(t, text)
	first := w.submit(1, client, p, nil, names...)
	second := w.submit(2, client, p, nil, names...)
	if d := w.done[second]; d == nil || d.Error == nil || d.Error.Cause != wire.CauseBusy || !strings.Contains(d.Error.Message, "80 tasks queued; the limit is 50") {
		t.Fatalf("the second job: %+v, want it refused", d)
	}
	if w.done[first] != nil {
		t.Fatalf("the first job ended: %+v", w.done[first])
	}
	other := w.submit(3, client, p, func(s *Submitted) { s.Tenant = "other" }, names...)
	w.restart() // what was accepted is told again, and stays accepted
	w.run(10*time.Minute, w.ended(first, other))
	w.wantValues(first, p, names...)
	w.wantValues(other, p, names...)
	again := w.submit(4, client, p, nil, names...)
	w.run(time.Minute, w.ended(again))
	w.wantValues(again, p, names...)
}

// TestRefusedJobsTakeNoPlace: jobs that are refused push none out whose targets somebody may still fetch.
func TestRefusedJobsTakeNoPlace(t *testing.T) {
	w, client := small(t, 2)
	w.cfg.MaxQueued = 5
	w.begin()
	for _, n := range w.nodes {
		n.connect()
	}
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, func(s *Submitted) { s.Detach = true }, "a")
	w.run(time.Minute, w.ended(id))
	w.run(11*time.Minute, nil) // freed, but pinned until fetched
	text, names := independent(10)
	big := makePlan(t, text)
	for i := range 210 {
		e := Submitted{Job: wire.JobID{9, byte(i)}, Space: "evil", Tenant: "evil", Client: client.peer, Tasks: slices.Clone(big.tasks), Targets: big.target(names...)}
		w.step(e)
	}
	if _, ok := w.s.jobOf[id]; !ok {
		t.Error("the detached job and its pins were forgotten for 210 refused submissions")
	}
}

// TestBrokenOffJobsTakeNoPlace: nor do they where as many jobs are over as are remembered.
func TestBrokenOffJobsTakeNoPlace(t *testing.T) {
	w, client := small(t, 2)
	w.calm = true
	p := makePlan(t, "a -> src")
	var ids []wire.JobID
	for i := range maxEnded {
		ids = append(ids, w.submit(byte(1+i), client, p, func(s *Submitted) { s.Detach = true }, "a"))
	}
	w.run(time.Minute, w.ended(ids...))
	w.run(lingerFor+time.Minute, nil)
	if n := len(w.s.over); n != maxEnded {
		t.Fatalf("%d jobs are over, want %d", n, maxEnded)
	}
	w.step(Submitted{Job: wire.JobID{9, 9}, Space: "t", Tenant: "t", Client: client.peer, Tasks: p.tasks, Targets: p.target("a"), Stream: 1, Total: 2})
	w.step(BrokeOff{Job: wire.JobID{9, 9}, Stream: 1})
	for _, id := range ids {
		if r, ok := w.s.jobOf[id]; !ok || len(w.s.jobs.at(r).pins) == 0 {
			t.Errorf("job %s and its pins were forgotten for one that broke off", id)
		}
	}
}
