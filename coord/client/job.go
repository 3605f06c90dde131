package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gaggle/wire"
)

// A job is one that the agent follows from its submission to its end, whether or not a command
// watches: this machine holds its inputs and takes its targets.
type job struct {
	b    *backend
	link *link
	id   wire.JobID
	rec  *record
	log  *taskLog // nil if it cannot be written; guarded by mu

	// Set before the job starts.
	encoded map[wire.ThunkID][]byte // what was submitted, for reports
	targets []wire.TargetSpec       // that are wanted; nil if an earlier agent submitted it
	pinned  []wire.Digest           // in the store, until the job ends
	abandon func()                  // gives up on a job that was not accepted yet
	from    *sources                // of its inputs; empty if an earlier agent submitted it
	kept    sync.WaitGroup          // done when what was submitted is on disk

	accepted chan struct{} // closed when the coordinator has it
	over     chan struct{} // closed when run returns

	mu       sync.Mutex // guards the fields below
	submit   *submission
	started  *Started
	board    *Board
	peers    map[wire.PeerID]wire.PeerInfo
	watchers map[*watcher]struct{}
	stopping bool
	heard    bool   // the coordinator spoke of it, accepted or not
	away     string // what was told of a coordinator that cannot be talked to; "" if it can
	end      *Event // the last
}

// A submission is what the coordinator is sent of a job.
type submission struct {
	head  wire.Submit
	tasks []wire.TaskSpec
	kinds map[string]Kind
}

// errJobOver ends the following of a job.
var errJobOver = errors.New("the job is over")

// submitTimeout is how long a job is offered to a coordinator that says nothing of it.
const submitTimeout = 30 * time.Second

// errAbandoned ends the following of a job.
var errAbandoned error = wire.Errorf(wire.CauseCancelled, "", "the command went away before the job was accepted")

// run follows the job until it ends, through lost connections and restarts of the coordinator.
func (j *job) run(ctx context.Context) {
	defer close(j.over)
	began, pauses := time.Now(), backoff{}
	for {
		before := time.Now()
		err := j.follow(ctx)
		switch {
		case errors.Is(err, errJobOver):
			return
		case ctx.Err() != nil:
			j.finish(&End{Error: wire.AsError(context.Cause(ctx))})
			if errors.Is(context.Cause(ctx), errAbandoned) { // the coordinator may have it all the same
				asking, enough := context.WithTimeout(j.b.ctx, answerTimeout)
				defer enough()
				_, _ = j.link.ask(asking, &wire.Request{Cancel: &wire.JobRef{Job: j.id}})
			}
			return
		case final(err), !j.isKnown() && time.Since(began) > submitTimeout:
			j.giveUp(err)
			return
		}
		j.b.log.Info("lost the coordinator", "job", j.id, "error", err)
		j.isAway(err)
		if time.Since(before) > time.Minute {
			pauses = backoff{}
		}
		_ = pauses.wait(ctx) // follow fails at once if ctx has ended
	}
}

// isAway tells once that the coordinator cannot be talked to; each error is in the log.
func (j *job) isAway(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.away == "" {
		j.away = "the coordinator cannot be reached, trying again"
		if wire.CauseOf(err) == wire.CauseBusy {
			j.away = "the coordinator is busy, trying again: " + wire.AsError(err).Message
		}
		j.tellLocked(&Event{Note: j.away})
	}
}

// isBack tells that the coordinator speaks of the job again.
func (j *job) isBack() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.away != "" {
		j.away = ""
		j.tellLocked(&Event{Note: "the coordinator is back"})
	}
}

// giveUp ends the following of a job that the coordinator refuses, or does not know.
func (j *job) giveUp(err error) {
	known := j.isAccepted() || j.submit == nil
	if known {
		j.letGo()
	} else {
		j.unpin()
	}
	j.finish(&End{Error: asError(err)})
	if !known {
		j.b.dir.forgetJob(j.rec.Job)
	}
}

// letGo lets the inputs of the job go, and records that no later agent need follow it.
func (j *job) letGo() {
	j.unpin()
	j.kept.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rec.Ended = true
	if err := j.b.dir.saveRecord(j.rec); err != nil {
		j.b.log.Error("recording the end of a job", "job", j.id, "error", err)
	}
}

// discard forgets a job that was not submitted.
func (j *job) discard() {
	j.unpin()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.log != nil {
		_ = j.log.close() // it is removed
		j.log = nil
	}
	j.b.dir.forgetJob(j.rec.Job)
}

func (j *job) unpin() {
	for _, d := range j.pinned {
		j.b.store.Unpin(j.link.space, d, j.id.String())
	}
}

// notice takes notices in and passes them on, with the names of machines they speak of.
func (j *job) notice(ctx context.Context, notices []wire.Notice) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now, strangers := time.Now(), false
	j.heard = true
	for i := range notices {
		n := &notices[i]
		j.board.Apply(n, now)
		if n.State >= wire.StateDone && j.log != nil {
			if err := j.log.add(n); err != nil {
				j.b.log.Error("the list of a job's tasks cannot be written", "job", j.id, "error", err)
				j.log = nil
			}
		}
		if n.Progress != nil && !n.Progress.From.IsZero() {
			if _, known := j.peers[n.Progress.From]; !known {
				strangers = true
				j.peers[n.Progress.From] = wire.PeerInfo{Peer: n.Progress.From}
			}
		}
	}
	j.tellLocked(&Event{Notices: notices})
	if strangers {
		j.b.work.Go(func() { j.learnPeers(ctx) })
	}
}

// learnPeers asks for the names of the members, for progress lines. Without them the ends of
// their ids are shown.
func (j *job) learnPeers(ctx context.Context) {
	r, err := j.link.ask(ctx, &wire.Request{Nodes: &wire.Nothing{}})
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e := new(Event)
	for _, n := range r.Nodes {
		j.peers[n.Info.Peer] = n.Info
		e.Peers = append(e.Peers, wire.PeerInfo{Peer: n.Info.Peer, Name: n.Info.Name})
	}
	j.tellLocked(e)
}

func (j *job) tell(e *Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tellLocked(e)
}

func (j *job) tellLocked(e *Event) {
	for w := range j.watchers {
		w.add(e)
	}
}

// subscribe returns a watcher that first gets where the job stands.
func (j *job) subscribe() *watcher {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := newWatcher()
	j.watchers[w] = struct{}{}
	if j.isAccepted() {
		started := *j.started
		started.Counts, started.Snapshot = j.board.Counts, j.board.Snapshot()
		w.add(&Event{Started: &started, Peers: slices.Collect(maps.Values(j.peers))})
	}
	switch {
	case j.end != nil:
		w.add(j.end)
	case j.away != "":
		w.add(&Event{Note: j.away})
	}
	return w
}

func (j *job) unsubscribe(w *watcher) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.watchers, w)
}

// cancel has the coordinator stop the job; its end follows as of any other.
func (j *job) cancel() {
	j.mu.Lock()
	again := j.stopping
	j.stopping = true
	j.mu.Unlock()
	if again {
		return
	}
	j.b.work.Go(func() {
		ctx := j.b.ctx
		select {
		case <-j.accepted: // before that there is nothing to cancel
		case <-j.over:
			return
		case <-ctx.Done():
			return
		}
		if _, err := j.link.ask(ctx, &wire.Request{Cancel: &wire.JobRef{Job: j.id}}); err != nil {
			j.tell(&Event{Note: fmt.Sprintf("the coordinator could not be told to cancel: %v", err)})
		}
	})
}

// finish tells the watchers the last word and records it.
func (j *job) finish(end *End) {
	end.Job = j.id
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.log != nil {
		if err := j.log.close(); err != nil {
			j.b.log.Error("closing the list of a job's tasks", "job", j.id, "error", err)
		}
		j.log = nil
	}
	j.end = &Event{End: end}
	j.tellLocked(j.end)
}
