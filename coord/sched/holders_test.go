package sched

import (
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// Who waits for a slot is told which jobs of its tenant hold them, and how many of others.
func TestWhoHoldsTheSlotsIsSaid(t *testing.T) {
	w, client := small(t, 1) // of two slots
	w.runs = func(string) time.Duration { return time.Minute }
	w.submit(1, client, makePlan(t, "a -> src"), nil, "a")
	p := makePlan(t, "b -> src2")
	w.step(Have{client.peer, wire.SpaceSet{Space: "u", Objects: p.leaves}, true})
	w.submit(2, client, p, func(e *Submitted) { e.Space, e.Tenant = "u", "u" }, "b")
	w.run(5*time.Second, nil)
	w.submit(3, client, makePlan(t, "c -> src3; d -> src3; e -> src3; f -> src3"), nil, "c", "d", "e", "f")
	w.run(5*time.Second, nil)
	want := "1 held by job " + wire.JobID{1}.String() + ", 1 by 1 job of other tenants"
	if j := w.s.Jobs()[2]; j.State != "waiting" || !strings.Contains(j.Waiting, want) {
		t.Errorf("the job is %s: %q, want %q", j.State, j.Waiting, want)
	}
	tasks := w.s.Tasks(wire.JobID{3}, "")
	for i := range tasks {
		if why := tasks[i].Waiting; !strings.HasPrefix(why, "waiting for a slot") || !strings.Contains(why, want) {
			t.Errorf("task %s is %s: %q, want %q", tasks[i].Name, tasks[i].State, why, want)
		}
	}
	for _, j := range w.s.Jobs()[:2] {
		if j.State != "running" {
			t.Errorf("job %s is %s: %q", j.Job, j.State, j.Waiting)
		}
	}
}

// At most shownHolders jobs are named.
func TestFewHoldersAreNamed(t *testing.T) {
	w, client := small(t, 3)
	w.runs = func(string) time.Duration { return time.Minute }
	for i := range byte(6) {
		src := string(rune('p' + i))
		w.submit(1+i, client, makePlan(t, "a -> "+src), nil, "a")
	}
	w.run(5*time.Second, nil)
	w.submit(9, client, makePlan(t, "z -> src"), nil, "z")
	w.run(5*time.Second, nil)
	h := &holders{s: w.s}
	why := h.whose(w.s.jobs.at(w.s.jobOf[wire.JobID{9}]), []nodeRef{2, 3, 4})
	if strings.Count(why, "by job j") != shownHolders || !strings.HasSuffix(why, "3 by 3 jobs more of this tenant") {
		t.Errorf("held%s", why)
	}
}

// Of many tasks as many are described as an answer holds, the foremost ones; and who holds the slots of a
// class is found once.
func TestManyTasksAreToldOfBriefly(t *testing.T) {
	w, client := small(t, 1)
	w.calm = true
	w.runs = func(string) time.Duration { return time.Minute }
	text, names := many(ExplainBound+200, 1)
	w.submit(1, client, makePlan(t, "b -> src"), nil, "b")
	w.run(5*time.Second, nil)
	id := w.submit(2, client, makePlan(t, strings.ReplaceAll(text, "~1", "")), nil, names...)
	w.run(5*time.Second, nil)
	for _, c := range []struct {
		prefix string
		n      int
		first  wire.State // of those told
	}{{"", ExplainBound, wire.StateRunning}, {"t1100", 1, wire.StateReady}} {
		list := w.s.Tasks(id, c.prefix)
		if len(list) != c.n || list[0].State != c.first {
			t.Errorf("%d tasks %q are told of, the first is %v; want %d, %v", len(list), c.prefix, list[0].State, c.n, c.first)
		}
	}
	if list := w.s.Tasks(id, "t"); len(list) != ExplainBound || list[0].State != wire.StateRunning {
		t.Errorf("%d tasks are told of, the first is %s %v", len(list), list[0].Name, list[0].State)
	}
	h, told := &holders{s: w.s}, 0
	for _, tr := range w.s.jobs.at(w.s.jobOf[id]).tasks {
		if why := w.s.whyWaits(tr, h); strings.HasPrefix(why, "waiting for a slot: ") {
			told++
		}
	}
	if told < ExplainBound || len(h.said) != 1 {
		t.Errorf("%d tasks wait for slots, for which who holds them was found %d times", told, len(h.said))
	}
}
