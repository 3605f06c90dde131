package worker

import (
	"testing"
	"time"
)

// TestClockIsTheCoordinators: what a coordinator has told goes on with the time since boot, wherever
// the wall clock jumps; one that tells nothing leaves the wall clock.
func TestClockIsTheCoordinators(t *testing.T) {
	boot, wall := time.Hour, time.Unix(1_000_000, 0)
	c := &Clock{Boot: func() time.Duration { return boot }, Wall: func() time.Time { return wall }}
	c.set(0)
	if got := c.Now(); !got.Equal(wall) {
		t.Errorf("before it is told: %v, want %v", got, wall)
	}
	told := time.Unix(2_000_000, 0)
	c.set(told.UnixMicro())
	boot += time.Minute
	wall = wall.Add(-300 * time.Hour)
	if got, want := c.Now(), told.Add(time.Minute); !got.Equal(want) {
		t.Errorf("a minute after it was told: %v, want %v", got, want)
	}
	c.set(0) // an older coordinator took over
	if got, want := c.Now(), told.Add(time.Minute); !got.Equal(want) {
		t.Errorf("told nothing: %v, want %v", got, want)
	}
}
