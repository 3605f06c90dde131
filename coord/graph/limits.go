package graph

import "gaggle/wire"

// Bounds on a graph file beyond those of wire.
const (
	// maxYAML bounds a YAML file. People write YAML; the parser of it holds about 50 bytes for
	// each of the text's, so programs print JSON.
	maxYAML = 16 << 20
	// maxNodes bounds the values of a file with every YAML alias counted where it is used, so
	// that a few kilobytes of aliases of aliases do not become gigabytes. A node is 72 bytes.
	maxNodes = 4 << 20
	// maxDepth bounds nested lists and objects; a graph needs seven.
	maxDepth = 32
	// maxProblems bounds how many problems are reported at once: a screenful.
	maxProblems = 10
	// maxInstances bounds the instances of one graph; the coordinator counts the job's.
	maxInstances = wire.MaxJobThunks
	// maxArg is Linux's MAX_ARG_STRLEN, which bounds one argument or environment string.
	maxArg = 128 << 10
	// maxArgs bounds all of them together: ARG_MAX at the default stack limit, with room for
	// what the sandbox adds.
	maxArgs = 2<<20 - 64<<10
	// maxKey is the most of a key that is shown in a task's name or used as a file name.
	maxKey = 120
	// maxSubThunks bounds the thunks of one sub-graph, which the coordinator makes in memory; a
	// larger one nests.
	maxSubThunks = 200_000
	// maxPlan bounds the encoded thunks of one graph, so that a for over a long script does not
	// fill the memory; 2 GiB is 1 KiB for each of wire.MaxJobThunks. A sub-graph is expanded by
	// the coordinator, beside others.
	maxPlan    = 2 << 30
	maxSubPlan = 256 << 20
	// hashers is how many local files are hashed at once.
	hashers = 8
)
