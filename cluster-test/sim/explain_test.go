package sim

import (
	"context"
	"testing"

	"gaggle/wire"
)

// explain asks the coordinator what every task of every job waits for.
func explain(t *testing.T, ctx context.Context, w *world) {
	jobs := ask(ctx, w, &wire.Request{Status: &wire.JobRef{}})
	t.Logf("%d jobs, error %v", len(jobs.Jobs), jobs.Error)
	for _, j := range jobs.Jobs {
		t.Logf("job %s: %s, waiting %q, %+v", j.Job, j.State, j.Waiting, j.Counts)
		tasks := ask(ctx, w, &wire.Request{Explain: &wire.TaskRef{Job: j.Job}})
		for _, task := range tasks.Tasks {
			if task.State != wire.StateDone {
				t.Logf("  %s: %s at %s, waiting %q", task.Name, task.State, task.NodeName, task.Waiting)
			}
		}
	}
	for _, n := range ask(ctx, w, &wire.Request{Nodes: &wire.Nothing{}}).Nodes {
		t.Logf("node %s: %s, busy %d of %d", n.Info.Name, n.State, n.Busy, n.Slots)
	}
}

func ask(ctx context.Context, w *world, req *wire.Request) (r wire.Response) {
	h := w.hosts[len(w.hosts)-1]
	near, far, err := w.net.dial(h.name, "hub")
	if err != nil {
		return r
	}
	defer near.Close()
	s, _ := w.server()
	go func() { _ = s.ServeClient(ctx, far, h.cert()) }()
	if wire.WriteFrame(near, req) == nil {
		_ = wire.NewFrameReader(near).Read(&r) // an empty answer explains nothing
	}
	return r
}
