//go:build !linux

package client

import (
	"os"

	"gaggle/coord/placeholder"
)

// streams are where the standard output and error of a process lead.
type streams [2]string

func streamsOf(int) (s streams, err error) { return s, placeholder.ErrUnsupported }

// recipe reports whether a process was started by a recipe of make that asks nothing of it but to do
// its work. That is not known here.
func recipe(int, streams, int) bool { return false }

func notifyWaiting(chan<- os.Signal) {}
