package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/overlay/peer"
	"gaggle/wire"
)

// A backend is what an agent works with: the store, the identity, the links to coordinators and
// the jobs that are followed.
type backend struct {
	dir     stateDir
	log     *slog.Logger
	store   *blobstore.Store
	key     ed25519.PrivateKey
	history *history

	captures captures

	ctx   context.Context // of jobs and links; set by begin
	nudge func()          // tells the agent that busy has changed
	work  sync.WaitGroup

	mu    sync.Mutex       // guards the fields below
	links map[string]*link // by name of the mesh
	jobs  map[wire.JobID]*job

	linking sync.Mutex // held while a link is made, so that each is made once
}

// openBackend opens what belongs to the state directory, whose lock the caller holds.
func openBackend(dir stateDir, log *slog.Logger) (*backend, error) {
	b := &backend{dir: dir, log: log, links: map[string]*link{}, jobs: map[wire.JobID]*job{}}
	var err error
	if b.key, err = peer.LoadKey(dir.path("key")); err != nil {
		return nil, err
	}
	b.history = loadHistory(dir.path("history.json"))
	b.store, err = blobstore.Open(dir.path("store"), blobstore.Options{Logger: log, OnLost: b.lost})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return b, nil
}

// tidy keeps the store below half of what the disk has for it. It is for the end of an agent with
// nothing to do: a disk that is full earlier is the user's to judge (coord gc), and so is one that does
// not tell what is free.
func (b *backend) tidy(ctx context.Context) {
	half, known := b.store.Share()
	if !known {
		return
	}
	if _, err := b.store.TrimTo(ctx, half); err != nil {
		b.log.Error("trimming the store", "error", err)
	}
}

// begin lets jobs run until ctx ends, and takes up those that were under way when an earlier
// agent died: the coordinator waits for the inputs that this machine holds.
func (b *backend) begin(ctx context.Context, nudge func()) {
	b.ctx, b.nudge = ctx, nudge
	for _, r := range b.dir.records() {
		if r.Ended || r.Detached && r.Mesh != "" {
			continue
		}
		id, err := wire.ParseJobID(r.Job)
		if err != nil {
			continue
		}
		b.work.Go(func() {
			if _, err := b.resume(r, id); err != nil {
				b.log.Warn("a job of an earlier process cannot be followed", "job", r.Job, "error", err)
			}
			b.nudge()
		})
	}
}

// resume follows a recorded job again.
func (b *backend) resume(r *record, id wire.JobID) (*job, error) {
	l, err := b.linkTo(r.Mesh)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	j := b.jobs[id]
	b.mu.Unlock()
	if j != nil {
		return j, nil
	}
	j = b.newJob(l, r, id)
	j.pinned = b.dir.loadPins(r.Job)
	b.start(j)
	return j, nil
}

func (b *backend) newJob(l *link, rec *record, id wire.JobID) *job {
	j := &job{
		b: b, link: l, id: id, rec: rec, accepted: make(chan struct{}), over: make(chan struct{}),
		from: new(sources), peers: map[wire.PeerID]wire.PeerInfo{}, watchers: map[*watcher]struct{}{},
		started: &Started{Job: id, Name: rec.Name, Detached: rec.Detached, Mesh: l.name, Parts: rec.Parts, Begun: rec.Begun.UnixMicro()},
	}
	j.board = NewBoard(j.started, time.Now())
	var err error
	if j.log, err = b.dir.openTaskLog(rec.Job); err != nil {
		b.log.Error("logs and explain will not know the tasks of a job", "job", rec.Job, "error", err)
	}
	return j
}

// start follows a job in the background.
func (b *backend) start(j *job) {
	ctx, abandon := context.WithCancelCause(b.ctx)
	j.abandon = func() { abandon(errAbandoned) }
	b.mu.Lock()
	b.jobs[j.id] = j
	b.mu.Unlock()
	b.work.Go(func() {
		j.run(ctx)
		abandon(nil)
		if j.rec.Passing {
			j.kept.Wait()
			b.dir.forgetJob(j.rec.Job)
		}
		b.mu.Lock()
		delete(b.jobs, j.id)
		b.mu.Unlock()
		b.nudge()
	})
}

// following returns the job that is followed under this id, nil if none is.
func (b *backend) following(id wire.JobID) *job {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.jobs[id]
}

// busy says what there is to do, "" if nothing.
func (b *backend) busy() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, j := range b.jobs {
		if j.rec.Detached {
			return fmt.Sprintf("job %s runs", id)
		}
		return fmt.Sprintf("job %s runs and needs this machine's files", id)
	}
	return ""
}

// underWay counts the jobs that are followed and that somebody may ask about later.
func (b *backend) underWay() (jobs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.jobs {
		if !j.rec.Passing {
			jobs++
		}
	}
	return jobs
}

// hold makes sure that the inputs of a job stay here until it ends, and tells the coordinator
// that they are here.
func (b *backend) hold(ctx context.Context, l *link, id wire.JobID, leaves []wire.Object) error {
	pins := make([]wire.Digest, len(leaves))
	for i, o := range leaves {
		pins[i] = o.Digest
	}
	if err := b.dir.savePins(id.String(), pins); err != nil {
		return fmt.Errorf("recording the inputs of the job: %w", err)
	}
	for _, o := range leaves {
		b.store.Pin(l.space, o.Digest, id.String())
	}
	for part := range slices.Chunk(leaves, wire.MaxBatch) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l.worker.Announce(l.space, part)
	}
	return nil
}

// lost passes on what the store has dropped.
func (b *backend) lost(space wire.Space, ds []wire.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.links {
		l.worker.Lost(space, ds)
	}
	for _, j := range b.jobs {
		if j.link.space == space {
			j.mend(ds)
		}
	}
}

// close ends everything. The context given to begin has ended.
func (b *backend) close() error {
	b.work.Wait()
	b.mu.Lock()
	links := b.links
	b.links = nil
	b.mu.Unlock()
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, b.history.save(), b.store.Close())...)
}
