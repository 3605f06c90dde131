//go:build !linux

package client

import "time"

// cpuTime tells nothing here.
func cpuTime() (over func() time.Duration) { return func() time.Duration { return 0 } }
