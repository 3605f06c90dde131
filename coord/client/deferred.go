package client

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"gaggle/coord/infer"
	"gaggle/coord/placeholder"
	"gaggle/wire"
)

// A call that a recipe of make makes is deferred: what it reads is taken in, placeholders are put where
// its outputs will be, and the tool ends well at once, so that make goes on to what depends on them.
// Whoever opens a placeholder waits until it is made. If a call fails after all, its outputs are
// removed and make runs again with calls that are not deferred: it comes to that call, and what is
// said and done then is as it always is.

// A deferral is the deferred calls of one build.
type deferral struct {
	tools     *tools
	build     *build
	base      string
	keepGoing bool    // as make -k
	lazy      bool    // see demand
	streams   streams // of the build
	command   int     // the process of the command
	processes placeholder.Processes
	say       func(*Event) error // to the command
	journal   *journal
	most      int // placeholders
	frozen    freezer
	before    *keeper

	ctx    context.Context // of the calls
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // calls
	over   chan struct{}  // closed when all have ended
	turn   chan struct{}  // an element for each call that may run

	shared  chan struct{}      // closed when keeper is set
	keptBy  time.Time          // when that is not waited for any more
	keeper  *placeholder.Share // of the command
	telling sync.Mutex         // held while messages are printed

	mu       sync.Mutex                 // guards the fields below
	calls    []*deferredCall            // whose messages are still to be printed
	all      []*deferredCall            // of a lazy build
	makers   map[string]*deferredCall   // of a lazy build, the last of each path
	ended    int                        // of them
	files    int                        // placeholders that are there
	failed   int                        // calls, not those that were cancelled
	why      string                     // the first of them failed
	lost     []string                   // files that were removed; some of them
	closed   bool                       // no call is added any more
	dropped  bool                       // no lazy call is carried out any more
	demanded int                        // calls
	unkept   bool                       // something that was there before is not put back
	wanted   map[*pendingFile]time.Time // since when

	toldWaiting time.Time // when it was last said that somebody waits
}

// A deferredCall is one of them.
type deferredCall struct {
	of    *deferral
	asked *toolCall
	name  string
	link  *link
	trust wire.Trust
	draft *infer.Draft
	sight *sight
	files []*pendingFile
	needs []callNeed // of a lazy build

	filled   chan struct{}          // closed when its files are there, or it has failed
	valued   chan struct{}          // closed when the fields below are set
	outputs  map[string]wire.Object // by name in the thunk
	how      wire.How
	valueErr error

	err      error // why it could not be carried out, valueErr or another
	ended    bool  // err is set; guarded by the deferral's mu
	demanded bool  // it is carried out, or was; guarded by the deferral's mu
}

const (
	// maxPlaceholders bounds those of a build, each of which is an open file here and in its
	// command; a call that would need more waits for its outputs.
	maxPlaceholders = 20_000
	// maxRunning bounds the calls of a build that are at the coordinator, each of which has a stream.
	maxRunning = 192
	// deferredWait is how long a call waits for a mesh of which no node can run it now.
	deferredWait = time.Minute
)

var (
	errCancelled = errors.New("the build has ended")
	errFailed    = errors.New("another call failed")
)

// defers begins to defer calls of a build, whose command is a process.
func (b *build) defers(name string, args *ToolBuild, command int, say func(*Event) error) *deferral {
	d := &deferral{
		tools: b.tools, build: b, base: b.base, keepGoing: args.KeepGoing, lazy: args.Lazy, streams: args.Streams, command: command, say: say, processes: placeholder.Processes{Variable: BuildVar + "=" + name},
		journal: b.tools.b.dir.journal(name), most: min(maxPlaceholders, placeholder.Most()), over: make(chan struct{}), shared: make(chan struct{}), turn: make(chan struct{}, maxRunning), wanted: map[*pendingFile]time.Time{},
	}
	d.keptBy = time.Now().Add(keptWithin)
	d.frozen.processes, d.before, d.makers = d.processes, newKeeper(time.Now()), map[string]*deferredCall{}
	d.ctx, d.cancel = context.WithCancelCause(context.Background()) // the build's processes are to be ended first
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deferred = d
	go d.watch()
	return d
}

// deferral returns what defers calls of the build, nil if none are.
func (b *build) deferral() *deferral {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.deferred
}

// share has the command keep the placeholders as well.
func (d *deferral) share(with *placeholder.Share) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keeper == nil {
		d.keeper = with
		close(d.shared)
	}
}

// keptWithin is how long the command's request for the placeholders, which it sends before it begins, may
// be on its way: once for all calls of a build.
const keptWithin = 10 * time.Second

// keptToo reports whether the command keeps the placeholders as well.
func (d *deferral) keptToo(ctx context.Context) bool {
	select {
	case <-d.shared: // however late
		return true
	default:
	}
	late := time.NewTimer(time.Until(d.keptBy))
	defer late.Stop()
	select {
	case <-d.shared:
		return true
	case <-d.ctx.Done():
	case <-ctx.Done():
	case <-late.C:
	}
	return false
}

// takes reports whether a call can be deferred. What is cheap to tell comes first.
func (d *deferral) takes(ctx context.Context, c *toolCall, call *infer.Call, draft *infer.Draft) bool {
	if d == nil || c.pid == 0 || call.Mode == infer.List || call.Prints || !standable(call, draft, d.lazy) {
		return false
	}
	return d.keptToo(ctx) && recipe(c.pid, d.streams, d.command)
}

// standable reports whether placeholders can stand for what a call makes. One in place of a file that
// is changed would lose it if the build breaks off, unless that is kept or is a placeholder as well;
// whether objcopy makes a program only its input tells; and who reads a thin archive has to look into it.
// Headers and sources that a tool of the user's makes are there when they are looked at.
func standable(call *infer.Call, draft *infer.Draft, kept bool) bool {
	thin := func(o infer.Output) bool { return o.Thin }
	if call.Mode == infer.User || slices.ContainsFunc(call.Writes, thin) {
		return false
	}
	for _, m := range draft.Made {
		inPlace := m.Mode == m.Path
		lost := !(kept && call.Mode == infer.Archive) && !slices.Contains(draft.Pending, m.Path)
		if inPlace && lost || !inPlace && call.Mode == infer.Change {
			return false
		}
	}
	return true
}

// add defers a call; false says that it has to be waited for.
func (d *deferral) add(ctx context.Context, c *deferredCall) bool {
	d.mu.Lock()
	if d.closed || d.files+len(c.draft.Made) > d.most {
		d.mu.Unlock()
		return false
	}
	d.files += len(c.draft.Made) // or another call takes the room
	d.work.Add(1)
	d.mu.Unlock()
	defer d.work.Done()
	if err := d.stand(ctx, c, c.asked.umask); err != nil {
		d.tools.b.log.Info("a call is not deferred", "why", err)
		d.mu.Lock()
		d.files -= len(c.draft.Made)
		d.mu.Unlock()
		return false
	}
	d.mu.Lock()
	d.calls = append(d.calls, c)
	if d.lazy {
		d.note(c)
	}
	d.mu.Unlock()
	if !d.lazy {
		d.demand(c)
	}
	return true
}

// stand puts placeholders where a call's outputs will be, or none.
func (d *deferral) stand(ctx context.Context, c *deferredCall, umask fs.FileMode) error {
	for _, m := range c.draft.Made {
		kind := wire.File
		if m.Run {
			kind = wire.Exec
		}
		err := errors.Join(d.journal.note(d.base, m.Path), d.keepBefore(ctx, m.Path))
		var f *placeholder.File
		if err == nil {
			f, err = placeholder.Make(m.Path, permissions(m, kind, umask), d.keeper)
		}
		if err != nil {
			for _, made := range c.files {
				d.tools.pendings.remove(made)
				err = errors.Join(err, made.Remove(func() {}))
			}
			return err
		}
		p := &pendingFile{File: f, call: c, path: m.Path, output: m.Output, run: m.Run}
		c.files = append(c.files, p)
		d.tools.pendings.add(p)
	}
	return nil
}
