//go:build !linux

// Package boottime is the clock that goes on while a machine sleeps, where the system has one.
package boottime

import "time"

var begun = time.Now()

// Now stands in for the time since boot where nothing is leased: only clients run here.
func Now() time.Duration { return time.Since(begun) }
