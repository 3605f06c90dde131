// Command node runs tasks for a mesh. The first time it is given a ticket, which coord serve
// prints; from then on it is just started:
//
//	node --join gag1-...
//	node
//
// The state directory holds who this machine is and what it has been told: key (its identity),
// config.json, certificate, epoch, store and scratch. One process owns it at a time.
//
// It ends with 0 after SIGTERM, 130 after an interrupt, 2 if it was called wrongly or with a
// ticket that is no good, and 3 if the machine or the mesh does not let it work.
package main

import (
	"os"

	"gaggle/node/worker"
	"gaggle/sandbox"
)

func main() {
	sandbox.Main() // a thunk's helper process is this binary, too
	worker.Main()  // that of node doctor may be, too
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}
