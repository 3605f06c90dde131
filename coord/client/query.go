package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"gaggle/blobstore"
	"gaggle/wire"
)

// do carries out a command.
func (s *session) do(ctx context.Context, cmd *Command, input io.Reader) (*End, error) {
	switch {
	case cmd.Submit != nil:
		return s.submit(ctx, cmd, input)
	case cmd.Run != nil:
		return s.run(ctx, cmd)
	case cmd.Login != nil:
		return s.login(ctx, s.a.dir, cmd.Login)
	case cmd.Meshes != nil:
		return s.meshes(s.a.dir, cmd.Meshes)
	case cmd.GC != nil:
		return s.gc(ctx)
	case cmd.Build != nil:
		return s.building(ctx, cmd)
	case cmd.Report != nil:
		return nil, s.report(cmd.Report.All)
	}
	l, err := s.link(ctx, cmd)
	if err != nil {
		return nil, err
	}
	switch {
	case cmd.Attach != nil:
		return s.attach(ctx, l, cmd)
	case cmd.Get != nil:
		return s.get(ctx, l, cmd)
	case cmd.Cancel != nil:
		return s.cancelJob(ctx, l, cmd.Cancel)
	case cmd.Status != nil:
		return s.status(ctx, l, cmd.Status)
	case cmd.Nodes != nil:
		return s.nodes(ctx, l)
	case cmd.Paths != nil:
		return s.paths(ctx, l)
	case cmd.Judge != nil:
		return s.judge(ctx, l, cmd.Judge)
	case cmd.Logs != nil:
		return s.logs(ctx, l, cmd.Logs)
	case cmd.Explain != nil:
		return s.explain(ctx, l, cmd.Explain)
	case cmd.Shell != nil:
		return s.shell(ctx, l, cmd.Shell)
	}
	return nil, wire.Errorf(wire.CauseVersion, "end the background process with  coord agent --stop", "the background process does not know this command")
}

// asError makes an error of a command fit for a person who did not ask about causes.
func asError(err error) *wire.Error {
	if errors.Is(err, fs.ErrNotExist) && wire.CauseOf(err) == wire.CauseUnknown {
		return &wire.Error{Cause: wire.CauseInvalid, Message: wire.AsError(err).Message}
	}
	if e := wire.AsError(err); e != nil && e.Cause == wire.CauseUnknown && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		return &wire.Error{Cause: wire.CauseDiskFull, Message: e.Message, Hint: "free space on that disk (coord gc), or have --state DIR or $GAGGLE_STATE name a directory on another"}
	}
	return wire.AsError(err)
}

// jobOf finds the job that a person names: by its id or the beginning of it; "" is the one
// submitted last.
func (l *link) jobOf(ctx context.Context, name string) (wire.JobStatus, error) {
	r, err := l.ask(ctx, &wire.Request{Status: &wire.JobRef{}})
	if err != nil {
		return wire.JobStatus{}, err
	}
	var found []wire.JobStatus
	for _, j := range r.Jobs {
		if strings.HasPrefix(j.Job.String(), name) && (name != "" || !j.Passing) {
			found = append(found, j)
		}
	}
	const hint = "coord status lists the jobs"
	switch {
	case len(found) == 0 && name == "":
		return wire.JobStatus{}, wire.Errorf(wire.CauseNotFound, "coord submit GRAPH begins one", "there is no job here")
	case len(found) == 0:
		return wire.JobStatus{}, wire.Errorf(wire.CauseNotFound, hint, "no job %s here", name)
	case len(found) > 1 && name != "":
		return wire.JobStatus{}, wire.Errorf(wire.CauseInvalid, hint, "%d jobs begin with %s", len(found), name)
	}
	return found[len(found)-1], nil // the oldest stands first
}

// trouble says why the coordinator records nothing, if so.
func (s *session) trouble(r *wire.Response) error {
	if r.Trouble == nil {
		return nil
	}
	return s.send(&Event{Note: "the coordinator cannot record anything, so no job is accepted or ends: " + r.Trouble.Error()})
}

func (s *session) status(ctx context.Context, l *link, arg *JobArg) (*End, error) {
	if arg.Job == "" {
		r, err := l.ask(ctx, &wire.Request{Status: &wire.JobRef{}})
		if err != nil {
			return nil, err
		}
		if err := s.trouble(r); err != nil {
			return nil, err
		}
		jobs := gathered(r.Jobs)
		if len(jobs) == 0 {
			return nil, s.send(&Event{Text: noJobs(l.name)})
		}
		e := &Event{Jobs: jobs}
		if !arg.All {
			e.Jobs = latest(jobs)
		}
		if n := len(jobs) - len(e.Jobs); n > 0 {
			e.Note = fmt.Sprintf("%d older ones: coord status --all", n)
		}
		return nil, s.send(e)
	}
	j, err := l.jobOf(ctx, arg.Job)
	if err != nil {
		return nil, err
	}
	r, err := l.ask(ctx, &wire.Request{Status: &wire.JobRef{Job: j.Job}})
	if err != nil {
		return nil, err
	}
	if err := s.trouble(r); err != nil {
		return nil, err
	}
	e := &Event{Jobs: []wire.JobStatus{j}}
	if len(r.Jobs) > 0 {
		e.Jobs[0].Networks = r.Jobs[0].Networks
	}
	if j.State == "running" || j.State == "waiting" {
		r, err := l.ask(ctx, &wire.Request{Explain: &wire.TaskRef{Job: j.Job}})
		if err != nil {
			return nil, err
		}
		e.Tasks, e.More = underWay(r.Tasks, j.Counts)
	}
	return nil, s.send(e)
}

// shownReady is how many of the tasks are shown that have not been placed: they wait for the same, mostly.
const shownReady = 5

// underWay returns the tasks that something happens to, and the first of those that could run, and how
// many more of the job could: an answer need not hold all.
func underWay(tasks []wire.TaskStatus, c wire.Counts) (shown []wire.TaskStatus, more int) {
	var ready []wire.TaskStatus
	more = c.Ready // those that are offered, too
	for _, t := range tasks {
		t.Encoded = nil
		switch {
		case t.State >= wire.StateOffered && t.State <= wire.StateExpanding:
			shown = append(shown, t)
			if t.State == wire.StateOffered {
				more--
			}
		case t.State == wire.StateReady && len(ready) < shownReady:
			ready = append(ready, t)
			more--
		}
	}
	return append(shown, ready...), max(0, more) // it was counted a moment before
}

// gathered makes one row of all calls of compilers that a machine waits for: they pass by the hundred.
// Its job is the zero one.
func gathered(jobs []wire.JobStatus) (rows []wire.JobStatus) {
	calls := map[string]int{} // where the row of a machine is
	for _, j := range jobs {
		at, begun := calls[j.Client]
		switch {
		case !j.Passing:
			rows = append(rows, j)
		case !begun:
			calls[j.Client] = len(rows)
			j.Job, j.Name, j.Waiting = wire.JobID{}, "calls of a build", ""
			rows = append(rows, j)
		default:
			c := &rows[at].Counts
			c.Tasks += j.Counts.Tasks
			c.Ran += j.Counts.Ran
			c.Memo += j.Counts.Memo
			c.Shared += j.Counts.Shared
			c.Failed += j.Counts.Failed
		}
	}
	return rows
}

// shownJobs is how many of the latest jobs are shown beside those that go on: they fit a terminal
// of 24 lines.
const shownJobs = 15

// latest returns the jobs that go on, and the last of the others.
func latest(jobs []wire.JobStatus) (shown []wire.JobStatus) {
	for i, j := range jobs {
		if j.Ended == 0 || i >= len(jobs)-shownJobs {
			shown = append(shown, j)
		}
	}
	return shown
}

func (s *session) nodes(ctx context.Context, l *link) (*End, error) {
	r, err := l.ask(ctx, &wire.Request{Nodes: &wire.Nothing{}})
	if err != nil {
		return nil, err
	}
	return nil, s.send(&Event{Nodes: r.Nodes, Traffic: r.Traffic})
}

// paths shows how the nodes reach each other.
func (s *session) paths(ctx context.Context, l *link) (*End, error) {
	r, err := l.ask(ctx, &wire.Request{Nodes: &wire.Nothing{}})
	if err != nil {
		return nil, err
	}
	return nil, s.send(&Event{Paths: r.Nodes})
}

// judge shuts a node out, or lets it in again.
func (s *session) judge(ctx context.Context, l *link, arg *Judge) (*End, error) {
	r, err := l.ask(ctx, &wire.Request{Nodes: &wire.Nothing{}})
	if err != nil {
		return nil, err
	}
	var found []wire.NodeStatus
	for _, n := range r.Nodes {
		if n.Slots > 0 && (n.Info.Name == arg.Node || strings.HasPrefix(n.Info.Peer.Short(), arg.Node)) {
			found = append(found, n)
		}
	}
	switch {
	case len(found) == 0:
		return nil, wire.Errorf(wire.CauseNotFound, "coord nodes lists them", "no node is called %q", arg.Node)
	case len(found) > 1:
		return nil, wire.Errorf(wire.CauseInvalid, "name it by its peer, as coord nodes prints it", "%d nodes are called %q", len(found), arg.Node)
	case arg.Release && found[0].Quarantine == "":
		return nil, wire.Errorf(wire.CauseInvalid, "", "%s is not quarantined", found[0].Info.Name)
	}
	j := &wire.Judge{Peer: found[0].Info.Peer, Release: arg.Release, Reason: arg.Reason}
	if _, err := l.ask(ctx, &wire.Request{Judge: j}); err != nil {
		return nil, err
	}
	text := "%s is offered nothing any more; what it has begun it may finish\n"
	if arg.Release {
		text = "%s gets tasks again\n"
	}
	return nil, s.send(&Event{Text: fmt.Sprintf(text, found[0].Info.Name)})
}

func (s *session) cancelJob(ctx context.Context, l *link, arg *JobArg) (*End, error) {
	j, err := l.jobOf(ctx, arg.Job)
	if err != nil {
		return nil, err
	}
	if j.Ended != 0 {
		return nil, wire.Errorf(wire.CauseInvalid, "", "job %s has ended already (%s)", j.Job, j.State)
	}
	if _, err := l.ask(ctx, &wire.Request{Cancel: &wire.JobRef{Job: j.Job}}); err != nil {
		return nil, err
	}
	return nil, s.send(&Event{Text: fmt.Sprintf("cancelled job %s; what it had finished stays in the memo\n", j.Job)})
}

// noJobs says that a mesh has none; "" is this machine alone.
func noJobs(mesh string) string {
	if mesh == "" {
		return "no jobs\n"
	}
	return fmt.Sprintf("no jobs on the mesh %s; coord status --local tells of those that ran on this machine alone\n", mesh)
}

// gc trims the store to what jobs still need.
func (s *session) gc(ctx context.Context) (*End, error) {
	store := s.a.backend.store
	before := store.Used()
	freed, err := store.TrimTo(ctx, 0)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("freed %s of %s", Bytes(freed), Bytes(before))
	if rest := store.Used(); rest > 0 {
		text += fmt.Sprintf("; the other %s are in use, or needed by jobs under way and detached ones that were not fetched yet", Bytes(rest))
	}
	return nil, s.send(&Event{Text: text + "\n"})
}

// attach follows a job that is under way, or tells how it ended.
func (s *session) attach(ctx context.Context, l *link, cmd *Command) (*End, error) {
	status, err := l.jobOf(ctx, cmd.Attach.Job)
	if err != nil {
		return nil, err
	}
	if j := s.a.backend.following(status.Job); j != nil {
		end, err := s.follow(ctx, j)
		if err != nil || end.Error != nil || cmd.Attach.Out == "" || absolute(cmd.Dir, cmd.Attach.Out) == j.rec.Out {
			return end, err
		}
		// Its targets went where it was submitted to write, and are wanted elsewhere, too.
		get := &Get{Job: status.Job.String(), Out: cmd.Attach.Out, Replace: cmd.Attach.Replace}
		return s.get(ctx, l, &Command{Dir: cmd.Dir, Get: get})
	}
	rec, err := s.a.dir.recordOf(&status)
	if err != nil {
		return nil, err
	}
	if rec.Out == "" { // submitted from another machine
		rec.Mesh, rec.Dir, rec.Out = l.name, cmd.Dir, absolute(cmd.Dir, cmd.Attach.Out)
	}
	if cmd.Attach.Out != "" {
		rec.Out = absolute(cmd.Dir, cmd.Attach.Out)
	}
	rec.Replace = rec.Replace || cmd.Attach.Replace
	rec.Detached = false // somebody is here to take the targets
	j := s.a.backend.newJob(l, rec, status.Job)
	j.pinned = s.a.dir.loadPins(rec.Job)
	s.a.backend.start(j)
	return s.follow(ctx, j)
}

// get fetches targets of a job and writes them.
func (s *session) get(ctx context.Context, l *link, cmd *Command) (*End, error) {
	status, err := l.jobOf(ctx, cmd.Get.Job)
	if err != nil {
		return nil, err
	}
	r, err := l.ask(ctx, &wire.Request{Status: &wire.JobRef{Job: status.Job}})
	if err != nil {
		return nil, err
	}
	if len(r.Jobs) != 1 {
		return nil, wire.Errorf(wire.CauseNotFound, "coord status lists the jobs", "no job %s here", status.Job)
	}
	status = r.Jobs[0]
	targets, err := pick(&status, cmd.Get.Targets)
	if err != nil {
		return nil, err
	}
	tell := func(e *Event) { _ = s.send(e) } // a command that is gone ends ctx
	rec, err := s.a.dir.recordOf(&status)
	if err != nil {
		return nil, err
	}
	wanted, err := s.a.backend.wanted(l, rec, tell)
	if err == nil {
		err = wanted.due(l, rec, &status, cmd.Get.Targets, tell)
	}
	if err != nil {
		return nil, err
	}
	end := &End{Job: status.Job, Counts: status.Counts, Out: absolute(cmd.Dir, cmd.Get.Out)}
	want, err := s.a.backend.lacking(l.space, targets)
	if err == nil && len(want) > 0 {
		from := holders{space: l.space, peers: r.Peers, grant: r.Grant}
		end.Fetched, err = l.Fetch(ctx, from, want, func(f Fetching) { _ = s.send(&Event{Fetching: &f}) })
	}
	if err != nil {
		return nil, fmt.Errorf("fetching the targets: %w", err)
	}
	if err := s.a.backend.prove(ctx, l, rec, wanted, targets, tell); err != nil {
		return nil, err
	}
	w := &writer{store: s.a.backend.store, space: l.space, out: end.Out, replace: cmd.Get.Replace, tell: tell}
	if err = w.writeTargets(ctx, targets); errors.Is(err, blobstore.ErrNotFound) {
		err = wire.Errorf(wire.CauseFetch, "run coord get again: it is fetched or made anew", "a target was damaged in the store: %v", err)
	}
	end.Files = w.files
	if err == nil && len(cmd.Get.Targets) == 0 {
		_, err = l.ask(ctx, &wire.Request{Release: &wire.JobRef{Job: status.Job}})
	}
	return end, err
}

// due checks that of the named targets of a job, or all, those are there that it has made: all, if it
// succeeded. Of one under way it is told how many are not there yet.
func (w wants) due(l *link, rec *record, status *wire.JobStatus, names []string, tell func(*Event)) error {
	asked := func(path string) bool {
		return len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return picks(name, path) })
	}
	switch {
	case status.Ended == 0:
		if _, n := w.missed(status.Targets, asked); n > 0 {
			tell(&Event{Note: fmt.Sprintf("the job is %s: %s not there yet", status.State, count(n, "target"))})
		}
		return nil
	case status.Counts.Failed > 0:
		return nil
	}
	return w.complete(l, rec, status.Targets, asked)
}

// picks reports whether a name is that of a target, or of a directory of targets.
func picks(name, target string) bool {
	name = strings.TrimSuffix(name, "/")
	return target == name || strings.HasPrefix(target, name+"/")
}

// pick returns the named targets of a job, or all.
func pick(j *wire.JobStatus, names []string) ([]wire.Target, error) {
	if len(j.Targets) == 0 && j.Ended != 0 {
		return nil, wire.Errorf(wire.CauseNotFound, "submit it again: what it finished is known", "job %s is %s and left no targets", j.Job, j.State)
	}
	if len(j.Targets) == 0 {
		return nil, wire.Errorf(wire.CauseNotFound, "coord attach "+j.Job.String()+" waits for it", "job %s is %s and has no targets yet", j.Job, j.State)
	}
	if len(names) == 0 {
		return j.Targets, nil
	}
	var picked []wire.Target
	for _, name := range names {
		before := len(picked)
		for _, t := range j.Targets {
			if picks(name, t.Path) {
				picked = append(picked, t)
			}
		}
		if len(picked) == before {
			var have []string
			for _, t := range j.Targets[:min(len(j.Targets), 10)] {
				have = append(have, t.Path)
			}
			return nil, wire.Errorf(wire.CauseNotFound, "it has "+strings.Join(have, ", "), "job %s has no target %q", j.Job, name)
		}
	}
	return picked, nil
}
