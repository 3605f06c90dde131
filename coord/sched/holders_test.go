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
