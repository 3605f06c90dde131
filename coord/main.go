// Coord submits work to a mesh, or to this machine alone, and coordinates meshes.
package main

import (
	"os"

	"gaggle/coord/gate"
	"gaggle/node/worker"
	"gaggle/sandbox"
	"gaggle/sandbox/capture"
)

func main() {
	sandbox.Main() // the local background process runs thunks
	worker.Main()  // that of coord doctor may be this program
	capture.Main() // coord capture becomes the command that it watches
	gate.Main()    // coord make becomes make
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
