package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"gaggle/coord/server"
	"gaggle/wire"
)

// What was submitted as a job, and the tasks of its sub-graphs that failed, stay on disk as long
// as its record: the coordinator forgets tasks soon after the job.

// saveThunks writes the tasks of a job, whole or not at all.
func (d stateDir) saveThunks(job string, tasks []wire.TaskSpec, durable bool) error {
	return replaceFile(d.jobFile(job, ".thunks"), durable, func(w io.Writer) error { return server.WriteTasks(w, tasks) })
}

// keepSubmitted keeps what is submitted. With a policy of trust it cannot be submitted if that fails, since
// nothing could be proven; without one it is done meanwhile, for coord shell.
func (j *job) keepSubmitted(tasks []wire.TaskSpec) error {
	dir, job := j.b.dir, j.rec.Job
	if j.rec.Trust == wire.TrustAny {
		j.kept.Go(func() {
			if err := dir.saveThunks(job, tasks, false); err != nil {
				j.b.log.Error("coord shell will not know the tasks of a job", "job", job, "error", err)
			}
		})
		return nil
	}
	err := dir.saveWanted(job, j.targets)
	if err == nil {
		err = dir.saveThunks(job, tasks, true)
	}
	if err != nil {
		return fmt.Errorf("keeping what is submitted, by which it is seen whose values --trust %s was given: %w", j.rec.Trust, err)
	}
	return nil
}

// keepFailed adds failed tasks of sub-graphs, which were not submitted, to what is on disk.
func (j *job) keepFailed(failures []wire.FailedTask) {
	j.kept.Wait()
	var tasks []wire.TaskSpec
	for i := range failures {
		if f := &failures[i]; f.Encoded != nil {
			tasks = append(tasks, wire.TaskSpec{Name: f.Task, Thunk: f.Encoded})
		}
	}
	if len(tasks) == 0 {
		return
	}
	f, err := os.OpenFile(j.b.dir.jobFile(j.rec.Job, ".thunks"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(server.WriteTasks(f, tasks), f.Close())
	}
	if err != nil {
		j.b.log.Error("coord shell will not know the failed tasks of sub-graphs", "job", j.id, "error", err)
	}
}

// keptTasks yields the tasks of a job as they were submitted, then failed ones of sub-graphs.
func (d stateDir) keptTasks(job string, yield func(*wire.TaskSpec) bool) error {
	f, err := os.Open(filepath.Clean(d.jobFile(job, ".thunks")))
	if err != nil {
		return err
	}
	defer f.Close()
	return server.ReadTasks(f, yield)
}

// recall returns the resolved thunk and the hints of a task of a job that has ended: from what
// was submitted and the values that the coordinator still knows.
func (s *session) recall(ctx context.Context, l *link, t *foundTask) (*wire.Thunk, wire.Hints, error) {
	spec, err := s.keptTask(t)
	if err != nil {
		return nil, wire.Hints{}, err
	}
	th, err := wire.DecodeThunk(spec.Thunk)
	if err != nil || th.Resolved() {
		return th, spec.Hints, err
	}
	makers, err := s.makers(t.job, th)
	if err != nil {
		return nil, wire.Hints{}, err
	}
	if err := s.values(ctx, l, makers); err != nil {
		return nil, wire.Hints{}, err
	}
	resolved, err := th.Resolve(func(id wire.ThunkID, output string) (wire.Object, bool) {
		m := makers[id]
		if m == nil || m.thunk == nil || m.value == nil {
			return wire.Object{}, false
		}
		i, ok := m.thunk.OutputIndex(output)
		if !ok || i >= len(m.value.Outputs) {
			return wire.Object{}, false
		}
		return m.value.Outputs[i], true
	})
	if err != nil {
		return nil, wire.Hints{}, wire.Errorf(wire.CauseInputsGone, "submit it again: what is gone is made again",
			"the inputs of task %s are not known any more", t.Name)
	}
	return resolved, spec.Hints, nil
}

// keptTask finds a task among those kept on disk, by name: one of a sub-graph was kept resolved.
func (s *session) keptTask(t *foundTask) (spec *wire.TaskSpec, err error) {
	err = s.a.dir.keptTasks(t.job.String(), func(k *wire.TaskSpec) bool {
		if k.Name == t.Name {
			spec = k
		}
		return spec == nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, wire.Errorf(wire.CauseNotFound, "ask on the machine that submitted it", "what task %s runs is not known here", t.Name)
	case err != nil:
		return nil, err
	case spec == nil:
		return nil, wire.Errorf(wire.CauseNotFound, "submit the job again, and look while it runs",
			"task %s came with a sub-graph, of which only failed tasks are remembered", t.Name)
	}
	return spec, nil
}

// A maker is a task whose output another one needs.
type maker struct {
	thunk    *wire.Thunk
	resolved wire.ThunkID
	value    *wire.Value // nil: not known any more
}

// makers finds the tasks that a thunk needs, by their unresolved ids.
func (s *session) makers(job wire.JobID, th *wire.Thunk) (map[wire.ThunkID]*maker, error) {
	makers := map[wire.ThunkID]*maker{}
	for _, in := range th.Inputs {
		if in.Object.Kind == wire.Pending {
			makers[wire.ThunkID(in.Object.Digest)] = new(maker)
		}
	}
	err := s.a.dir.keptTasks(job.String(), func(k *wire.TaskSpec) bool {
		if m := makers[wire.ThunkID(wire.Sum(k.Thunk))]; m != nil {
			m.thunk, _ = wire.DecodeThunk(k.Thunk) // nil is as good as not kept
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	err = s.a.dir.loggedTasks(job.String(), func(n *wire.Notice) bool {
		if m := makers[n.Thunk]; m != nil && n.Resolved != (wire.ThunkID{}) {
			m.resolved = n.Resolved
		}
		return true
	})
	return makers, err
}

// values asks the coordinator for the values of makers.
func (s *session) values(ctx context.Context, l *link, makers map[wire.ThunkID]*maker) error {
	var ids []wire.ThunkID
	of := map[wire.ThunkID][]*maker{}
	for _, m := range makers {
		if of[m.resolved] == nil {
			ids = append(ids, m.resolved)
		}
		of[m.resolved] = append(of[m.resolved], m)
	}
	for len(ids) > 0 {
		part := ids[:min(len(ids), wire.MaxBatch)]
		ids = ids[len(part):]
		r, err := l.ask(ctx, &wire.Request{Known: &wire.Known{Space: l.space, Thunks: part}})
		if err != nil {
			return err
		}
		for i, b := range r.Values[:min(len(r.Values), len(part))] {
			v, err := wire.DecodeValue(b)
			if err != nil {
				continue // empty: not known
			}
			for _, m := range of[part[i]] {
				m.value = v
			}
		}
	}
	return nil
}
