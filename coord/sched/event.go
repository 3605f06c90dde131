package sched

import (
	"time"

	"gaggle/wire"
)

// An Event is something that happened, as Step is told it. Facts are durable: the server records
// them (see Record) and tells them again after a restart. Signals are not; nodes report anew
// what they hold and run when they reconnect.
type Event interface{ event() }

// Submitted is a fact: a checked job, or its first part. Tasks stand after those they depend on.
type Submitted struct {
	Job       wire.JobID
	Space     wire.Space
	Tenant    string // whose share it draws on
	Name      string
	Client    wire.PeerID // who holds the inputs, and watches
	Detach    bool
	KeepGoing bool
	Twice     bool       // run every thunk again and compare, see repeat.go
	Verify    int        // percent of the thunks that another owner's node runs too, see verify.go
	Trust     wire.Trust // whose values it believes, see trust.go
	Owner     string     // of the submitter, to whom TrustOwn refers
	Passing   bool       // neither recorded nor remembered, see wire.Submit
	Tasks     []wire.TaskSpec
	Targets   []wire.TargetSpec
	At        time.Time // wall clock, for people
	// Stream names what the rest of the job comes by, as Extended; 0 if this is all. Total is how
	// many tasks it has then.
	Stream uint64
	Total  int
	// Recorded is set at recovery: the tables have it already.
	Recorded bool
}

// Extended is a fact: a further part of a job. A gang comes in one part, the last.
type Extended struct {
	Job    wire.JobID
	Stream uint64
	Tasks  []wire.TaskSpec
	End    bool // the job is whole
}

// BrokeOff is a signal: no more of a job comes that is not whole.
type BrokeOff struct {
	Job    wire.JobID
	Stream uint64
}

// Expanded is a fact: the graph Graph, which output Output of the resolved thunk Thunk was, made into
// tasks. Target is what becomes the output.
type Expanded struct {
	Space  wire.Space
	Thunk  wire.ThunkID
	Output int
	Graph  wire.Object
	Tasks  []wire.TaskSpec
	Target wire.TargetSpec
	// Recorded is set at recovery: the tables have it already.
	Recorded bool
}

// ExpandFailed is a fact: the graph could not be fetched (an infrastructure cause: retried) or
// is refused (a task cause).
type ExpandFailed struct {
	Space   wire.Space
	Thunk   wire.ThunkID
	Output  int
	Graph   wire.Object
	Failure wire.Failure
}

// Known is a fact: a value claimed in an earlier life of the coordinator, told again at
// recovery before the jobs.
type Known struct {
	Space wire.Space
	Thunk wire.ThunkID // resolved
	Value *wire.Value
	By    Voucher // who claimed it first
	Run   time.Duration
	Also  []Voucher // further owners' nodes
}

// A Voucher is a node that claimed a value.
type Voucher struct {
	Signer    wire.PeerID
	Owner     string // of the signer when it gave the value; "" is not known
	Signature string // of its claim; "" if it was not asked for
}

// Cancelled is a fact: somebody wants the job to stop. Runs that other jobs wait for go on.
type Cancelled struct{ Job wire.JobID }

// Released is a fact: the job's targets were fetched; they need not be pinned any more.
type Released struct{ Job wire.JobID }

// Quarantined is a fact: a member is to be offered nothing, or it is to be again.
type Quarantined struct {
	Peer   wire.PeerID
	Reason string // for people: "3 tasks failed on it ..."
	ByHand bool   // until it is released by hand
	Lied   bool   // likewise, and none of its values is believed
	Over   bool   // the others are not set
	At     time.Time
	// Recorded is set at recovery: the tables have it already.
	Recorded bool
}

// EpochBegan is a fact and the first event of a coordinator's life.
type EpochBegan struct{ Epoch uint32 }

// NodeUp is a signal: a member connected, or connected again. A client's machine is a node
// without slots. What it holds follows in Have.
type NodeUp struct {
	Peer    wire.PeerID
	Hello   wire.Hello
	Owner   string
	Tenants []wire.Space // of its certificate: with Hello.OwnOnly it runs nothing of others
	Until   time.Time    // when its certificate ends, if it is not renewed
}

// NodeGone is a signal: the connection to a member ended. Its leases live on for a while.
type NodeGone struct {
	Peer wire.PeerID
	Left bool // it has said goodbye
	// Revoked says that its certificate holds no more.
	Revoked bool
}

// Beat is a signal: a frame came from the member, with its latest state if it sent one.
type Beat struct {
	Peer wire.PeerID
	Beat *wire.Beat
}

// Resulted is a fact: a node computed a value. The lease may be of an earlier epoch or long
// over: a valid result of a pure thunk is accepted whenever it comes.
type Resulted struct {
	Peer   wire.PeerID
	Result wire.Result
	Value  *wire.Value // decoded Result.Value
}

// AttemptFailed is a signal if its cause is the infrastructure's, and leads to a recorded
// failure if the cause is the task's and no retries are left.
type AttemptFailed struct {
	Peer    wire.PeerID
	Attempt wire.Attempt
}

// Started is a signal: the command of the lease runs now.
type Started struct {
	Peer  wire.PeerID
	Lease wire.LeaseID
}

// Progressed is a signal: what a lease is doing, to be told to those who wait for it as
// Notice.Progress. It changes nothing.
type Progressed struct {
	Peer     wire.PeerID
	Progress wire.Progress
}

// Recalled is a signal: the node gave the lease back before it started.
type Recalled struct {
	Peer  wire.PeerID
	Lease wire.LeaseID
}

// Have is a signal: the member holds these objects whole. Durable says that they are on disk.
type Have struct {
	Peer    wire.PeerID
	Set     wire.SpaceSet
	Durable bool
}

// Lost is a signal: the member, by its own word or another's, does not hold these any more.
type Lost struct {
	Peer  wire.PeerID
	Space wire.Space
	// Digests as the objects were named in Have or an offer.
	Digests []wire.Digest
	Wrong   bool // it sent other bytes
}

// LinkRate is a signal: a measured rate between two members.
type LinkRate struct {
	From, To    wire.PeerID
	BytesPerSec float64
	RTT         time.Duration
}

// Tick is a signal: time went by. The server sends one at least every second.
type Tick struct{}

func (Submitted) event()     {}
func (Extended) event()      {}
func (BrokeOff) event()      {}
func (Expanded) event()      {}
func (ExpandFailed) event()  {}
func (Known) event()         {}
func (Quarantined) event()   {}
func (Cancelled) event()     {}
func (Released) event()      {}
func (EpochBegan) event()    {}
func (NodeUp) event()        {}
func (NodeGone) event()      {}
func (Beat) event()          {}
func (Resulted) event()      {}
func (AttemptFailed) event() {}
func (Started) event()       {}
func (Recalled) event()      {}
func (Progressed) event()    {}
func (Have) event()          {}
func (Lost) event()          {}
func (LinkRate) event()      {}
func (Tick) event()          {}
