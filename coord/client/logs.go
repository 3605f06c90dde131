package client

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"gaggle/wire"
)

// logPoll is how often logs -f looks whether the task has begun to run.
const logPoll = 300 * time.Millisecond

// A foundTask is a task that a person named.
type foundTask struct {
	wire.TaskStatus
	job   wire.JobID
	grant []byte
	peers []wire.PeerInfo
}

var jobPrefix = regexp.MustCompile(`^j[0-9a-f]{4,16}$`)

// tasksOf finds the tasks of a job whose names begin with what a person typed: NAME in the latest
// job, or JOB/NAME. The coordinator knows those of jobs under way; of jobs that ended the agent
// keeps the last notice of each.
func (s *session) tasksOf(ctx context.Context, l *link, arg string) ([]foundTask, error) {
	jobName, name := "", arg
	if first, rest, ok := strings.Cut(arg, "/"); ok && jobPrefix.MatchString(first) {
		jobName, name = first, rest
	}
	status, err := l.jobOf(ctx, jobName)
	if err != nil {
		return nil, err
	}
	r, err := l.ask(ctx, &wire.Request{Explain: &wire.TaskRef{Job: status.Job, Task: name}})
	if err != nil {
		return nil, err
	}
	var found []foundTask
	for _, t := range r.Tasks {
		found = append(found, foundTask{t, status.Job, r.Grant, r.Peers})
	}
	if len(found) == 0 {
		found = s.loggedTasks(status.Job, name, r)
	}
	exact := -1
	for i := range found {
		if found[i].Name == name {
			exact = i
		}
	}
	switch {
	case exact >= 0:
		return found[exact : exact+1], nil
	case len(found) == 0 && status.Ended != 0 && s.forgotten(status.Job):
		return nil, wire.Errorf(wire.CauseNotFound, "ask there", "job %s (%s) has ended; what its tasks did is known on %s, which submitted it",
			status.Job, status.Name, status.Client)
	case len(found) == 0:
		return nil, wire.Errorf(wire.CauseNotFound, "coord explain lists those of the latest job, coord explain JOB/ those of another", "job %s (%s) has no task %q", status.Job, status.Name, name)
	}
	return found, nil
}

// forgotten reports whether this machine knows nothing of a job's tasks.
func (s *session) forgotten(job wire.JobID) bool {
	return s.a.dir.loggedTasks(job.String(), func(*wire.Notice) bool { return false }) != nil
}

// maxFound bounds the tasks that one name stands for.
const maxFound = 1000

func (s *session) loggedTasks(job wire.JobID, name string, r *wire.Response) (found []foundTask) {
	last := map[string]int{} // a task that ran again was told twice
	err := s.a.dir.loggedTasks(job.String(), func(n *wire.Notice) bool {
		if !strings.HasPrefix(n.Task, name) {
			return true
		}
		t := foundTask{job: job, grant: r.Grant, peers: r.Peers, TaskStatus: wire.TaskStatus{Name: n.Task, Thunk: n.Thunk,
			Resolved: n.Resolved, State: n.State, How: n.How, Node: n.Node, NodeName: n.NodeName, Failure: n.Failure}}
		if i, ok := last[n.Task]; ok {
			found[i] = t
		} else if len(found) < maxFound {
			last[n.Task] = len(found)
			found = append(found, t)
		}
		return true
	})
	if err != nil {
		return nil
	}
	return found
}

func (s *session) explain(ctx context.Context, l *link, arg *TaskArg) (*End, error) {
	found, err := s.tasksOf(ctx, l, arg.Task)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 && found[0].Encoded == nil {
		found[0].Encoded = s.whatRan(ctx, l, &found[0])
	}
	if len(found) == 1 && found[0].Gang == nil { // its job has ended
		if spec, err := s.keptTask(&found[0]); err == nil {
			found[0].Gang = spec.Gang
		}
	}
	e := new(Event)
	size := 0
	for i := range found {
		t := found[i].TaskStatus
		if size += len(t.Encoded); size > wire.MaxFrame/2 {
			t.Encoded = nil
		}
		e.Tasks = append(e.Tasks, t)
	}
	return nil, s.send(e)
}

// whatRan returns the thunk of a task of a job that has ended, resolved if its inputs are still
// known; nil if nothing is.
func (s *session) whatRan(ctx context.Context, l *link, t *foundTask) []byte {
	if th, _, err := s.recall(ctx, l, t); err == nil {
		_, enc := th.Encode()
		return enc
	}
	if spec, err := s.keptTask(t); err == nil {
		return spec.Thunk
	}
	return nil
}

// logs shows what a task writes or wrote.
func (s *session) logs(ctx context.Context, l *link, arg *Logs) (*End, error) {
	t, err := s.oneTask(ctx, l, arg.Task)
	for err == nil && arg.Follow && t.State < wire.StateRunning {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(logPoll):
		}
		t, err = s.oneTask(ctx, l, arg.Task)
	}
	if err != nil {
		return nil, err
	}
	if t.How == wire.HowMemo || t.How == wire.HowShared {
		s.whoRan(t)
	}
	switch {
	case t.State < wire.StateRunning:
		return nil, wire.Errorf(wire.CauseNotFound, "coord logs -f waits for it", "task %s is %s and has written nothing yet", t.Name, t.State)
	case t.Node.IsZero() && t.Failure == nil:
		return nil, wire.Errorf(wire.CauseNotFound, "", "nothing ran for task %s: its value was known", t.Name)
	}
	err = s.nodeLogs(ctx, l, t, arg.Follow)
	if err != nil && t.Failure != nil { // the ends of the streams are here
		for _, o := range []Output{{Data: t.Failure.Stdout}, {Data: t.Failure.Stderr, Stderr: true}} {
			if err := s.send(&Event{Output: &o}); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	return nil, err
}

func (s *session) oneTask(ctx context.Context, l *link, name string) (*foundTask, error) {
	found, err := s.tasksOf(ctx, l, name)
	if err != nil {
		return nil, err
	}
	if len(found) > 1 {
		return nil, wire.Errorf(wire.CauseInvalid, "name one, as "+found[0].Name, "%d tasks begin with %q", len(found), name)
	}
	return &found[0], nil
}

// whoRan finds the node that ran what this job got from the memo, if that was for an earlier job
// of this machine.
func (s *session) whoRan(t *foundTask) {
	for _, r := range s.a.dir.records() {
		var hit *wire.Notice
		err := s.a.dir.loggedTasks(r.Job, func(n *wire.Notice) bool {
			if n.Resolved == t.Resolved && n.How == wire.HowRan {
				hit = n
			}
			return hit == nil
		})
		if err == nil && hit != nil {
			t.Node, t.NodeName = hit.Node, hit.NodeName
			return
		}
	}
}

// nodeLogs asks the node that runs or ran the task.
func (s *session) nodeLogs(ctx context.Context, l *link, t *foundTask, follow bool) error {
	peer := wire.PeerInfo{Peer: t.Node, Name: t.NodeName}
	for _, p := range t.peers {
		if p.Peer == t.Node {
			peer = p
		}
	}
	if len(peer.Addrs) == 0 {
		r, err := l.ask(ctx, &wire.Request{Nodes: &wire.Nothing{}})
		if err != nil {
			return err
		}
		for _, n := range r.Nodes {
			if n.Info.Peer == t.Node {
				peer = n.Info
			}
		}
	}
	rw, err := l.Logs(ctx, peer)
	if err != nil {
		return err
	}
	defer rw.Close()
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	defer stop()
	if err := wire.WriteFrame(rw, &wire.LogRequest{Grant: t.grant, Space: l.space, Thunk: t.Resolved, Follow: follow}); err != nil {
		return err
	}
	frames := wire.NewFrameReader(rw)
	for {
		var c wire.LogChunk
		err := frames.Read(&c)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case c.Error != nil:
			return c.Error
		}
		if len(c.Data) > 0 {
			if err := s.send(&Event{Output: &Output{Stderr: c.Stderr, Data: c.Data}}); err != nil {
				return err
			}
		}
		if c.End {
			return nil
		}
	}
}
