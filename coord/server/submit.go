package server

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// maxJobBytes bounds the tasks of one job while it streams in, see room: wire.MaxJobThunks of ordinary
// size.
const maxJobBytes = 2 << 30

// maxIncoming bounds the jobs that stream in at once, together.
const maxIncoming = 2 * maxJobBytes

// submit reads a job, checking each task as it comes, gives it to the scheduler part by part and
// passes on what becomes of it. Nothing is recorded of a job that is refused or whose stream breaks
// off.
func (c *client) submit(sub *wire.Submit) error {
	if err := c.checkSubmit(sub); err != nil {
		return err
	}
	if err := c.checkFree(sub); err != nil {
		return err
	}
	if e := c.s.troubled(); e != nil {
		return wire.Errorf(e.Cause, e.Hint, "the coordinator accepts no job now: %s", e.Message)
	}
	in := &incoming{c: c, sub: sub, check: newTaskCheck(), stream: c.s.streams.Add(1)}
	tasks, end, err := in.part()
	if err != nil {
		in.release()
		return err
	}
	w := c.s.subscribe(sub.Job)
	defer c.s.unsubscribe(sub.Job, w)
	e := sched.Submitted{
		Job: sub.Job, Space: sub.Space, Tenant: string(sub.Space), Name: sub.Name, Client: c.cert.Peer,
		Detach: sub.Detach, KeepGoing: sub.KeepGoing, Twice: sub.Twice, Verify: sub.Verify, Trust: sub.Trust, Owner: c.cert.Owner, Passing: sub.Passing, Tasks: tasks, Targets: sub.Targets, At: time.Now(),
	}
	if !end {
		e.Stream, e.Total = in.stream, sub.Tasks
	}
	if err := c.s.send(e); err != nil {
		in.release()
		return err
	}
	err = c.follow(w, func() error { return in.rest(end) })
	if sub.Passing { // nobody waits for it any more, if it has not ended
		err = errors.Join(err, c.s.send(sched.Cancelled{Job: sub.Job}))
	}
	return err
}

// checkFree refuses the id of a job that is in another's space. The same job submitted again, by
// a client that lost the acknowledgement, is accepted.
func (c *client) checkFree(sub *wire.Submit) error {
	jobs, err := c.s.allJobs()
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Job == sub.Job && j.Space != sub.Space {
			return wire.Errorf(wire.CauseInvalid, "submit again", "the id %s is taken", sub.Job)
		}
	}
	return nil
}

func (c *client) checkSubmit(sub *wire.Submit) error {
	switch {
	case sub.Verify < 0 || sub.Verify > 100 || sub.Verify > 0 && sub.Twice:
		return wire.Errorf(wire.CauseInvalid, "give 0 to 100 percent to verify, or check determinism", "the job asks to verify %d%%", sub.Verify)
	case !sub.Trust.Valid():
		return wire.Errorf(wire.CauseInvalid, "update the coordinator", "the job's policy of trust, %d, is not known here", int(sub.Trust))
	case sub.Trust == wire.TrustOwn && c.cert.Owner == "":
		return wire.Errorf(wire.CauseInvalid, "log in again (coord login)", "the job believes its owner's nodes only, but the certificate names no owner")
	case !sub.Space.Valid():
		return wire.Errorf(wire.CauseInvalid, "", "space %q is not a name", sub.Space)
	case !c.cert.Has(wire.RoleClient) || !c.cert.May(sub.Space):
		return wire.Errorf(wire.CauseUnauthorized, "log in with a ticket of that tenant", "the certificate does not let you submit to %q", sub.Space)
	case sub.Passing && sub.Detach:
		return wire.Errorf(wire.CauseInvalid, "", "a passing job cannot be detached")
	case sub.Tasks <= 0 || len(sub.Targets) == 0:
		return wire.Errorf(wire.CauseInvalid, "name at least one target", "a job of %d tasks and %d targets does nothing", sub.Tasks, len(sub.Targets))
	case sub.Tasks > wire.MaxJobThunks || len(sub.Targets) > wire.MaxJobThunks:
		return wire.Errorf(wire.CauseTooLarge, "split it", "a job of %d tasks and %d targets exceeds the bound of %d", sub.Tasks, len(sub.Targets), wire.MaxJobThunks)
	case len(sub.Name) > wire.MaxText || sub.Job == wire.JobID{}:
		return wire.Errorf(wire.CauseInvalid, "", "the job's name or id is malformed")
	}
	return nil
}

// An incoming job is read from its submitter. Every task may depend only on those before it, so
// what is read has no cycle.
type incoming struct {
	c      *client
	sub    *wire.Submit
	check  *taskCheck
	stream uint64

	tasks, size int  // so far
	gangs       bool // there are some: what is left comes in one part
}

// rest passes the further parts on until the job is whole. If it never is, the scheduler forgets it.
func (in *incoming) rest(end bool) error {
	defer in.release()
	for !end {
		tasks, last, err := in.part()
		if err != nil {
			return errors.Join(err, in.c.s.send(sched.BrokeOff{Job: in.sub.Job, Stream: in.stream}))
		}
		if err := in.c.s.send(sched.Extended{Job: in.sub.Job, Stream: in.stream, Tasks: tasks, End: last}); err != nil {
			return err
		}
		end = last
	}
	return nil
}

// release gives back the room that the job took while it came in.
func (in *incoming) release() { in.c.s.incoming.Add(-int64(in.size)) }

// part reads tasks until there are some that may be passed on, or there are no more.
func (in *incoming) part() (tasks []wire.TaskSpec, end bool, err error) {
	for !end && (len(tasks) == 0 || in.gangs) {
		var chunk wire.SubmitChunk
		if err := readFrame(in.c.frames, in.c.rw, &chunk); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, false, fmt.Errorf("reading the tasks of job %s: %w", in.sub.Job, err)
		}
		for i := range chunk.Tasks {
			if err := in.add(&chunk.Tasks[i]); err != nil {
				return nil, false, err
			}
		}
		tasks, end = append(tasks, chunk.Tasks...), chunk.End
	}
	if end {
		err = in.complete()
	}
	return tasks, end, err
}

func (in *incoming) add(t *wire.TaskSpec) error {
	if err := in.check.add(t); err != nil {
		return err
	}
	in.tasks++
	n := room(t)
	in.size += n
	in.gangs = in.gangs || t.Gang != nil
	switch {
	case in.c.s.incoming.Add(int64(n)) > maxIncoming:
		return wire.Errorf(wire.CauseBusy, "submit again in a moment", "too many large jobs are being submitted at once")
	case in.tasks > in.sub.Tasks || in.size > maxJobBytes:
		return wire.Errorf(wire.CauseTooLarge, "split it", "job %s exceeds %d tasks or %d bytes", in.sub.Job, in.sub.Tasks, int64(maxJobBytes))
	}
	return nil
}

// room is what a task takes of what its sender decides: the bytes of its thunk and of all texts.
func room(t *wire.TaskSpec) int {
	n := len(t.Thunk) + len(t.Name)
	for k, v := range t.Hints.Labels {
		n += len(k) + len(v)
	}
	if t.Gang != nil {
		n += len(t.Gang.Name) + len(t.Gang.Task)
	}
	return n
}

// complete checks what only the whole job can fulfil.
func (in *incoming) complete() error {
	if in.tasks != in.sub.Tasks {
		return wire.Errorf(wire.CauseInvalid, "", "job %s announced %d tasks and sent %d", in.sub.Job, in.sub.Tasks, in.tasks)
	}
	for _, t := range in.sub.Targets {
		if err := in.check.target(t); err != nil {
			return err
		}
	}
	return nil
}

// A taskCheck checks tasks against those before them.
type taskCheck struct {
	outputs map[wire.ThunkID][]wire.Output
}

func newTaskCheck() *taskCheck { return &taskCheck{map[wire.ThunkID][]wire.Output{}} }

func (k *taskCheck) add(t *wire.TaskSpec) error {
	bad := func(err error) error {
		return wire.Errorf(wire.CauseInvalid, "", "task %q: %v", t.Name, err)
	}
	if t.Name == "" || len(t.Name) > wire.MaxText {
		return bad(fmt.Errorf("name of %d bytes", len(t.Name)))
	}
	th, err := wire.DecodeThunk(t.Thunk)
	if err != nil {
		return bad(err)
	}
	h := t.Hints
	if h.MilliCPU < 0 || h.MilliCPU > wire.MaxMilliCPU || h.MemBytes < 0 || h.Timeout < 0 || h.Timeout > wire.MaxTimeout || h.Retries < 0 || h.Retries > 10 ||
		h.Priority < -100 || h.Priority > 100 || len(h.Labels) > wire.MaxName {
		return bad(fmt.Errorf("hints out of range: %+v", h))
	}
	if err := checkMember(t.Gang, th); err != nil {
		return bad(err)
	}
	for _, in := range th.Inputs {
		if in.Object.Kind == wire.Pending {
			if err := k.has(wire.ThunkID(in.Object.Digest), in.Output); err != nil {
				return bad(fmt.Errorf("input %q: %w", in.Path, err))
			}
		}
	}
	k.outputs[wire.ThunkID(wire.Sum(t.Thunk))] = th.Outputs
	return nil
}

// checkMember checks that a thunk is what its task says of its gang, nil if it has none; that the gang
// is whole the scheduler checks.
func checkMember(g *wire.Gang, th *wire.Thunk) error {
	service := g != nil && g.Service
	switch {
	case (th.ABI == wire.ABINetworked) != (g != nil && g.Network):
		return fmt.Errorf("sandbox profile %d, but on a network: %t", th.ABI, g != nil && g.Network)
	case service != (len(th.Outputs) == 0):
		return fmt.Errorf("%d outputs, but a service: %t", len(th.Outputs), service)
	case g != nil && th.Builtin():
		return errors.New("a builtin cannot be of a gang")
	case g != nil && slices.ContainsFunc(th.Outputs, func(o wire.Output) bool { return o.Graph != "" }):
		return errors.New("a task of a gang writes no graphs")
	}
	return nil
}

func (k *taskCheck) has(id wire.ThunkID, output string) error {
	outputs, ok := k.outputs[id]
	if !ok {
		return fmt.Errorf("thunk %s is not among the tasks before it", id)
	}
	for _, o := range outputs {
		if o.Path == output {
			return nil
		}
	}
	return fmt.Errorf("thunk %s has no output %q", id, output)
}

func (k *taskCheck) target(t wire.TargetSpec) error {
	if err := wire.CheckPath(t.Path); err != nil {
		return wire.Errorf(wire.CauseInvalid, "", "target: %v", err)
	}
	if err := k.has(t.Thunk, t.Output); err != nil {
		return wire.Errorf(wire.CauseInvalid, "", "target %q: %v", t.Path, err)
	}
	return nil
}
