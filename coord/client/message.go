package client

import (
	"fmt"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

// toAgent is a frame from a command to the agent.
type toAgent struct {
	Hello   *hello   `cbor:"hello,omitempty"`   // first
	Quit    bool     `cbor:"quit,omitempty"`    // instead of a Command: end if idle
	Force   bool     `cbor:"force,omitempty"`   // with Quit: end in any case
	Command *Command `cbor:"command,omitempty"` // second
	Input   []byte   `cbor:"input,omitempty"`   // of a Command that announces some
	InEnd   bool     `cbor:"in_end,omitempty"`  // no more Input
	Cancel  bool     `cbor:"cancel,omitempty"`  // the user interrupted
	Over    *over    `cbor:"over,omitempty"`    // of a Build
	Pause   uint64   `cbor:"pause,omitempty"`   // of a Build: say Resume with this number when the calls so far have ended
}

// resume answers a pause.
type resume struct {
	Number uint64 `cbor:"number"`
	Failed bool   `cbor:"failed,omitempty"` // a call has: what was paused is ended
}

// over says that a build has ended, and how.
type over struct {
	Code    int  `cbor:"code"`              // as a shell's $?
	Stopped bool `cbor:"stopped,omitempty"` // by the user
}

// hello introduces a command; welcome answers it. They must stay readable between versions: they
// are how an agent of another build is told to go.
type hello struct {
	Build string `cbor:"build"`
}

type welcome struct {
	Build string `cbor:"build"`
	PID   int    `cbor:"pid"`
	Busy  string `cbor:"busy,omitempty"` // why it would not end now
	Quits bool   `cbor:"quits,omitempty"`
	Jobs  int    `cbor:"jobs,omitempty"` // that are followed
}

// A Command asks the agent for something. Exactly one of its pointers is set.
type Command struct {
	Mesh  string `cbor:"mesh,omitempty"`  // by name; "" is the one in use, if any
	Local bool   `cbor:"local,omitempty"` // no mesh, whatever is configured
	Dir   string `cbor:"dir"`             // working directory of the command, absolute
	Path  string `cbor:"path,omitempty"`  // its $PATH

	Submit  *Submit       `cbor:"submit,omitempty"`
	Run     *Run          `cbor:"run,omitempty"`
	Attach  *Attach       `cbor:"attach,omitempty"`
	Get     *Get          `cbor:"get,omitempty"`
	Cancel  *JobArg       `cbor:"cancel,omitempty"`
	Status  *JobArg       `cbor:"status,omitempty"`
	Nodes   *wire.Nothing `cbor:"nodes,omitempty"`
	Paths   *wire.Nothing `cbor:"paths,omitempty"` // those of the nodes
	Judge   *Judge        `cbor:"judge,omitempty"`
	Logs    *Logs         `cbor:"logs,omitempty"`
	Explain *TaskArg      `cbor:"explain,omitempty"`
	Shell   *TaskArg      `cbor:"shell,omitempty"`
	GC      *wire.Nothing `cbor:"gc,omitempty"`
	Build   *ToolBuild    `cbor:"build,omitempty"`
	Report  *JobArg       `cbor:"report,omitempty"`
	Login   *Login        `cbor:"login,omitempty"`
	Meshes  *MeshArg      `cbor:"meshes,omitempty"`
}

// Judge shuts a node out by hand, or lets it in again.
type Judge struct {
	Node    string `cbor:"node"` // its name, or the beginning of its peer id
	Release bool   `cbor:"release,omitempty"`
	Reason  string `cbor:"reason,omitempty"`
}

// ToolBuild is a command under which tools are called, until it says that it is over.
type ToolBuild struct {
	Command   []string `cbor:"command"`         // with its arguments, for people
	Defer     bool     `cbor:"defer,omitempty"` // a call that nobody looks at ends at once
	Lazy      bool     `cbor:"lazy,omitempty"`  // with Defer: and is carried out only if somebody waits for what it makes
	Plan      bool     `cbor:"plan,omitempty"`  // with Lazy: the others are told
	Save      string   `cbor:"save,omitempty"`  // with Lazy: the others are noted in this file, too; see Inferred
	KeepGoing bool     `cbor:"keep_going,omitempty"`
	Streams   streams  `cbor:"streams"`          // of the build
	Again     bool     `cbor:"again,omitempty"`  // a further round of the last such build
	Lost      []string `cbor:"lost,omitempty"`   // files that an earlier round could not make
	Models    []byte   `cbor:"models,omitempty"` // of tools of the user's; see infer.Decode
}

// Submit runs a graph.
type Submit struct {
	Graph     string            `cbor:"graph,omitempty"`     // file; "" if it comes as Input
	GraphDir  string            `cbor:"graph_dir,omitempty"` // what paths in it are relative to; "" is where it lies
	Params    map[string]string `cbor:"params,omitempty"`
	Only      string            `cbor:"only,omitempty"` // just this task and what it needs
	Out       string            `cbor:"out"`            // directory of the targets
	Plan      bool              `cbor:"plan,omitempty"` // say what would run
	KeepGoing bool              `cbor:"keep_going,omitempty"`
	Twice     bool              `cbor:"twice,omitempty"`  // run every task again and compare
	Verify    int               `cbor:"verify,omitempty"` // percent of the tasks that another owner's node runs too
	Trust     wire.Trust        `cbor:"trust,omitempty"`  // whose values to believe
	Detach    bool              `cbor:"detach,omitempty"`
	Replace   bool              `cbor:"replace,omitempty"`
	Passing   bool              `cbor:"passing,omitempty"` // nobody asks about it later, see wire.Submit
}

// Run runs a command line once for each argument.
type Run struct {
	Words  []string   `cbor:"words"`
	Args   []string   `cbor:"args,omitempty"`
	Out    string     `cbor:"out,omitempty"` // template of the one output; "" brings back what is new
	Twice  bool       `cbor:"twice,omitempty" json:"twice,omitempty"`
	Verify int        `cbor:"verify,omitempty" json:"verify,omitempty"`
	Trust  wire.Trust `cbor:"trust,omitempty" json:"trust,omitempty"`
	// Gang is how many of each run; if it is not 0, or Network is set, all of them start together.
	Gang    int  `cbor:"gang,omitempty" json:"gang,omitempty"`
	Network bool `cbor:"network,omitempty" json:"network,omitempty"` // they reach each other, see peerName
	// Timeout is how long each may run; 0 is what graphs have unless they say otherwise.
	Timeout time.Duration `cbor:"timeout,omitempty" json:"timeout,omitempty"`
}

// Attach follows a job that was submitted before, to its end.
type Attach struct {
	Job     string `cbor:"job"`
	Out     string `cbor:"out,omitempty"` // "" is where it was submitted to write
	Replace bool   `cbor:"replace,omitempty"`
}

// Get fetches targets of a job that has ended.
type Get struct {
	Job     string   `cbor:"job"`
	Targets []string `cbor:"targets,omitempty"` // all if none
	Out     string   `cbor:"out"`
	Replace bool     `cbor:"replace,omitempty"`
}

// JobArg names a job as people do: its id, the beginning of it, or "" for all or the latest.
type JobArg struct {
	Job string `cbor:"job,omitempty"`
	All bool   `cbor:"all,omitempty"` // those that ended long ago, too
}

// TaskArg names tasks as people do: a name in the latest job, or JOB/NAME.
type TaskArg struct {
	Task string `cbor:"task"`
}

// Logs shows the output of a task.
type Logs struct {
	Task   string `cbor:"task"`
	Follow bool   `cbor:"follow,omitempty"`
}

// Login joins a mesh.
type Login struct {
	Ticket string `cbor:"ticket"`
	Name   string `cbor:"name,omitempty"` // what to call it here; "" is a name of its own
}

// MeshArg changes which mesh is in use, and lists them.
type MeshArg struct {
	Use    string `cbor:"use,omitempty"` // NoMesh for none
	Remove string `cbor:"remove,omitempty"`
}

// NoMesh is what "coord mesh use" calls this machine alone.
const NoMesh = "local"

// An Event is a frame from the agent to a command.
type Event struct {
	Welcome  *welcome          `cbor:"welcome,omitempty"` // first
	Note     string            `cbor:"note,omitempty"`    // a line for people
	Captured *Captured         `cbor:"captured,omitempty"`
	Hashing  *Hashing          `cbor:"hashing,omitempty"`
	Plan     *Plan             `cbor:"plan,omitempty"`
	Started  *Started          `cbor:"started,omitempty"`
	Notices  []wire.Notice     `cbor:"notices,omitempty"`
	Peers    []wire.PeerInfo   `cbor:"peers,omitempty"` // names of machines
	Fetching *Fetching         `cbor:"fetching,omitempty"`
	Written  *Written          `cbor:"written,omitempty"`
	Failed   *FailedTask       `cbor:"failed,omitempty"`
	Output   *Output           `cbor:"output,omitempty"`
	Jobs     []wire.JobStatus  `cbor:"jobs,omitempty"`
	Tasks    []wire.TaskStatus `cbor:"tasks,omitempty"`
	More     int               `cbor:"more,omitempty"` // Tasks that were left out
	Nodes    []wire.NodeStatus `cbor:"nodes,omitempty"`
	Paths    []wire.NodeStatus `cbor:"paths,omitempty"` // nodes, of which Paths are asked for
	Traffic  *wire.Traffic     `cbor:"traffic,omitempty"`
	Meshes   []MeshInfo        `cbor:"meshes,omitempty"`
	Shell    *Shell            `cbor:"shell,omitempty"`
	Building *Building         `cbor:"building,omitempty"`
	Resume   *resume           `cbor:"resume,omitempty"`
	Calls    *Calls            `cbor:"calls,omitempty"`
	Report   *BuildReport      `cbor:"report,omitempty"`
	Text     string            `cbor:"text,omitempty"`
	End      *End              `cbor:"end,omitempty"` // last
}

// Captured tells of a root tree that was made anew from this machine.
type Captured struct {
	What  string        `cbor:"what"` // names of programs, or of an image
	Bytes uint64        `cbor:"bytes"`
	Took  time.Duration `cbor:"took"`
}

func (c *Captured) String() string {
	return fmt.Sprintf("captured %s: %s in %s", printable(c.What), Bytes(int64(c.Bytes)), Span(c.Took))
}

// Hashing tells how far the reading of inputs is.
type Hashing struct {
	Files int64  `cbor:"files"`
	Bytes int64  `cbor:"bytes"`
	Path  string `cbor:"path,omitempty"` // the last one
}

// Plan is what Submit with Plan set answers.
type Plan struct {
	Tasks   []PlanTask `cbor:"tasks"`
	Targets []string   `cbor:"targets,omitempty"`
	More    bool       `cbor:"more,omitempty"` // another Event continues it
}

// PlanTask is a task that would be submitted.
type PlanTask struct {
	Name  string        `cbor:"name"`
	Known string        `cbor:"known"` // one of KnownMemo to KnownEqual
	Bytes uint64        `cbor:"bytes"` // of its inputs, as far as they are known
	Run   time.Duration `cbor:"run,omitempty"`
}

// Started says that the coordinator has accepted a job; it goes on without the command.
type Started struct {
	Job      wire.JobID      `cbor:"job"`
	Name     string          `cbor:"name"`
	Detached bool            `cbor:"detached,omitempty"`
	Mesh     string          `cbor:"mesh,omitempty"`
	Kinds    map[string]Kind `cbor:"kinds,omitempty"`
	Tasks    int             `cbor:"tasks"`
	Parts    int             `cbor:"parts,omitempty"`    // of them, see record
	Snapshot []wire.Notice   `cbor:"snapshot,omitempty"` // of a job that began before
	Counts   wire.Counts     `cbor:"counts"`             // of a job that began before
	Begun    int64           `cbor:"begun"`              // Unix microseconds
}

// A Kind is the tasks made from one template.
type Kind struct {
	Tasks int           `cbor:"tasks"`
	Mean  time.Duration `cbor:"mean,omitempty"` // running time in earlier jobs; 0 is not known
	Gang  bool          `cbor:"gang,omitempty"` // they start together: when they end, how many are left does not tell
}

// Fetching tells how far the bringing of targets to this machine is.
type Fetching struct {
	Done  int64       `cbor:"done"`
	Total int64       `cbor:"total"`
	From  wire.PeerID `cbor:"from"`
}

// Written names a target that is on disk now, whole.
type Written struct {
	Path  string `cbor:"path"` // as it would be opened from the command's directory
	Files int    `cbor:"files"`
	Bytes int64  `cbor:"bytes"`
}

// FailedTask is all a person needs in order to understand a failure.
type FailedTask struct {
	Task    string       `cbor:"task"`
	Failure wire.Failure `cbor:"failure"`
	Tried   int          `cbor:"tried"`
	Command []string     `cbor:"command,omitempty"`
	Env     []string     `cbor:"env,omitempty"`
	Again   string       `cbor:"again,omitempty"` // shell line that runs it again
	Seek    string       `cbor:"seek,omitempty"`  // and one that tells what it looks for in vain, if that may be it
}

// Output is a piece of what a task wrote.
type Output struct {
	Stderr bool   `cbor:"err,omitempty"`
	Data   []byte `cbor:"data"`
}

// Shell is the sandbox of a task, laid out on this machine. Its files stay for as long as the
// command does not leave.
type Shell struct {
	Task    string          `cbor:"task"`
	Node    string          `cbor:"node,omitempty"` // where the task ran
	Root    string          `cbor:"root"`
	Inputs  []sandbox.Input `cbor:"inputs,omitempty"`
	More    bool            `cbor:"more,omitempty"` // another Event has more Inputs
	Argv    []string        `cbor:"argv"`
	Env     []string        `cbor:"env,omitempty"`
	Stdin   string          `cbor:"stdin,omitempty"` // path of the task's standard input in the sandbox
	Outputs []wire.Output   `cbor:"outputs"`
	JobDir  string          `cbor:"job_dir,omitempty"`  // as in wire.Thunk
	WorkDir string          `cbor:"work_dir,omitempty"` // likewise
	Hints   wire.Hints      `cbor:"hints"`
	// Network says that the task has one, which is not here.
	Network bool `cbor:"network,omitempty"`
}

// Building says how tools of a build reach the agent.
type Building struct {
	Socket string `cbor:"socket"`
	Build  string `cbor:"build"`          // names the build
	Away   bool   `cbor:"away,omitempty"` // the mesh: tools run here
}

// Calls counts what became of the calls of tools in a build.
type Calls struct {
	Ran    int            `cbor:"ran"`            // on a node
	Memo   int            `cbor:"memo"`           // were known
	Shared int            `cbor:"shared"`         // with another build at the same time
	Here   int            `cbor:"here"`           // by the tool itself, on this machine
	Left   int            `cbor:"left,omitempty"` // lazy ones that nobody waited for
	Why    map[string]int `cbor:"why,omitempty"`
	Bound  map[string]int `cbor:"bound,omitempty"` // why calls that were to be portable depend on their directory

	// Again says why make has to run once more: a call failed that was deferred. Lost are files that
	// were not made, some of them; of a round after that, those that no call was to make again.
	Again string   `cbor:"again,omitempty" json:"-"`
	Lost  []string `cbor:"lost,omitempty" json:"-"`
}

// MeshInfo is a mesh this machine may use.
type MeshInfo struct {
	Name    string       `cbor:"name"`
	Mesh    wire.PeerID  `cbor:"mesh"`
	Addrs   []string     `cbor:"addrs"`
	Tenants []wire.Space `cbor:"tenants"`
	Expires int64        `cbor:"expires"` // of the certificate, Unix seconds
	InUse   bool         `cbor:"in_use,omitempty"`
}

// End is the last word about a command.
type End struct {
	Error     *wire.Error `cbor:"error,omitempty"` // infrastructure, usage, interruption
	Told      bool        `cbor:"told,omitempty"`  // Error is that of a Failed before it
	Job       wire.JobID  `cbor:"job"`
	Counts    wire.Counts `cbor:"counts"` // of a job
	Cancelled bool        `cbor:"cancelled,omitempty"`
	Files     int         `cbor:"files,omitempty"` // written
	Fetched   int64       `cbor:"fetched,omitempty"`
	Out       string      `cbor:"out,omitempty"`

	left bool // the command has left before it was said: what is counted is no end of a job
}
