package wire

import "time"

// A Request opens a stream of ProtocolClient; exactly one field but Version is set. Responses
// follow until the stream ends. Every kind of request may be answered by Response.Error.
type Request struct {
	Submit  *Submit  `cbor:"submit,omitempty"`  // then SubmitChunks; Accepted, Notices, Done
	Attach  *JobRef  `cbor:"attach,omitempty"`  // Accepted, Notices, Done
	Cancel  *JobRef  `cbor:"cancel,omitempty"`  // Jobs
	Release *JobRef  `cbor:"release,omitempty"` // the targets are fetched; Jobs
	Status  *JobRef  `cbor:"status,omitempty"`  // Jobs; a zero JobID means all
	Explain *TaskRef `cbor:"explain,omitempty"` // Tasks
	Nodes   *Nothing `cbor:"nodes,omitempty"`   // Nodes, Traffic
	Judge   *Judge   `cbor:"judge,omitempty"`   // Nodes
	Where   *Where   `cbor:"where,omitempty"`   // Found, Peers, Grant
	Known   *Known   `cbor:"known,omitempty"`   // Values
	Claims  *Claimed `cbor:"claims,omitempty"`  // Claims, Certs, Left
}

// Known asks what is known of some resolved thunks without running them, by the word of those whom
// Trust believes.
type Known struct {
	Space  Space     `cbor:"space"`
	Thunks []ThunkID `cbor:"thunks"` // at most MaxBatch
	Trust  Trust     `cbor:"trust,omitempty"`
}

// Claimed asks for the signed claims that are kept about some resolved thunks, whoever signed them.
type Claimed struct {
	Space  Space     `cbor:"space"`
	Thunks []ThunkID `cbor:"thunks"` // at most MaxBatch
}

// Nothing is the parameter of a request that has none.
type Nothing struct{}

// JobRef names a job.
type JobRef struct {
	Job JobID `cbor:"job"`
}

// TaskRef names the tasks of a job whose names begin with Task; all if it is empty.
type TaskRef struct {
	Job  JobID  `cbor:"job"`
	Task string `cbor:"task"`
}

// Judge shuts a member out, so that it is offered nothing, or lets it in again. Either may be asked
// by whoever submits; but a member that was caught giving wrong values is let in only by the word
// of another owner.
type Judge struct {
	Peer    PeerID `cbor:"peer"`
	Release bool   `cbor:"release,omitempty"`
	Reason  string `cbor:"reason,omitempty"` // of shutting it out, for people
}

// Where asks who holds some objects, how to reach them, and for a grant to read the space.
type Where struct {
	Space   Space    `cbor:"space"`
	Objects []Object `cbor:"objs"`
}

// Submit describes a job. Its tasks follow in SubmitChunks, each after those it depends on.
type Submit struct {
	Job       JobID  `cbor:"job"`
	Space     Space  `cbor:"space"`
	Name      string `cbor:"name"` // for people: the graph file's
	Detach    bool   `cbor:"detach,omitempty"`
	KeepGoing bool   `cbor:"keep_going,omitempty"` // finish what does not need the failed
	Twice     bool   `cbor:"twice,omitempty"`      // run every thunk again and compare
	Verify    int    `cbor:"verify,omitempty"`     // percent of the thunks that another owner's node runs too
	Trust     Trust  `cbor:"trust,omitempty"`      // whose values it believes
	// Passing is a job whose submitter waits for it, and submits it again if need be: it is not
	// recorded, not accepted but only begun, and forgotten when it has ended.
	Passing bool         `cbor:"passing,omitempty"`
	Tasks   int          `cbor:"tasks"`
	Targets []TargetSpec `cbor:"targets"`
}

// TargetSpec is an output that the user wants.
type TargetSpec struct {
	Path   string  `cbor:"path"` // relative to --out
	Thunk  ThunkID `cbor:"thunk"`
	Output string  `cbor:"output"`
}

// SubmitChunk carries some tasks of a job being submitted.
type SubmitChunk struct {
	Tasks []TaskSpec `cbor:"tasks,omitempty"`
	End   bool       `cbor:"end,omitempty"`
}

// TaskSpec is one thunk of a job, as yet unresolved, with what its submitter says about it.
type TaskSpec struct {
	Name  string `cbor:"name"`  // "count", "count[a.go]", in a sub-graph "fib/a"
	Thunk []byte `cbor:"thunk"` // encoded
	Hints Hints  `cbor:"hints"`
	// RootSize is the bytes of the root tree, which the thunk itself does not tell.
	RootSize uint64 `cbor:"root_size,omitempty"`
	Gang     *Gang  `cbor:"gang,omitempty"` // runs at the same time as others
}

// Response is one frame of an answer.
type Response struct {
	Error    *Error       `cbor:"error,omitempty"`
	Accepted *Accepted    `cbor:"accepted,omitempty"`
	Notices  []Notice     `cbor:"notices,omitempty"`
	Part     *Done        `cbor:"part,omitempty"` // targets and failures that Done has no room for; before it
	Done     *Done        `cbor:"done,omitempty"`
	Jobs     []JobStatus  `cbor:"jobs,omitempty"`
	Tasks    []TaskStatus `cbor:"tasks,omitempty"`
	Nodes    []NodeStatus `cbor:"nodes,omitempty"`
	Traffic  *Traffic     `cbor:"traffic,omitempty"`
	Found    []Held       `cbor:"found,omitempty"`
	Peers    []PeerInfo   `cbor:"peers,omitempty"`
	Grant    []byte       `cbor:"grant,omitempty"`
	Values   [][]byte     `cbor:"values,omitempty"` // encoded Values in the order asked for; empty if not known
	Claims   [][]byte     `cbor:"claims,omitempty"` // encoded Claims, those of a thunk together
	Certs    [][]byte     `cbor:"certs,omitempty"`  // encoded Certificates of their signers, each once
	Left     int          `cbor:"left,omitempty"`   // how many thunks, the last ones, had no room: to be asked for again
	// Trouble says with Jobs and Nodes why the coordinator cannot record anything just now.
	Trouble *Error `cbor:"trouble,omitempty"`
}

// Accepted says that a job is recorded durably; a detached one also that its inputs are.
type Accepted struct {
	Job JobID `cbor:"job"`
	// Trust is that of the job. A coordinator that does not know of it does not say it.
	Trust Trust `cbor:"trust,omitempty"`
	// Proves says that the coordinator keeps the claims that Trust was met by, for Claimed.
	Proves bool `cbor:"proves,omitempty"`
}

// A State is where a task stands.
type State uint8

// States of a task, in the order it passes them.
const (
	StateBlocked   State = 1 // waits for inputs that other tasks make
	StateReady     State = 2 // waits for a slot
	StateOffered   State = 3 // accepted by a node, fetching
	StateRunning   State = 4
	StateExpanding State = 5 // it wrote a sub-graph, which runs
	StateDone      State = 6
	StateFailed    State = 7
	StateCancelled State = 8
)

var stateNames = [...]string{StateBlocked: "blocked", StateReady: "ready", StateOffered: "offered", StateRunning: "running",
	StateExpanding: "expanding", StateDone: "done", StateFailed: "failed", StateCancelled: "cancelled"}

func (s State) String() string {
	if int(s) < len(stateNames) && s > 0 {
		return stateNames[s]
	}
	return "unknown"
}

// Notice tells a job's watchers that something changed.
type Notice struct {
	Task     string        `cbor:"task,omitempty"`  // "" is about the job
	Thunk    ThunkID       `cbor:"thunk"`           // unresolved
	Resolved ThunkID       `cbor:"resolved"`        // once it is
	State    State         `cbor:"state,omitempty"` // of the task
	How      How           `cbor:"how,omitempty"`   // when done
	Node     PeerID        `cbor:"node"`
	NodeName string        `cbor:"node_name,omitempty"`
	Run      time.Duration `cbor:"run,omitempty"`
	Fetched  int64         `cbor:"fetched,omitempty"`
	Progress *Progress     `cbor:"progress,omitempty"`
	Failure  *Failure      `cbor:"failure,omitempty"`
	Waiting  string        `cbor:"waiting,omitempty"` // why the job, or the task, does not go on
	Note     string        `cbor:"note,omitempty"`    // about the job: what happened to a node, for people
	Added    int           `cbor:"added,omitempty"`   // tasks a sub-graph added to the job
	At       int64         `cbor:"at,omitempty"`      // coordinator's clock, Unix microseconds
}

// How says in what way a task came to be done.
type How uint8

// Ways to be done.
const (
	HowRan    How = 1 // run for this job
	HowMemo   How = 2 // its value was known
	HowShared How = 3 // another job's run, in flight at the time, served it too
)

// Done ends a job.
type Done struct {
	Targets  []Target     `cbor:"targets,omitempty"` // those that were reached
	Failures []FailedTask `cbor:"failures,omitempty"`
	Error    *Error       `cbor:"error,omitempty"` // the job was cancelled or refused
	Counts   Counts       `cbor:"counts"`
	Peers    []PeerInfo   `cbor:"peers,omitempty"` // holders of the targets
	Grant    []byte       `cbor:"grant,omitempty"` // to fetch them
}

// Target is an output with those who hold it.
type Target struct {
	Path string `cbor:"path"`
	Held Held   `cbor:"held"`
}

// FailedTask is a task that will not be done, and why.
type FailedTask struct {
	Task     string    `cbor:"task"`
	Thunk    ThunkID   `cbor:"thunk"`
	Failure  Failure   `cbor:"failure"`
	Attempts []Failure `cbor:"attempts,omitempty"` // earlier ones, oldest first
	Encoded  []byte    `cbor:"encoded,omitempty"`  // the thunk, of a task of a sub-graph; resolved if it was
}

// Counts is how many tasks of a job stand where.
type Counts struct {
	Tasks     int   `cbor:"tasks"`
	Ran       int   `cbor:"ran"`
	Memo      int   `cbor:"memo"`
	Shared    int   `cbor:"shared"`
	Failed    int   `cbor:"failed"`
	Cancelled int   `cbor:"cancelled"`
	Running   int   `cbor:"running"`
	Ready     int   `cbor:"ready"`
	Verified  int   `cbor:"verified,omitempty"` // whose value two nodes gave, of two owners where there are two
	Moved     int64 `cbor:"moved"`              // bytes moved between nodes for it
}

// JobStatus is what coord status shows of a job.
type JobStatus struct {
	Job      JobID    `cbor:"job"`
	Space    Space    `cbor:"space"`
	Name     string   `cbor:"name"`
	State    string   `cbor:"state"` // "running", "waiting", "done", "failed", "cancelled"
	Waiting  string   `cbor:"waiting,omitempty"`
	Counts   Counts   `cbor:"counts"`
	Begun    int64    `cbor:"begun"` // Unix microseconds
	Ended    int64    `cbor:"ended,omitempty"`
	Detached bool     `cbor:"detached,omitempty"`
	Trust    Trust    `cbor:"trust,omitempty"`
	Passing  bool     `cbor:"passing,omitempty"` // see Submit
	Client   string   `cbor:"client"`            // name of the submitting machine
	Targets  []Target `cbor:"targets,omitempty"`
	// Networks are of gangs that run, at most MaxJobNetworks; of one job that was asked for.
	Networks []JobNetwork `cbor:"networks,omitempty"`
}

// JobNetwork is the network of a gang that runs.
type JobNetwork struct {
	Gang       string    `cbor:"gang"`
	Generation int       `cbor:"generation"` // how often the gang began again
	VNI        uint32    `cbor:"vni"`
	Nodes      []NetNode `cbor:"nodes"`
	Paths      []Crossed `cbor:"paths,omitempty"` // the busiest, at most MaxNetPaths
}

// NetNode is a node of a network, with the names of its members there.
type NetNode struct {
	Peer    PeerID   `cbor:"peer"`
	Name    string   `cbor:"name"`
	Members []string `cbor:"members"`
}

// Crossed is what a node says went between it and another.
type Crossed struct {
	From PeerID  `cbor:"from"`
	Path NetPath `cbor:"path"`
	Mesh string  `cbor:"mesh,omitempty"` // how it reaches the other over the mesh, as in Path.Way
}

// TaskStatus is what coord explain shows of a task.
type TaskStatus struct {
	Name     string    `cbor:"name"`
	Thunk    ThunkID   `cbor:"thunk"`
	Resolved ThunkID   `cbor:"resolved"`
	State    State     `cbor:"state"`
	How      How       `cbor:"how,omitempty"`
	Waiting  string    `cbor:"waiting,omitempty"`
	Node     PeerID    `cbor:"node"`
	NodeName string    `cbor:"node_name,omitempty"`
	Value    []Held    `cbor:"value,omitempty"`
	Failure  *Failure  `cbor:"failure,omitempty"`
	Attempts []Failure `cbor:"attempts,omitempty"`
	Encoded  []byte    `cbor:"encoded,omitempty"` // the resolved thunk if known, else as submitted
	Hints    *Hints    `cbor:"hints,omitempty"`
	Gang     *Gang     `cbor:"gang,omitempty"` // it belongs to
}

// NodeStatus is what coord nodes shows of a member.
type NodeStatus struct {
	Info      PeerInfo `cbor:"info"`
	Versions  Versions `cbor:"versions"`
	Owner     string   `cbor:"owner"`
	State     string   `cbor:"state"` // "up", "suspect", "lost", "draining", "paused", "quarantined"
	Slots     int      `cbor:"slots"`
	Busy      int      `cbor:"busy"`
	MemBytes  int64    `cbor:"mem"`
	StoreMax  int64    `cbor:"store_max"`
	StoreUsed int64    `cbor:"store_used"`
	// Quarantine is why it is offered nothing, "" if it is.
	Quarantine string            `cbor:"quarantine,omitempty"`
	Lied       bool              `cbor:"lied,omitempty"`     // because it gave wrong values
	OwnOnly    bool              `cbor:"own_only,omitempty"` // it cannot bound memory, and runs thunks of Tenants only
	Tenants    []Space           `cbor:"tenants,omitempty"`
	Metered    bool              `cbor:"metered,omitempty"` // its owner pays for what its link moves
	Labels     map[string]string `cbor:"labels,omitempty"`
	Ran        int               `cbor:"ran"`     // thunks since the coordinator began
	Fetched    int64             `cbor:"fetched"` // bytes
	SilentFor  time.Duration     `cbor:"silent"`
	Paths      []Path            `cbor:"paths,omitempty"`
}

// Traffic is what has passed through the coordinator itself since it began.
type Traffic struct {
	SubGraphBytes int64 `cbor:"sub_graph"` // blobs fetched in order to expand them
	BlobBytes     int64 `cbor:"blob"`      // all other blobs: always 0
	RelayedBytes  int64 `cbor:"relayed"`   // for peers behind NATs
}
