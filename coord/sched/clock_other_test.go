//go:build !linux

package sched

import "time"

var clockBegan = time.Now()

func stageClock() time.Duration { return time.Since(clockBegan) }
