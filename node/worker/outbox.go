package worker

import (
	"crypto/ed25519"
	"slices"
	"sync"

	"gaggle/wire"
)

// An outbox gathers what one connection is to send, in order, in frames that can go out as they
// are. Its user puts things in while it writes others, so a busy node sends few large frames and
// an idle one sends at once.
//
// Within a frame the coordinator reads Have before Lost. So nothing is added to a frame that has
// a Lost but more of them: an object lost and made again would count as lost.
type outbox struct {
	key  ed25519.PrivateKey // signs receipts
	wake chan struct{}      // has one element when there is something to take

	mu     sync.Mutex // guards the fields below
	frames []*frame
	taken  bool            // what take returned is still being written
	empty  []chan struct{} // to be closed when nothing is left
}

// A frame is a message under construction.
type frame struct {
	wire.FromNode
	receipts []wire.Receipt
	items    int
	bytes    int
}

const (
	// frameBytes is when a frame is full. Frames of a megabyte pass a 10 Mbit/s uplink within a
	// second, so that beats get through; wire.MaxFrame leaves room for a last large item.
	frameBytes = 1 << 20
	// maxFrames is how much may wait for a coordinator that does not read. Then the connection
	// is worth nothing; all of it is told anew on the next.
	maxFrames = 4_096
)

func newOutbox(key ed25519.PrivateKey) *outbox {
	return &outbox{key: key, wake: make(chan struct{}, 1)}
}

// add has put write one item of about the given size into the last frame, or a new one, and wakes
// the writer.
func (o *outbox) add(bytes int, put func(*frame)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.addLocked(bytes, put)
	o.nudge()
}

func (o *outbox) addLocked(bytes int, put func(*frame)) {
	var f *frame
	if n := len(o.frames); n > 0 {
		f = o.frames[n-1]
	}
	if f == nil || f.items >= wire.MaxBatch || f.bytes+bytes > frameBytes && f.items > 0 ||
		len(f.Lost) > 0 {
		f = new(frame)
		o.frames = append(o.frames, f)
	}
	put(f)
	f.items++
	f.bytes += bytes
}

// nudge wakes the writer. Called under o.mu.
func (o *outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns the frames so far, signed, and whether there are too many of them. The caller
// writes them and calls wrote.
func (o *outbox) take() (frames []*frame, overflow bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames, o.frames, o.taken = o.frames, nil, true
	for _, f := range frames {
		if len(f.receipts) > 0 {
			f.Receipts = wire.SignReceipts(o.key, f.receipts).Encode()
		}
	}
	return frames, len(frames) > maxFrames
}

// full reports whether more than one frame waits, so that gathering longer gains nothing.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.frames) > 1
}

func (o *outbox) wrote() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = false
	if len(o.frames) == 0 {
		o.release()
	}
}

// close lets those who wait for the outbox to drain go: nothing will be sent any more.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.release()
}

func (o *outbox) release() {
	for _, c := range o.empty {
		close(c)
	}
	o.empty = nil
}

// drained returns a channel that is closed once all that was put in has been written, or cannot
// be any more.
func (o *outbox) drained() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := make(chan struct{})
	if len(o.frames) == 0 && !o.taken {
		close(c)
	} else {
		o.empty = append(o.empty, c)
	}
	return c
}

// objectBytes is about what an object takes in a frame.
const objectBytes = 56

func (o *outbox) have(space wire.Space, objs []wire.Object) {
	for _, obj := range objs {
		o.add(objectBytes, func(f *frame) { f.Have = addObject(f.Have, space, obj) })
	}
}

func (o *outbox) stored(space wire.Space, objs []wire.Object) {
	for _, obj := range objs {
		o.add(objectBytes, func(f *frame) { f.Stored = addObject(f.Stored, space, obj) })
	}
}

// lost adds digests. Their kind is not known, and does not matter to the reader.
func (o *outbox) lost(space wire.Space, ds []wire.Digest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for part := range slices.Chunk(ds, wire.MaxBatch) {
		f := new(frame)
		for _, d := range part {
			f.Lost = addObject(f.Lost, space, wire.Object{Kind: wire.File, Digest: d})
		}
		o.frames = append(o.frames, f)
	}
	o.nudge()
}

func addObject(sets []wire.SpaceSet, space wire.Space, o wire.Object) []wire.SpaceSet {
	i := slices.IndexFunc(sets, func(s wire.SpaceSet) bool { return s.Space == space })
	if i < 0 {
		i = len(sets)
		sets = append(sets, wire.SpaceSet{Space: space})
	}
	sets[i].Objects = append(sets[i].Objects, o)
	return sets
}

func (o *outbox) outcome(c *outcome) {
	o.add(c.bytes(), func(f *frame) {
		if c.result != nil {
			f.Results = append(f.Results, *c.result)
		} else {
			f.Failures = append(f.Failures, *c.attempt)
		}
		f.receipts = append(f.receipts, c.receipt)
	})
}

// started leaves the writer asleep: of a small thunk the start travels with the result, and of
// others with the next progress, progressEvery later at most. It halves the frames of small ones.
func (o *outbox) started(l wire.LeaseID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.addLocked(9, func(f *frame) { f.Started = append(f.Started, l) })
}

func (o *outbox) recalled(l wire.LeaseID) {
	o.add(9, func(f *frame) { f.Recalled = append(f.Recalled, l) })
}

func (o *outbox) gone(g []wire.Gone) {
	for _, g := range g {
		o.add(128, func(f *frame) { f.Gone = append(f.Gone, g) })
	}
}

func (o *outbox) link(l wire.Link) {
	o.add(96, func(f *frame) { f.Links = append(f.Links, l) })
}

func (o *outbox) progress(p wire.Progress) {
	o.add(96, func(f *frame) { f.Progress = append(f.Progress, p) })
}

// tellPaths tells of paths if others than those told last, or of quite another round trip. It
// returns what was told last now.
func (o *outbox) tellPaths(now, told []wire.Path) []wire.Path {
	same := slices.EqualFunc(now, told, func(a, b wire.Path) bool {
		return a.Peer == b.Peer && a.Way == b.Way && (a.RTT-b.RTT).Abs() <= b.RTT/2
	})
	if same {
		return told
	}
	o.paths(now)
	return now
}

func (o *outbox) paths(p []wire.Path) {
	o.add(64*len(p), func(f *frame) { f.Paths = p })
}

func (o *outbox) crossed(p []wire.NetPath) {
	o.add(96*len(p), func(f *frame) { f.Crossed = p })
}

func (o *outbox) beat(b *wire.Beat) {
	o.add(64, func(f *frame) { f.Beat = b })
}
