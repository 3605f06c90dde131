package exchange

import (
	"sync"
	"time"
)

// outletSample is how long writes may take until they are a sample of the rate however few bytes they had:
// at 10 Mbit/s it is taken after 128 KiB.
const outletSample = 100 * time.Millisecond

// An outlet measures how fast a peer takes what it is sent. Time runs while at least one stream to it is
// in Write, so that what is not asked for, or not compressed yet, does not count.
type outlet struct {
	mu      sync.Mutex // guards the fields below
	writing int
	since   time.Time     // until when busy was counted
	busy    time.Duration // of the sample
	sample  int64         // bytes
	speed   speed
}

// begin and end bracket a write of n bytes.
func (o *outlet) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing++; o.writing == 1 {
		o.since = time.Now()
	}
}

func (o *outlet) end(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.writing--
	o.busy += now.Sub(o.since)
	o.since = now
	if o.sample += int64(n); o.sample >= rateSample || o.busy >= outletSample {
		o.speed.add(o.sample, o.busy)
		o.sample, o.busy = 0, 0
	}
}

// rate returns bytes per second, 0 if they are not known.
func (o *outlet) rate() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.speed.rate()
}
