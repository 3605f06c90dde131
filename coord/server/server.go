// Package server is the coordinator: one loop around the pure scheduler, its durable tables, and
// the sessions with nodes and clients.
//
// A session's reader turns frames into events and checks whatever can be checked without the
// state (signatures, encodings, bounds). The loop takes up to wire.MaxBatch events at once, steps
// the scheduler, hands the rows to the journal's writer and the other actions to the sessions'
// outboxes. Actions that promise something (Accept, End, Ack) leave only after the rows of their
// batch are durable; all others at once, because a thunk is pure and a lost result is made again.
//
// No blob passes through here but the graphs that thunks write, which are counted.
package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/boottime"
	"gaggle/coord/sched"
	"gaggle/wire"
)

// Config is what a Server is made of.
type Config struct {
	Key     ed25519.PrivateKey // the coordinator's peer key; signs grants
	Mesh    string             // name of the mesh, for people
	Journal Journal            // owned by the server, closed by Run
	Relayed func() int64       // bytes that passed for members behind NATs; nil is none
	// Fetch reads a graph that a thunk wrote from one of its holders, verified. The error is a
	// *wire.Error of an infrastructure cause.
	Fetch    func(ctx context.Context, space wire.Space, graph wire.Held) ([]byte, error)
	Versions wire.Versions
	Alone    bool // there is one node, in this process, and never another
	// Weights are the tenants' shares, 1 for one that is not named. MaxQueued bounds the tasks that one
	// tenant may have waiting and running; 0 is sched's default.
	Weights   map[string]int
	MaxQueued int
	// Certificate returns what a member showed last, nil if it is not connected; nil itself is as if
	// nobody was. Safe for concurrent use.
	Certificate func(wire.PeerID) *wire.Certificate
	// Told, if not nil, is told what becomes of nodes, in words for people: "joined: 4 slots", "left".
	// The name is the node's own choice. Safe for concurrent use.
	Told   func(node, what string)
	Boot   func() time.Duration // the time since boot; nil is the system's
	Logger *slog.Logger
}

// A Server is a running coordinator. Its methods are safe for concurrent use once Run was called.
type Server struct {
	cfg   Config
	start time.Time
	boot  time.Duration // at the start
	epoch uint32
	in    chan input
	write chan commit
	done  chan struct{} // closed when the loop has ended

	graphBytes  atomic.Int64   // read in order to expand them
	incoming    atomic.Int64   // bytes of the jobs that are being submitted
	streams     atomic.Uint64  // of jobs, so far
	expandSlots chan struct{}  // one in it for each graph being expanded
	sessions    sync.WaitGroup // what Run waits for before it returns

	life context.Context // ends when Run does
	end  context.CancelFunc

	state      *sched.State // owned by the loop
	early      []commit     // of the recovery, until Run starts the writer
	recovering bool
	clockSet   bool // it was said that somebody set the wall clock; owned by the loop

	mu       sync.Mutex // guards the fields below
	nodes    map[wire.PeerID]*nodeSession
	peers    map[wire.PeerID]*wire.PeerInfo    // replaced, never changed
	certs    map[wire.PeerID]*wire.Certificate // of nodes that were here in this life
	uses     map[wire.PeerID]*uses
	unpins   map[wire.PeerID][]owedUnpin // in the order they were told
	owed     map[sched.RowUnpin]bool     // that the tables have, or are about to
	watch    map[wire.JobID][]*watcher
	ended    map[wire.JobID]*sched.RowJobState // of jobs that are over, for attach and status
	trouble  *wire.Error                       // why nothing can be recorded just now, or ever if the loop ended by itself
	closing  bool                              // no session begins any more
	accepted map[wire.JobID]bool               // detached jobs whose inputs have their copies
}

// input is what the loop takes: events, or a question to ask of the state between two steps.
type input struct {
	events []sched.Event
	ask    func(*sched.State)
}

const (
	// tickEvery is the longest the scheduler goes without being told the time.
	tickEvery = 250 * time.Millisecond
	// beatEvery is how often a node must say something; a third of sched's suspicion after 3 s.
	beatEvery = time.Second
	// sayEvery is how often a node is told something, if only that the coordinator lives: a node
	// cannot tell otherwise that nothing reaches it.
	sayEvery = time.Second
	// goodbye is how long clients have to hear why the server ends.
	goodbye = 500 * time.Millisecond
	// inputQueue is how many inputs may wait for the loop before sessions stop reading.
	inputQueue = 1024
)

// ErrClosed is returned by calls on a server that has ended.
var ErrClosed = errors.New("coordinator is shutting down")

// New recovers the state from the journal and returns a server that Run will start. A journal
// that cannot be read is an error; nothing is written to it then.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Boot == nil {
		cfg.Boot = boottime.Now
	}
	s := &Server{
		cfg: cfg, start: time.Now(), boot: cfg.Boot(), in: make(chan input, inputQueue), write: make(chan commit, 64),
		done: make(chan struct{}), nodes: map[wire.PeerID]*nodeSession{}, peers: map[wire.PeerID]*wire.PeerInfo{}, certs: map[wire.PeerID]*wire.Certificate{}, uses: map[wire.PeerID]*uses{}, unpins: map[wire.PeerID][]owedUnpin{}, owed: map[sched.RowUnpin]bool{},
		watch: map[wire.JobID][]*watcher{}, ended: map[wire.JobID]*sched.RowJobState{}, accepted: map[wire.JobID]bool{},
		expandSlots: make(chan struct{}, expanding),
	}
	s.life, s.end = context.WithCancel(context.Background())
	if err := s.recover(); err != nil {
		s.end()
		return nil, fmt.Errorf("recovering the coordinator's state: %w", err)
	}
	return s, nil
}

// recover tells the scheduler the facts of earlier lives, in the order that sched.Row asks for.
// What it wants done in answer is carried out too: it comes of the jobs that have not ended.
func (s *Server) recover() error {
	s.recovering = true
	defer func() { s.recovering = false }()
	epoch, secret, err := s.cfg.Journal.Begin()
	if err != nil {
		return err
	}
	s.epoch = epoch
	s.state = sched.New(sched.Config{Alone: s.cfg.Alone, Secret: secret, Weights: weightList(s.cfg.Weights), MaxQueued: s.cfg.MaxQueued})
	events := []sched.Event{sched.EpochBegan{Epoch: epoch}}
	flush := func() {
		s.carryOut(s.state.Step(0, s.start, events))
		events = nil
	}
	err = s.cfg.Journal.Load(func(row sched.Row) {
		switch r := row.(type) {
		case sched.RowQuarantine:
			r.Quarantined.Recorded = true
			events = append(events, r.Quarantined)
		case sched.RowValue:
			events = append(events, sched.Known(r))
		case sched.RowExpansion:
			r.Expanded.Recorded = true
			events = append(events, r.Expanded)
		case sched.RowJob:
			r.Submitted.Recorded = true
			events = append(events, r.Submitted)
		case sched.RowUnpin:
			if s.owe(r) {
				s.unpins[r.Peer] = append(s.unpins[r.Peer], owedUnpin{Pin: r.Pin})
			}
		case sched.RowJobState:
			switch {
			case r.Done != nil && r.Status != nil:
				s.ended[r.Job] = &r
			case r.Cancelled:
				events = append(events, sched.Cancelled{Job: r.Job})
			}
		}
		if len(events) >= wire.MaxBatch {
			flush()
		}
	})
	flush()
	return err
}

// Run serves until ctx ends or the journal fails, and returns the reason; nil if ctx ended. The
// sessions are closed and everything recorded is durable when it returns.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	written := make(chan error, 1)
	go func() { written <- s.writeRows(cancel) }()
	var talk sync.WaitGroup
	talk.Go(func() { s.talk(ctx) })
	defer talk.Wait()
	defer cancel(nil) // before it is waited for
	for _, c := range s.early {
		s.write <- c
	}
	s.early = nil
	s.loop(ctx)
	close(s.write)
	err := <-written
	close(s.done)
	s.closeSessions()
	late := time.AfterFunc(goodbye, s.end)
	s.sessions.Wait()
	late.Stop()
	s.end()
	return errors.Join(err, s.cfg.Journal.Close())
}

// weightList is in the order of names.
func weightList(weights map[string]int) (list []sched.Weight) {
	for _, tenant := range slices.Sorted(maps.Keys(weights)) {
		list = append(list, sched.Weight{Tenant: tenant, Weight: weights[tenant]})
	}
	return list
}

// secret returns random bytes that no peer knows.
func secret() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return b
}

func (s *Server) loop(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var events []sched.Event
	for {
		events = events[:0]
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			events = append(events, sched.Tick{})
			s.compareClocks(time.Now())
			if rows := s.heard(time.Now()); len(rows) > 0 {
				s.write <- commit{rows: rows}
			}
		case i := <-s.in:
			events = s.take(events, i)
		}
	more:
		for len(events) < wire.MaxBatch {
			select {
			case i := <-s.in:
				events = s.take(events, i)
			default:
				break more
			}
		}
		s.step(events)
	}
}

// take adds an input's events, or answers its question, of which what came before it is part.
func (s *Server) take(events []sched.Event, i input) []sched.Event {
	if i.ask != nil {
		s.step(events)
		events = events[:0]
		i.ask(s.state)
	}
	return append(events, i.events...)
}

func (s *Server) step(events []sched.Event) {
	if len(events) > 0 {
		s.carryOut(s.state.Step(time.Since(s.start), time.Now(), events))
	}
}

// carryOut does what the scheduler wants, in order; what promises something, or lets a node forget
// something, waits for the rows, and so does a Pin, which an Unpin before it must not undo.
func (s *Server) carryOut(actions []sched.Action) {
	var c commit
	for _, a := range actions {
		switch a := a.(type) {
		case sched.Record:
			c.rows = append(c.rows, s.withStatus(a.Row))
		case sched.Accept, sched.End:
			c.after, c.urgent = append(c.after, a), true
		case sched.Unpin:
			if r := (sched.RowUnpin{Peer: a.Node, Pin: a.Pin}); s.owe(r) {
				c.rows = append(c.rows, r)
			}
			c.after = append(c.after, a)
		case sched.Pin:
			if over, owed := s.repins(a); owed {
				c.rows, c.after = append(c.rows, over), append(c.after, repin{a})
				continue
			}
			c.after = append(c.after, a)
		case sched.Ack:
			c.after = append(c.after, a)
		case sched.Expand:
			s.expand(a)
		case sched.Quarantine:
			s.cfg.Logger.Warn("a node is quarantined: it is offered nothing", "node", a.Name, "peer", a.Node, "why", a.Reason)
		case sched.Tell:
			s.tell(a.Job, wire.Response{Notices: []wire.Notice{a.Notice}})
		default:
			s.toNode(a)
		}
	}
	s.flushOutboxes()
	switch {
	case len(c.rows)+len(c.after) == 0:
	case s.recovering:
		s.early = append(s.early, c)
	default:
		s.write <- c
	}
}

// send gives events to the loop. It blocks while the loop is behind.
func (s *Server) send(events ...sched.Event) error {
	select {
	case <-s.done:
		return s.closed() // also if there is room in the queue, which nobody reads
	default:
	}
	select {
	case s.in <- input{events: events}:
		return nil
	case <-s.done:
		return s.closed()
	}
}

// ask runs f on the state, in the loop, and waits for it.
func (s *Server) ask(f func(*sched.State)) error {
	answered := make(chan struct{})
	select {
	case s.in <- input{ask: func(st *sched.State) { f(st); close(answered) }}:
	case <-s.done:
		return s.closed()
	}
	select {
	case <-answered:
		return nil
	case <-s.done:
		return s.closed()
	}
}

// Now returns the time by which grants run out: the wall clock when the server was made, and what has
// gone by since, a sleep of the machine included. Members are told it when they connect, and carry it on
// alike, so that it does not matter when somebody sets a clock. For the same reason a later correction, as
// by NTP after a start without network, is not taken over: those who are connected would not hear of it.
func (s *Server) Now() time.Time { return s.start.Round(0).Add(s.cfg.Boot() - s.boot) }

// compareClocks says once when the wall clock was set far from Now, which members of versions that do
// not go by Now cannot make up for.
func (s *Server) compareClocks(wall time.Time) {
	off := wall.Round(0).Sub(s.Now())
	if apart := off.Abs() > wire.MaxClockSkew; apart != s.clockSet {
		s.clockSet = apart
		if apart {
			s.cfg.Logger.Warn("the clock was set since the coordinator began; members of older versions may refuse grants until it is started again", "by", off.Round(time.Second))
		}
	}
}

// Epoch returns the number of this life of the coordinator.
func (s *Server) Epoch() uint32 { return s.epoch }
