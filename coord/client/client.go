// Package client is what the commands of coord call, and the background process behind them.
//
// A state directory belongs to one process, the agent, which is started on demand and ends after
// five idle minutes. It owns the store, the identity key and the mesh configurations; it expands
// graphs, hashes inputs, captures tools, submits jobs, serves their inputs, fetches targets and
// writes them to disk. Without a mesh it is coordinator and node as well, with no network
// listener at all. A command sends it one Command over a unix socket and renders the Events that
// come back:
//
//	command                      agent                            coordinator
//	  | Hello ------------------> |                                    |
//	  | <---------------- Welcome |                                    |
//	  | Command, Input ... -----> | expands, hashes, captures          |
//	  | <--------- Hashing, Note  | Submit, SubmitChunks ------------> |
//	  | <---------------- Started | <------------ Accepted, Notices .. |
//	  | <-------- Notices ...     |                                    |
//	  | Cancel -----------------> | Cancel --------------------------> |
//	  | <---------- Written, End  | <----------------------------- Done|
//
// Both directions are wire's frames: a uvarint length and a text-keyed CBOR map. The connection
// carries one command. It ends with an Event that has End; a connection that ends without one
// means that the agent died. A command that goes away leaves its job running once it has Started.
//
// Of a job that believes some owners only (--trust) the agent has the coordinator show the signed
// claims that its targets rest on, and checks them before it writes any: see proof.go.
//
// Files of a state directory:
//
//	agent.lock   flock of the agent; its pid in decimal
//	agent.sock   where it listens (in the temporary directory if this path is too long for one)
//	agent.log    what it logged, and agent.log.1 the log before
//	key          identity, libp2p Ed25519
//	store/       blobs
//	local/       tables of the coordinator of jobs that run on this machine only, and its mesh key
//	meshes/      NAME.json for every mesh logged in to; "current" names the one in use
//	jobs/        JOB.json for each job submitted from here, JOB.graph if it came on standard input,
//	             JOB.thunks what was submitted, JOB.tasks what became of each task,
//	             JOB.wanted its targets, if it believes some owners only
//	capture/     root trees by what was asked for, with the identity of all that they were made from
//	history.json running times by kind of task
package client
