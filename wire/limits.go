package wire

import "time"

// Every bound on what a peer, a disk or a user can make us hold stands here with its reason.
const (
	// MaxName bounds names of tasks, tenants and labels (GRAPH.md).
	MaxName = 100
	// MaxPath bounds a path inside a tree, a job directory or a value: Linux's PATH_MAX less
	// room for the directory it is laid out in.
	MaxPath = 3800
	// MaxPathElement is Linux's NAME_MAX.
	MaxPathElement = 255
	// MaxTreeDepth bounds nested directories; deeper trees exceed PATH_MAX anyway.
	MaxTreeDepth = 256
	// MaxTreeEntries bounds one directory, so that its encoding fits MaxObject.
	MaxTreeEntries = 250_000
	// MaxObject bounds an encoded tree, thunk or value: 32 MiB holds a directory of
	// MaxTreeEntries entries with names of 60 bytes.
	MaxObject = 32 << 20
	// MaxThunk bounds an encoded thunk. execve takes 2 MiB of arguments (ARG_MAX at the default
	// stack limit); the rest is for inputs.
	MaxThunk = 4 << 20
	// MaxArgs bounds arguments and environment strings of a thunk, each.
	MaxArgs = 65_536
	// MaxInputs bounds the inputs of one thunk; more belong in a tree.
	MaxInputs = 100_000
	// MaxOutputs bounds the declared outputs of one thunk.
	MaxOutputs = 1_000
	// MaxBlob bounds one blob: 1 TiB, far above any real file, below what overflows sums.
	MaxBlob = 1 << 40
	// MaxFrame bounds one frame of a control stream: a thunk, or a batch of small messages.
	MaxFrame = 8 << 20
	// MaxList bounds one list in a message. A list element may be an empty map of one byte that
	// decodes to some 300, so this, not MaxFrame, is what a frame may cost its reader; elements
	// of real long lists hold a digest, and MaxFrame ends them at about this number.
	MaxList = 1 << 17
	// MaxBatch bounds the items a frame may carry (DESIGN section 5: 512 events a Step).
	MaxBatch = 512
	// MaxJobThunks bounds a job and all its sub-graphs together.
	MaxJobThunks = 2_000_000
	// MaxNesting bounds sub-graphs within sub-graphs; gg's fib(90) nests 90 deep.
	MaxNesting = 1_000
	// MaxGraphFile bounds a graph file, as text.
	MaxGraphFile = 64 << 20
	// MaxClaims bounds the claims kept for one thunk: one a signer (the coordinator keeps two if one of
	// them is of the value claimed first), and a few signers are plenty to tell a liar from a
	// nondeterministic thunk.
	MaxClaims = 8
	// MaxTrust bounds the owners that have to claim the same value: no more claims are kept.
	MaxTrust = MaxClaims
	// MaxText bounds a message meant for people, and MaxTail the kept end of an output stream.
	MaxText = 4 << 10
	MaxTail = 64 << 10
	// MaxHolders bounds the holder hints in an offer; DESIGN section 7 spreads a hot input over
	// about eight.
	MaxHolders = 8
	// MaxThen bounds the continuation of an offer, and MaxThenBytes its thunks: DESIGN section 5.
	MaxThen      = 64
	MaxThenBytes = 64 << 10
	// MaxGang bounds the members of a gang, of which each node is told all that are on its network:
	// 200 KiB. Particle (SoCC'20) shows a hundred.
	MaxGang = 1_024
	// MaxHost is the highest number of a node among those that give networks, of 13 bits, and
	// MaxVNI that of a network (RFC 7348) but for the last, in which hosts try the path between them.
	MaxHost = 1<<13 - 1
	MaxVNI  = 1<<24 - 2
	// MaxAddrs bounds the addresses a peer may advertise.
	MaxAddrs = 16
	// MaxPaths bounds the paths that a node tells of: what people can look at.
	MaxPaths = 64
	// MaxNetPaths bounds what a node tells of its networks, and MaxJobNetworks those that one answer
	// about a job describes: what people can look at, and 4 MiB with all members' names.
	MaxNetPaths    = 64
	MaxJobNetworks = 50
	// MaxPeers bounds the members a coordinator serves at once.
	MaxPeers = 2_000
	// MaxRevoked bounds the revocations that a member keeps: twice the members of the largest mesh, in
	// the four months that each lasts. They fit one frame, at 160 bytes each.
	MaxRevoked = 2 * MaxPeers
	// MaxClockSkew is how far two members' wall clocks may differ before certificates and
	// tickets are judged by a wrong clock; NTP holds milliseconds, a flat CMOS battery years.
	MaxClockSkew = 5 * time.Minute
	// CertLife is how long a membership certificate lasts; renewal starts at half of it.
	CertLife = 30 * 24 * time.Hour
	// RenewGrace is how long after expiry a member may still renew by proving its key.
	RenewGrace = 90 * 24 * time.Hour
	// TicketLife is how long a join ticket may be used unless said otherwise.
	TicketLife = 24 * time.Hour
	// GrantLife is how long a grant to read a space lasts; it is renewed with the offers.
	GrantLife = time.Hour
)
