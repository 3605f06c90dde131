// Package sched decides. State.Step takes what happened and the time, and returns what to do; it
// reads no clock, does no I/O, draws no random numbers and ranges over no map, so that equal
// events give equal actions, byte for byte.
//
// There are two levels. A task is a thunk of one job's graph, unresolved, with its name, its hints
// and the value the job has pinned for it. A run is a resolved thunk of a space that is in flight:
// the tasks of all jobs that need it wait for it together, each with its own limits, and leave it
// alone. What a run gave is kept in the memo. A task goes this way:
//
//	Blocked   waits for others; task.missing counts those that are not done
//	Ready     resolved (resolve.go); neither known nor, so far, running: it waits for a run
//	Offered   a node has the run's lease (place.go, lease.go)
//	Running   its command runs
//	Expanding it wrote a sub-graph, whose tasks joined the job; it waits for their target (expand.go)
//	Done      its value is pinned; back to Blocked if it is lost and needed again (rewind.go)
//	Failed, Cancelled
//
// A run is in exactly one place: ready in a job's lines or heap (queue.go), parked at the node it is to wait
// for, waiting for an input that nobody live holds (input.go), stuck without a node that could ever
// run it, backing off, or leased.
package sched

import (
	"fmt"
	"time"

	"gaggle/wire"
)

// Config tunes a State. Zero fields mean the defaults.
type Config struct {
	// MaxMemo bounds the values kept; the oldest go first.
	MaxMemo int
	// Weights are the shares of tenants; one that is not named has 1.
	Weights []Weight
	// MaxQueued and MaxQueuedBytes bound the tasks of a tenant that are not over, and their thunks'
	// encodings; 0 is the default. What a job's sub-graphs add is bounded by wire.MaxJobThunks only.
	MaxQueued      int
	MaxQueuedBytes int64
	// Secret keeps nodes from telling which thunks will be verified.
	Secret []byte
	// Alone says that there is one node and never another: what it does not hold is gone.
	Alone bool
}

// A Weight gives a tenant a share of the mesh in proportion to it.
type Weight struct {
	Tenant string
	Weight int // 1 or more
}

const (
	// maxMemo keeps the results of a few of the largest jobs; at about 250 bytes each that is 1 GiB.
	maxMemo = 4 << 20
	// maxQueued lets a tenant have two of the largest jobs waiting, and maxQueuedBytes with thunks of
	// some hundred bytes more than memory for them.
	maxQueued      = 2 * wire.MaxJobThunks
	maxQueuedBytes = 4 << 30
	// maxEnded is how many jobs that are over Jobs still shows.
	maxEnded = 200
)

// A State is all that a coordinator knows. It is for one goroutine.
type State struct {
	cfg   Config
	now   time.Duration
	wall  time.Time
	epoch uint32
	began time.Duration // when the epoch did
	lease uint32        // the last LeaseID given out in this epoch
	seq   uint64        // counts submissions, runs and whatever else has an age
	out   []Action
	outs  int // of the last Step

	spaces  []wire.Space // by number; 0 is none
	spaceOf map[wire.Space]uint32
	owners  []string // of nodes, by number; 0 is not known
	ownerNo map[string]uint32

	jobs      slab[jobRef, job]
	jobOf     map[wire.JobID]jobRef
	live      []jobRef // that have tasks, oldest first: not over, or lingering
	over      []jobRef // the others, in the order they were freed
	lingering int      // tasks of jobs that are over
	check     []jobRef // may have come to their end in this Step
	tasks     slab[taskRef, task]
	taskOf    index[taskRef]
	edges     slab[edgeRef, edge]
	work      []taskRef // became ready, to be resolved
	runs      slab[runRef, run]
	runOf     index[runRef]
	ownRuns   map[ownKey]runRef
	courses   []*course // of runs that are over

	objects  slab[objRef, object]
	objectOf index[objRef]
	lostObjs []objRef // lost a holder in this Step and are wanted

	memos   slab[memoRef, memo]
	memoOf  index[memoRef]
	memoAge []memoRef // a ring, the next to go at memoAt
	memoAt  int
	graphs  slab[graphRef, expansion]
	graphOf index[graphRef]
	known   []graphRef // expansions nobody waits for, oldest first
	kept    int        // tasks in known

	nodes       []*node // by ref; 0 is none
	nodeOf      map[wire.PeerID]nodeRef
	signs       bool      // somebody wants to be shown whose values are: all that is given is signed
	freeNodes   []nodeRef // of nodes that were forgotten
	byLoad      []loaded  // that take offers, least loaded first
	leases      map[wire.LeaseID]*lease
	going       []going  // continuations whose turn came in this Step
	orphans     []orphan // leases of earlier epochs that nothing needs so far
	links       map[[2]nodeRef]*link
	linkTurn    nodeRef // whose links were forgotten last
	classes     []*class
	classOf     map[classKey]*class
	kinds       []*kind
	kindOf      map[kindKey]*kind
	tenants     []*tenant
	tenantOf    map[string]*tenant
	gangs       []*gang
	hosts       []host   // by number, once a node has one; 0 is none
	vni         uint32   // given last
	ready       []jobRef // with something ready
	parked      int      // runs in nodes' parked lists
	toPark      int      // how many more this Step may park
	again       bool     // parked runs are to be weighed anew
	spared      int      // nodes that are left to a gang
	levelled    int      // of byLoad, from its end, whose offers were weighed against idle nodes
	stuck       []waiter // without a node that could ever run them
	backing     []waiter // backing off
	timed       []waiter // running for tasks with different deadlines
	hungry      []waiter // waiting for an object that is not at hand
	hungrier    bool     // hungry, or what its runs wait for, changed
	unasked     []graphRef
	quarantines map[wire.PeerID]*quarantine // members shut out, there or not
	holdUntil   time.Duration
	nextScan    time.Duration
	nextReweigh time.Duration
	rebalance   time.Duration
	moved       bool // something changed that placement may depend on

	view  view // scratch
	other view // likewise
	cand  []nodeRef
	needs []*object
	deps  []taskRef
	stamp uint64
}

// New returns a State that knows nothing. EpochBegan is its first event.
func New(cfg Config) *State {
	if cfg.MaxMemo <= 0 {
		cfg.MaxMemo = maxMemo
	}
	if cfg.MaxQueued <= 0 {
		cfg.MaxQueued = maxQueued
	}
	if cfg.MaxQueuedBytes <= 0 {
		cfg.MaxQueuedBytes = maxQueuedBytes
	}
	s := &State{
		cfg: cfg, spaces: []wire.Space{""}, spaceOf: map[wire.Space]uint32{}, owners: []string{""}, ownerNo: map[string]uint32{"": 0}, ownRuns: map[ownKey]runRef{},
		jobOf: map[wire.JobID]jobRef{},
		nodes: []*node{nil}, nodeOf: map[wire.PeerID]nodeRef{}, leases: map[wire.LeaseID]*lease{},
		links: map[[2]nodeRef]*link{}, classOf: map[classKey]*class{}, kindOf: map[kindKey]*kind{}, tenantOf: map[string]*tenant{},
		quarantines: map[wire.PeerID]*quarantine{},
	}
	s.taskOf.at = func(r taskRef) *key { return &s.tasks.at(r).key }
	s.runOf.at = func(r runRef) *key { return &s.runs.at(r).key }
	s.objectOf.at = func(r objRef) *key { return &s.objects.at(r).key }
	s.memoOf.at = func(r memoRef) *key { return &s.memos.at(r).key }
	s.graphOf.at = func(r graphRef) *key { return &s.graphs.at(r).key }
	return s
}

// Step tells what happened up to now, a time that never goes back, and returns what to do about
// it. wall is the same moment for people. Slices and pointers in events are the State's from then
// on, and those in actions the caller's to read but not to change.
func (s *State) Step(now time.Duration, wall time.Time, events []Event) []Action {
	s.sleptUntil(now)
	s.now, s.wall, s.out = max(s.now, now), wall, make([]Action, 0, s.outs+s.outs/4)
	for _, e := range events {
		s.apply(e)
		s.resolveAll()
		s.goOn()
	}
	s.scan()
	s.settle()
	s.place()
	s.settle()
	out := s.out
	s.out, s.outs = nil, len(out) // or it would keep the tasks of a job that was recorded
	return out
}

// settle works off what the events led to until nothing is left that needs no time.
func (s *State) settle() {
	for {
		s.resolveAll()
		s.checkLost()
		if len(s.work) == 0 && !s.checkEnds() {
			return
		}
	}
}

func (s *State) apply(e Event) {
	switch e := e.(type) {
	case EpochBegan:
		s.epoch, s.lease, s.began = e.Epoch, 0, s.now
		s.vni = firstVNI(e.Epoch)
	case Submitted:
		s.submitted(&e)
	case Extended:
		s.extended(&e)
	case BrokeOff:
		s.brokeOff(&e)
	case Expanded:
		s.expanded(&e)
	case ExpandFailed:
		s.expandFailed(&e)
	case Known:
		s.knownClaims(&e)
	case Quarantined:
		s.quarantined(&e)
	case Cancelled:
		s.cancelled(e.Job)
	case Released:
		s.released(e.Job)
	case NodeUp:
		s.nodeUp(&e)
	case NodeGone:
		s.nodeGone(&e)
	case Beat:
		s.beat(e.Peer, e.Beat)
	case Resulted:
		s.resulted(&e)
	case AttemptFailed:
		s.attemptFailed(&e)
	case Started:
		s.started(e.Peer, e.Lease)
	case Recalled:
		s.recalled(e.Peer, e.Lease)
	case Progressed:
		s.progressed(&e)
	case Have:
		s.have(&e)
	case Lost:
		s.lost(&e)
	case LinkRate:
		s.linkRate(&e)
	case Tick:
	default:
		panic(fmt.Sprintf("sched: unknown event %T", e))
	}
}

func (s *State) emit(a Action) { s.out = append(s.out, a) }

// uptime returns how long the epoch has lasted.
func (s *State) uptime() time.Duration { return s.now - s.began }

// age returns a number higher than all before it.
func (s *State) age() uint64 {
	s.seq++
	return s.seq
}

// space returns the number of a space.
func (s *State) space(sp wire.Space) uint32 {
	n, ok := s.spaceOf[sp]
	if !ok {
		n = uint32(len(s.spaces))
		s.spaces = append(s.spaces, sp)
		s.spaceOf[sp] = n
	}
	return n
}
