package sched

import (
	"time"

	"gaggle/wire"
)

// An Action is something the server is to do. It carries them out in order; none waits for
// another's success, for what comes of them returns as events.
type Action interface{ action() }

// Offer sends a resolved thunk to a node.
type Offer struct {
	Node  wire.PeerID
	Offer wire.Offer
}

// Network tells a node of a network of which Offers follow.
type Network struct {
	Node    wire.PeerID
	Network *wire.Network // not to be changed: each of its nodes is told the same
}

// Host tells a node its number among those that give networks.
type Host struct {
	Node wire.PeerID
	Host uint16
}

// Recall asks for a lease back, unless it has started.
type Recall struct {
	Node  wire.PeerID
	Lease wire.LeaseID
}

// Cancel ends a lease, whatever it does.
type Cancel struct {
	Node  wire.PeerID
	Lease wire.LeaseID
}

// Ack tells a node that the outcome of a lease is recorded, or not wanted; it may forget it.
type Ack struct {
	Node  wire.PeerID
	Lease wire.LeaseID
}

// Pin keeps an object in a node's store for the owner, a job's text form.
type Pin struct {
	Node wire.PeerID
	Pin  wire.Pin
}

// Unpin ends a Pin.
type Unpin struct {
	Node wire.PeerID
	Pin  wire.Pin
}

// Copy has a node fetch an object and make it durable.
type Copy struct {
	Node wire.PeerID
	Copy wire.CopyOrder
}

// Probe has a node measure its link from a peer, because a placement hangs on it.
type Probe struct{ Node, From wire.PeerID }

// Withdraw has a node drop its claims for a resolved thunk: they were found in doubt.
type Withdraw struct {
	Node  wire.PeerID
	Space wire.Space
	Thunk wire.ThunkID
}

// Record has the server write to the durable tables, in the transaction of the batch.
type Record struct{ Row Row }

// Expand has the server fetch a graph from its holders, make tasks of it as a sub-graph of
// Parent, and answer with Expanded or ExpandFailed.
type Expand struct {
	Space   wire.Space
	Thunk   wire.ThunkID
	Output  int
	Parent  *wire.Thunk // resolved: gives root, env, platform and the @parent inputs
	Name    string      // of the parent task, for the names of the new ones
	Hints   wire.Hints
	Root    uint64 // bytes of the root
	Nesting int    // of the parent; a job's own tasks are 0
	Graph   wire.Held
}

// Quarantine says that a member is offered nothing from now on. It asks for nothing: what it means
// for the node follows in other actions.
type Quarantine struct {
	Node   wire.PeerID
	Name   string
	Reason string
}

// Tell passes something on to those who watch a job.
type Tell struct {
	Job    wire.JobID
	Notice wire.Notice
}

// Accept tells a submitter that its job stands: it is recorded, and if detached its inputs have
// their copies.
type Accept struct {
	Job   wire.JobID
	Trust wire.Trust // of the job
}

// End tells a job's watchers that it is over. The server adds addresses and grant.
type End struct {
	Job  wire.JobID
	Done wire.Done
}

func (Offer) action()      {}
func (Network) action()    {}
func (Host) action()       {}
func (Recall) action()     {}
func (Cancel) action()     {}
func (Ack) action()        {}
func (Pin) action()        {}
func (Unpin) action()      {}
func (Copy) action()       {}
func (Probe) action()      {}
func (Record) action()     {}
func (Expand) action()     {}
func (Quarantine) action() {}
func (Tell) action()       {}
func (Accept) action()     {}
func (End) action()        {}
func (Withdraw) action()   {}

// A Row is one change of a durable table. Recovery reads the tables and tells Step, in this
// order: EpochBegan, every RowQuarantine, every RowValue as Known, every RowExpansion as Expanded, every RowJob that
// has not ended as Submitted, and every RowJobState that says so as Cancelled.
type Row interface{ row() }

// RowJob records a submission.
type RowJob struct{ Submitted Submitted }

// RowValue records what a resolved thunk computed.
type RowValue struct {
	Space wire.Space
	Thunk wire.ThunkID
	Value *wire.Value
	By    Voucher
	Run   time.Duration
	Also  []Voucher
}

// RowWithdrawn ends a RowValue.
type RowWithdrawn struct {
	Space wire.Space
	Thunk wire.ThunkID
}

// RowExpansion records the tasks of a sub-graph.
type RowExpansion struct{ Expanded Expanded }

// RowJobState records that a job was cancelled, has ended or was released.
type RowJobState struct {
	Job       wire.JobID
	Cancelled bool
	Released  bool
	Done      *wire.Done // set when it has ended
	At        time.Time
	// Status is what the history keeps to show of a job that has ended. The server fills it in.
	Status *wire.JobStatus
}

// RowQuarantine records that a member was quarantined, or that this is over.
type RowQuarantine struct{ Quarantined Quarantined }

// RowUnpin records that a member is to be told of an Unpin, or, if Over, that it was. It is the
// server's own: Step neither makes nor is told one.
type RowUnpin struct {
	Peer wire.PeerID
	Pin  wire.Pin
	Over bool
}

func (RowUnpin) row()      {}
func (RowQuarantine) row() {}
func (RowJob) row()        {}
func (RowValue) row()      {}
func (RowExpansion) row()  {}
func (RowJobState) row()   {}
func (RowWithdrawn) row()  {}
