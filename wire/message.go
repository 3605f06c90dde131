package wire

import "time"

// The messages below are text-keyed CBOR maps: a reader ignores keys it does not know, a writer
// leaves out what is zero, and so a version understands the one before and after it. Several
// small messages for one peer travel as lists in one frame.

// Protocols, as libp2p names them. Every one begins only after the certificates were exchanged.
const (
	ProtocolCert    = "/gaggle/cert/1"    // both certificates; opens every connection
	ProtocolJoin    = "/gaggle/join/1"    // a ticket or an old certificate for a new certificate
	ProtocolNode    = "/gaggle/node/1"    // FromNode and ToNode
	ProtocolClient  = "/gaggle/client/1"  // one Request and its Responses
	ProtocolBlob    = "/gaggle/blob/1"    // exchange
	ProtocolLogs    = "/gaggle/logs/1"    // LogRequest, then LogChunks
	ProtocolRevoked = "/gaggle/revoked/1" // Revocations, both ways
)

// Versions is what a member can read and do; placement and joining compare it.
type Versions struct {
	Release   string   `cbor:"release"`             // for people
	Protocol  uint64   `cbor:"proto"`               // of messages: N and N-1 interoperate
	Thunks    []uint64 `cbor:"thunks"`              // encodings of thunks it can read
	Platforms []string `cbor:"platforms,omitempty"` // it can run; none on a client
	ABIs      []uint64 `cbor:"abis,omitempty"`      // sandbox profiles it can give
}

// ProtocolVersion is the version of the messages that this build speaks.
const ProtocolVersion = 1

// Release is the version of gaggle, of coord and node alike, for people.
const Release = "0.1"

// PeerInfo is how to reach a member and what to call it.
type PeerInfo struct {
	Peer  PeerID   `cbor:"peer"`
	Name  string   `cbor:"name,omitempty"` // host name, for people
	Addrs []string `cbor:"addrs,omitempty"`
	Life  uint64   `cbor:"life,omitempty"` // as in Hello: connections to an earlier one lead nowhere
}

// A LeaseID names one attempt to run a thunk on one node. The epoch stands in its upper 32 bits,
// so that no restart of a coordinator uses one twice.
type LeaseID uint64

// Held names the holders of an object that somebody will need.
type Held struct {
	Object Object   `cbor:"obj"`
	Peers  []PeerID `cbor:"peers"` // at most MaxHolders, best first
	// Coming are members that are fetching it, too, and give others what they have; at most MaxHolders.
	Coming []PeerID `cbor:"coming,omitempty"`
}

// FromNode is one frame from a node (or a client's machine, which is a node without slots) to
// its coordinator.
type FromNode struct {
	Hello    *Hello     `cbor:"hello,omitempty"` // first frame, and nowhere else
	Beat     *Beat      `cbor:"beat,omitempty"`
	Started  []LeaseID  `cbor:"started,omitempty"`
	Results  []Result   `cbor:"results,omitempty"`
	Receipts []byte     `cbor:"receipts,omitempty"` // ReceiptBatch of the Results and Failures
	Failures []Attempt  `cbor:"failures,omitempty"`
	Recalled []LeaseID  `cbor:"recalled,omitempty"` // given back before they started
	Have     []SpaceSet `cbor:"have,omitempty"`     // newly held, whole (trees with all below)
	Stored   []SpaceSet `cbor:"stored,omitempty"`   // of those held, now durable
	Lost     []SpaceSet `cbor:"lost,omitempty"`     // no longer held
	Gone     []Gone     `cbor:"gone,omitempty"`     // other peers that did not have what they should
	Links    []Link     `cbor:"links,omitempty"`
	Progress []Progress `cbor:"progress,omitempty"`
	Paths    []Path     `cbor:"paths,omitempty"`   // all of them, at most MaxPaths; in place of those before
	Crossed  []NetPath  `cbor:"crossed,omitempty"` // the busiest, at most MaxNetPaths; in place of those before
}

// A NetPath is what went between a node and another on a network, or within one, as the node counts it.
// Bytes are those of IP packets.
type NetPath struct {
	VNI        uint32 `cbor:"vni"`
	Peer       PeerID `cbor:"peer"` // the other, or the node itself
	Way        string `cbor:"way"`  // "local", "direct", "external", "agent": see package wired
	PacketsOut uint64 `cbor:"packets_out,omitempty"`
	BytesOut   uint64 `cbor:"bytes_out,omitempty"`
	PacketsIn  uint64 `cbor:"packets_in,omitempty"`
	BytesIn    uint64 `cbor:"bytes_in,omitempty"`
}

// A Path is how one member reaches another at the moment.
type Path struct {
	Peer PeerID        `cbor:"peer"`
	Way  string        `cbor:"way"`           // "direct", "punched", "tcp", "relayed"
	RTT  time.Duration `cbor:"rtt,omitempty"` // 0 if it is not known
}

// Hello introduces a node.
type Hello struct {
	Versions  Versions          `cbor:"versions"`
	Name      string            `cbor:"name"`
	Addrs     []string          `cbor:"addrs,omitempty"`
	Slots     int               `cbor:"slots"` // 0 on a client's machine
	MemBytes  int64             `cbor:"mem"`   // it gives to thunks in all
	StoreMax  int64             `cbor:"store_max"`
	OwnOnly   bool              `cbor:"own_only,omitempty"` // runs thunks of the tenants in its certificate only
	Metered   bool              `cbor:"metered,omitempty"`  // its owner pays for what its link moves
	Labels    map[string]string `cbor:"labels,omitempty"`
	Life      uint64            `cbor:"life,omitempty"`    // drawn by each process at random; 0 of an older version
	Epoch     uint64            `cbor:"epoch"`             // last it served; 0 none
	Running   []LeaseID         `cbor:"running,omitempty"` // leases it still holds
	Working   []Work            `cbor:"working,omitempty"` // what each of Running computes, in its order
	Inventory int               `cbor:"inventory"`         // objects that follow in Have frames
	Overlay   bool              `cbor:"overlay,omitempty"` // it gives tasks networks, see Network
	Host      uint16            `cbor:"host,omitempty"`    // as in ToNode, the last it was told; 0 none
}

// Work is a thunk that a node has accepted. A coordinator that began anew does not know the leases
// of its earlier life; it learns from this not to have the thunk run twice.
type Work struct {
	Space   Space   `cbor:"space"`
	Thunk   ThunkID `cbor:"thunk"` // resolved
	Started bool    `cbor:"started,omitempty"`
	Fresh   bool    `cbor:"fresh,omitempty"` // of an offer that was: it is of no use in another epoch
}

// Beat says that a node lives and how it fares.
type Beat struct {
	FreeSlots int   `cbor:"free"`
	StoreUsed int64 `cbor:"store"`
	Draining  bool  `cbor:"drain,omitempty"` // offer nothing more: disk full, or shutting down
	Paused    bool  `cbor:"pause,omitempty"` // on battery
	Deaf      bool  `cbor:"deaf,omitempty"`  // nothing was heard of the coordinator for a while
	Leaving   bool  `cbor:"leave,omitempty"` // the last beat: its owner has stopped it
}

// Result is a value that a node has computed.
type Result struct {
	Lease   LeaseID       `cbor:"lease"`
	Space   Space         `cbor:"space"`
	Thunk   ThunkID       `cbor:"thunk"`
	Value   []byte        `cbor:"value"` // encoded Value
	Run     time.Duration `cbor:"run"`
	PeakMem int64         `cbor:"peak,omitempty"`
	Fetched int64         `cbor:"fetched,omitempty"` // bytes moved to it for this
	Fresh   bool          `cbor:"fresh,omitempty"`   // of an offer that was: it counts for its lease alone
	// Signature is that of the node's Claim that the thunk has the value, if the offer asked for it.
	Signature []byte `cbor:"sig,omitempty"`
}

// Attempt is a run that gave no value.
type Attempt struct {
	Lease   LeaseID       `cbor:"lease"`
	Space   Space         `cbor:"space"`
	Thunk   ThunkID       `cbor:"thunk"`
	Failure Failure       `cbor:"failure"`
	Run     time.Duration `cbor:"run"`
	PeakMem int64         `cbor:"peak,omitempty"`
}

// Failure says why an attempt gave no value.
type Failure struct {
	Cause    Cause  `cbor:"cause"`
	Message  string `cbor:"msg"`
	Hint     string `cbor:"hint,omitempty"`
	Exit     int    `cbor:"exit,omitempty"`
	Signal   int    `cbor:"signal,omitempty"`
	Node     PeerID `cbor:"node"`
	NodeName string `cbor:"node_name,omitempty"`
	Stdout   []byte `cbor:"stdout,omitempty"` // the end, at most MaxTail
	Stderr   []byte `cbor:"stderr,omitempty"`
}

// A SpaceSet is some objects of one space.
type SpaceSet struct {
	Space   Space    `cbor:"space"`
	Objects []Object `cbor:"objs"`
}

// Gone reports that Peer did not have an object it was named a holder of, or sent wrong bytes.
type Gone struct {
	Peer   PeerID `cbor:"peer"`
	Space  Space  `cbor:"space"`
	Digest Digest `cbor:"digest"` // as it was named in the offer: of the tree, not of the file below
	Wrong  bool   `cbor:"wrong,omitempty"`
}

// Link is a measured rate from a peer to the reporting node.
type Link struct {
	From        PeerID        `cbor:"from"`
	BytesPerSec float64       `cbor:"rate"`
	RTT         time.Duration `cbor:"rtt"`
}

// Progress tells what an accepted lease is doing, for people.
type Progress struct {
	Lease LeaseID `cbor:"lease"`
	Phase string  `cbor:"phase"` // "fetch", "wait" for others of its gang, "run", "store"
	Done  int64   `cbor:"done,omitempty"`
	Total int64   `cbor:"total,omitempty"`
	From  PeerID  `cbor:"from"`
}

// ToNode is one frame from a coordinator to a node. A node obeys only the highest epoch it has
// seen.
type ToNode struct {
	Epoch    uint64       `cbor:"epoch"`
	Welcome  *Welcome     `cbor:"welcome,omitempty"` // first frame, and nowhere else
	Refuse   *Error       `cbor:"refuse,omitempty"`  // the connection ends after it
	Peers    []PeerInfo   `cbor:"peers,omitempty"`   // whom later fields of this frame name
	Grants   [][]byte     `cbor:"grants,omitempty"`  // encoded Grants for the receiver
	Offers   []Offer      `cbor:"offers,omitempty"`
	Recall   []LeaseID    `cbor:"recall,omitempty"` // give back unless started
	Cancel   []LeaseID    `cbor:"cancel,omitempty"` // stop, whatever it does
	Pin      []Pin        `cbor:"pin,omitempty"`
	Unpin    []Pin        `cbor:"unpin,omitempty"`
	Copy     []CopyOrder  `cbor:"copy,omitempty"`
	Probe    []PeerID     `cbor:"probe,omitempty"`    // measure the link from these
	Acked    []LeaseID    `cbor:"acked,omitempty"`    // results recorded; forget them
	Withdraw []Withdrawal `cbor:"withdraw,omitempty"` // drop your claims for these; before Offers
	Networks []Network    `cbor:"networks,omitempty"` // of which Offers of this frame are; before them
	// Host is the node's number, 1 to MaxHost, of which the addresses of its tasks are made; 0 says
	// nothing. It follows the Welcome, of a node with Hello.Overlay, and may be another than before.
	Host uint16 `cbor:"host,omitempty"`
}

// A Withdrawal names a resolved thunk of which a node's claims are not to stand: it was found to
// give other values too.
type Withdrawal struct {
	Space Space   `cbor:"space"`
	Thunk ThunkID `cbor:"thunk"`
}

// Welcome accepts a node.
type Welcome struct {
	Versions Versions      `cbor:"versions"`
	Beat     time.Duration `cbor:"beat"` // say something at least this often
	Now      int64         `cbor:"now"`  // wall clock, Unix microseconds
	// Clock is the time by which its grants run out, in Unix microseconds: nobody sets it. 0 is of an
	// older coordinator, whose wall clock it is.
	Clock    int64  `cbor:"clock,omitempty"`
	MemberOf string `cbor:"mesh"` // name of the mesh, for people
	// Says is how often, at least, the coordinator says something; 0 is as it comes, of an older one.
	Says time.Duration `cbor:"says,omitempty"`
}

// Offer asks a node to run a resolved thunk.
type Offer struct {
	Lease   LeaseID       `cbor:"lease"`
	Space   Space         `cbor:"space"`
	Name    string        `cbor:"name"`  // of the task, for people
	Thunk   []byte        `cbor:"thunk"` // encoded, resolved
	Hints   Hints         `cbor:"hints"`
	Root    *Object       `cbor:"root,omitempty"`    // with its size
	Holders []Held        `cbor:"holders,omitempty"` // of the inputs and the root it lacks
	Lasts   time.Duration `cbor:"lasts"`             // the lease, unless renewed by any frame
	// Expect is the value that an earlier run gave, with its holders: this one is to run whatever
	// is known, claims nothing, and fails with CauseNondeterministic if it gives another value.
	Expect []Held `cbor:"expect,omitempty"`
	// Then is a chain of thunks to go on with: each needs an output of the one before, and nothing
	// else that the node does not have by then. It goes on as long as values are final, without
	// waiting for an answer; where it stops it says nothing.
	Then []Next `cbor:"then,omitempty"`
	// Fresh has the node run it whatever is known, and claim nothing.
	Fresh bool `cbor:"fresh,omitempty"`
	// Sign has the node sign what it gives, and what the chain gives, so that whoever believes this
	// node can be shown that it did.
	Sign bool `cbor:"sign,omitempty"`
	// Net is its place on a network of this frame's, or of one before; nil if it has none.
	Net *Place `cbor:"net,omitempty"`
}

// Next is a thunk of a continuation. Its pending inputs are outputs of the thunk before it, whatever
// their digests say.
type Next struct {
	Lease LeaseID `cbor:"lease"`
	Name  string  `cbor:"name"`
	Thunk []byte  `cbor:"thunk"` // encoded, resolved but for those
	Hints Hints   `cbor:"hints"`
	Root  *Object `cbor:"root,omitempty"`
}

// Pin keeps an object in a store for as long as its owner needs it.
type Pin struct {
	Space  Space  `cbor:"space"`
	Object Object `cbor:"obj"`
	Owner  string `cbor:"owner"` // a job, or what else may unpin it
}

// CopyOrder asks a node to fetch an object, make it durable and report it Stored.
type CopyOrder struct {
	Space Space `cbor:"space"`
	Held  Held  `cbor:"held"`
}

// LogRequest asks a node for the output of a thunk that runs or ran there.
type LogRequest struct {
	Grant  []byte  `cbor:"grant"`
	Space  Space   `cbor:"space"`
	Thunk  ThunkID `cbor:"thunk"` // resolved
	Follow bool    `cbor:"follow,omitempty"`
}

// LogChunk is a piece of a thunk's standard output or error, in order.
type LogChunk struct {
	Stderr bool   `cbor:"err,omitempty"`
	Data   []byte `cbor:"data,omitempty"`
	End    bool   `cbor:"end,omitempty"` // nothing follows
	Error  *Error `cbor:"error,omitempty"`
}
