//go:build !linux

package worker

import "time"

var begun = time.Now()

// bootTime stands in for the time since boot where nothing is leased: only clients run here.
func bootTime() time.Duration { return time.Since(begun) }
