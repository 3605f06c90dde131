// Package worker is the part of a node that does the work: it keeps a connection to the
// coordinator, accepts offers, fetches what a thunk reads while other thunks compute, runs it,
// stores its outputs and reports.
//
// The life of a lease:
//
//	offer --> memo? --yes--------------------------------------+
//	            | no                                           v
//	          fetch, lay out --> slot --> Started, run --> outcome, held until acknowledged
//	            |                  |                           ^
//	            +-- Recall, lease over, shutdown --> Recalled  +-- Cancel: Attempt, cancelled
//
// A lease is either recalled or started, never both. Outcomes outlive connections: after a new one
// the worker names all leases it holds, reports all it has in its store, and sends every outcome
// again that was not acknowledged. A connection is an outbox and two goroutines; everything else
// goes on without it.
//
// A worker without slots is how a submitting machine takes part: it announces what it holds and
// carries out pins and copies.
package worker

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/boottime"
	"gaggle/wire"
)

// Config is what a Worker is made of.
type Config struct {
	Store    Store
	Exchange Exchange
	// Engine runs commands; unused if Hello.Slots is 0.
	Engine Engine
	// Executor, if not nil, is used in place of Engine over the files of Store, which otherwise
	// must have the methods of Files, as *blobstore.Store does.
	Executor Executor
	// Networks, if not nil, puts tasks on networks, and the worker says so in its Hello.
	Networks Networks
	Key      ed25519.PrivateKey
	// Hello introduces the node. Life, Epoch, Running, Working, Inventory and Host are filled in.
	Hello wire.Hello
	// Addrs, if not nil, gives the addresses for the next Hello: those of a laptop change.
	Addrs func() []string
	// Paths, if not nil, tells how other members are reached.
	Paths func() []wire.Path
	// Crossed, if not nil, tells what went over the networks of tasks here, at most wire.MaxNetPaths.
	Crossed func() []wire.NetPath
	// Dial connects to the coordinator. It is called again whenever the connection has ended.
	Dial func(context.Context) (Link, error)
	// Doubt, if not nil, is called when the connection was silent for longer than it should be: it may
	// be dead where another way would not be.
	Doubt func()
	// HangUp, if not nil, is called when the connection was silent for so long that it is good for
	// nothing, whatever lies below it: the next Dial is to make a new one from the ground up.
	HangUp func()
	// AddPeers, if not nil, is told how to reach members.
	AddPeers func([]wire.PeerInfo)
	// Trusted says whether a peer is a coordinator, whose grants open logs; nil trusts nobody.
	Trusted func(wire.PeerID) bool
	// EpochFile keeps the highest epoch seen across restarts; "" keeps it in memory.
	EpochFile string
	// Paused, if not nil, is asked at every beat whether to take no work for now; see OnBattery.
	Paused func() bool
	// Takes, if not nil, says of which spaces commands are run here: Hello.OwnOnly tells the
	// coordinator, which does not offer others.
	Takes func(wire.Space) bool
	// Room, if not nil, says whether the store's disk has room again after it was full.
	Room func() bool
	// Welcomed, if not nil, is called whenever a coordinator has accepted the node.
	Welcomed func(*wire.Welcome)
	// Boot is the time since boot, sleep included; nil is the system's clock.
	Boot func() time.Duration
	// Clock is set by what the coordinator says, and judges its grants; nil is one of the worker's own.
	Clock  *Clock
	Logger *slog.Logger // nil discards
}

// A Worker serves one coordinator. Its methods are safe for concurrent use.
type Worker struct {
	cfg     Config
	log     *slog.Logger
	self    wire.PeerID
	fetches *gate // leases that fetch
	slots   *gate // leases that run
	probes  *gate
	syncs   syncer
	logs    logbook
	links   linkRates
	ends    struct{ ran, known, failed atomic.Int64 } // of leases

	work  sync.WaitGroup  // leases and orders; added to only by spawn
	ctx   context.Context // of work; ends at shutdown
	abort context.CancelCauseFunc

	mu       sync.Mutex // guards the fields below
	epoch    uint64     // the highest seen
	seq      uint64     // of the last lease
	leases   map[wire.LeaseID]*lease
	outcomes map[wire.LeaseID]*outcome // not yet acknowledged
	out      *outbox                   // of the connection; nil without one
	said     func()                    // waits until the connection's other end has read all; nil before it is welcome
	renewed  time.Duration             // boot time of the last frame, either way
	heard    time.Duration             // boot time of the coordinator's last frame
	networks map[uint32]*network       // by VNI
	host     uint16                    // this node's number, see wire.ToNode
	toCopy   []wire.CopyOrder
	copiers  int // goroutines that work on toCopy
	probing  int // probes, waiting ones too
	stopping bool
	draining bool // the disk is full
	paused   bool
	deaf     bool // the coordinator is silent
}

const (
	// maxLeases bounds accepted leases and held outcomes together. A coordinator offers a few per
	// slot; the rest are outcomes that wait for it while it is away.
	maxLeases = 16_384
	// fetchesPerSlot leases fetch at once: while one computes, the next has its inputs ready and
	// the one after that is waiting for a slow peer.
	fetchesPerSlot = 3
)

// New returns a worker; Run sets it going.
func New(cfg Config) (*Worker, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = &Clock{Boot: cfg.Boot}
	}
	if cfg.Boot == nil {
		cfg.Boot = boottime.Now
	}
	if cfg.Executor == nil && cfg.Hello.Slots > 0 {
		files, ok := cfg.Store.(Files)
		if !ok || cfg.Engine == nil {
			return nil, fmt.Errorf("making a worker with %d slots: no engine, or a store without files", cfg.Hello.Slots)
		}
		cfg.Executor = hostExecutor{files, cfg.Engine}
	}
	if cfg.Networks != nil {
		cfg.Hello.Overlay = true
		cfg.Hello.Versions.ABIs = append(slices.Clone(cfg.Hello.Versions.ABIs), wire.ABINetworked)
	}
	cfg.Hello.Life = max(1, rand.Uint64())
	epoch, err := readEpoch(cfg.EpochFile)
	if err != nil {
		return nil, err
	}
	w := &Worker{
		cfg: cfg, log: cfg.Logger, self: wire.PeerOf(cfg.Key), epoch: epoch,
		fetches: newGate(max(4, fetchesPerSlot*cfg.Hello.Slots)),
		slots:   newGate(cfg.Hello.Slots), probes: newGate(1),
		leases: map[wire.LeaseID]*lease{}, outcomes: map[wire.LeaseID]*outcome{}, networks: map[uint32]*network{},
	}
	w.syncs.init()
	w.logs.init()
	w.ctx, w.abort = context.WithCancelCause(context.Background())
	return w, nil
}

// Run serves the coordinator until ctx ends, then stops: what runs is killed and reported, what
// waits is given back. It returns nil then, or earlier the reason for which the coordinator will
// never accept this node. It is called once.
func (w *Worker) Run(ctx context.Context) error {
	// The connection outlives ctx until the last reports are out.
	session, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	refused := make(chan error, 1)
	var loops sync.WaitGroup
	loops.Go(func() { refused <- w.connect(session) })
	loops.Go(func() { w.syncLoop(session) })
	if w.cfg.Paused != nil {
		loops.Go(func() { w.watchPause(session) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-refused:
	}
	w.shutdown()
	cancel()
	loops.Wait()
	return err
}

// lastWords bounds how long a worker that stops waits for its reports to be sent.
const lastWords = 2 * time.Second

// shutdown ends all work and lets the connection, if there is one, say so.
func (w *Worker) shutdown() {
	w.mu.Lock()
	w.stopping = true
	out := w.out
	w.sendBeat()
	w.giveBackAll(errStopping) // before a slot comes free and takes one of them up
	w.mu.Unlock()
	w.abort(errStopping)
	w.work.Wait()
	if out == nil {
		return
	}
	select {
	case <-out.drained():
	case <-time.After(lastWords):
		return
	}
	w.mu.Lock()
	said := w.said
	w.mu.Unlock()
	if said != nil {
		said()
	}
}

// spawn runs f in a goroutine that shutdown waits for; it does not once the worker is stopping.
// Called under w.mu.
func (w *Worker) spawn(f func()) bool {
	if w.stopping {
		return false
	}
	w.work.Go(f)
	return true
}

// Announce tells the coordinator of objects that were just put into the store, and once more when
// they are durable. Before Run it only remembers them.
func (w *Worker) Announce(space wire.Space, objs []wire.Object) {
	for _, o := range objs {
		w.cfg.Store.Hold(space, o)
	}
	w.tell(func(out *outbox) { out.have(space, objs) })
	w.recheck(space, objs)
	w.syncs.add(space, objs)
}

// tell has put add to what the coordinator is told. Without a connection it does nothing: the next
// one begins with all that matters.
func (w *Worker) tell(put func(*outbox)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out != nil {
		put(w.out)
	}
}

// recheck follows every report that objects are here. Of an object lost just before the report the
// coordinator has heard in the wrong order, and would count on it for ever.
func (w *Worker) recheck(space wire.Space, objs []wire.Object) {
	var lost []wire.Digest
	for _, o := range objs {
		if !w.whole(space, []wire.Object{o}) {
			lost = append(lost, o.Digest)
		}
	}
	if len(lost) > 0 {
		w.Lost(space, lost)
	}
}

// Lost tells the coordinator of objects that are no longer whole in the store; it is what
// blobstore.Options.OnLost should call.
func (w *Worker) Lost(space wire.Space, ds []wire.Digest) {
	w.tell(func(out *outbox) { out.lost(space, ds) })
}

// beat says how the node fares. Called under w.mu.
func (w *Worker) beat() *wire.Beat {
	return &wire.Beat{
		FreeSlots: w.slots.free(), StoreUsed: w.cfg.Store.Used(), Deaf: w.deaf,
		Draining: w.draining || w.stopping, Paused: w.paused, Leaving: w.stopping,
	}
}

// sendBeat queues a beat if there is a connection. Called under w.mu.
func (w *Worker) sendBeat() {
	if w.out != nil {
		w.out.beat(w.beat())
	}
}
