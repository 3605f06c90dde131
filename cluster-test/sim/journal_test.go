package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gaggle/coord/sched"
	"gaggle/coord/server"
	"gaggle/wire"
)

// A disk is what survives a coordinator's crash: the rows of the transactions that were flushed.
type disk struct {
	// lies says that Write returns before the rows are flushed: a fault to show that the checks
	// find one.
	lies bool

	mu      sync.Mutex // guards the fields below
	rng     *rand.Rand
	epoch   uint32
	values  []sched.RowValue
	graphs  []sched.RowExpansion
	jobs    []sched.RowJob
	states  []sched.RowJobState
	shut    []sched.RowQuarantine
	unpins  []sched.RowUnpin
	serials map[uint64]uint64
	ever    map[any]bool // what was recorded at some time: a valueKey, an unpinKey, a jobKey or an endKey

	armed point
	hit   chan struct{} // closed when the armed point is reached
}

type (
	valueKey struct {
		space wire.Space
		thunk wire.ThunkID
	}
	unpinKey struct {
		peer wire.PeerID
		pin  wire.Pin
	}
	jobKey wire.JobID
	endKey wire.JobID
)

// A point is where a coordinator is killed.
type point int

const (
	nowhere    point = iota
	unflushed        // after Step, before the batch is flushed: it is lost
	unspokenOf       // after the batch is flushed, before anybody is told
)

func newDisk(seed uint64) *disk {
	return &disk{rng: rand.New(rand.NewPCG(seed, 0x6469_736b)), serials: map[uint64]uint64{}, ever: map[any]bool{}}
}

// arm has the next batch stop at a point, and returns what is closed then. What writes it is to be killed.
func (d *disk) arm(p point) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed, d.hit = p, make(chan struct{})
	return d.hit
}

func (d *disk) disarm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = nowhere
}

func (d *disk) has(key any) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ever[key]
}

// flushTime is how long a flush takes, now and then as on a disk that does much else.
func (d *disk) flushTime() time.Duration {
	if d.lies {
		return 300 * time.Millisecond // always: they are flushed in order
	}
	if d.rng.IntN(20) == 0 {
		return time.Duration(d.rng.IntN(500)) * time.Millisecond
	}
	return time.Duration(500+d.rng.IntN(5000)) * time.Microsecond
}

// A journal is one life's hold on the disk.
type journal struct {
	d      *disk
	killed chan struct{} // closed when the process was killed: nothing it writes counts any more
}

var _ server.Journal = (*journal)(nil)

var errDead = errors.New("this process was killed")

func newJournal(d *disk) *journal { return &journal{d, make(chan struct{})} }

// kill loses the batches that are not flushed.
func (j *journal) kill() {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	close(j.killed)
}

func (j *journal) dead() bool {
	select {
	case <-j.killed:
		return true
	default:
		return false
	}
}

func (j *journal) Begin() (uint32, []byte, error) {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	j.d.epoch++
	return j.d.epoch, []byte("secret of the mesh"), nil
}

func (j *journal) Load(yield func(sched.Row)) error {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	for _, r := range j.d.shut {
		yield(r)
	}
	for _, r := range j.d.values {
		yield(r)
	}
	for _, r := range j.d.graphs {
		yield(r)
	}
	for _, r := range j.d.jobs {
		if !j.d.ever[endKey(r.Submitted.Job)] {
			yield(r)
		}
	}
	for _, r := range j.d.states {
		yield(r)
	}
	for _, r := range j.d.unpins {
		yield(r)
	}
	return nil
}

// Write flushes the rows, unless the process is killed before that.
func (j *journal) Write(rows []sched.Row) error {
	j.d.mu.Lock()
	at, hit, takes := j.d.armed, j.d.hit, j.d.flushTime()
	if len(rows) > 0 {
		j.d.armed = nowhere
	} else {
		at = nowhere
	}
	j.d.mu.Unlock()
	switch {
	case at == unflushed:
		close(hit)
		<-j.killed
	case j.d.lies:
		time.AfterFunc(takes, func() { _ = j.flush(rows) }) // a dead one's are lost
		return nil
	default:
		select {
		case <-time.After(takes):
		case <-j.killed:
		}
	}
	err := j.flush(rows)
	if at == unspokenOf && err == nil {
		close(hit)
		<-j.killed
		return errDead
	}
	return err
}

func (j *journal) flush(rows []sched.Row) error {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	if j.dead() {
		return errDead
	}
	for _, row := range rows {
		j.d.apply(row)
	}
	return nil
}

// apply changes the tables. Called under d.mu.
func (d *disk) apply(row sched.Row) {
	switch r := row.(type) {
	case sched.RowValue:
		d.values = append(d.values, r)
		d.ever[valueKey{r.Space, r.Thunk}] = true
	case sched.RowWithdrawn:
		d.values = slices.DeleteFunc(d.values, func(o sched.RowValue) bool { return o.Space == r.Space && o.Thunk == r.Thunk })
	case sched.RowExpansion:
		d.graphs = append(d.graphs, r)
	case sched.RowJob:
		d.jobs = append(d.jobs, r)
		d.ever[jobKey(r.Submitted.Job)] = true
	case sched.RowQuarantine:
		d.shut = slices.DeleteFunc(d.shut, func(o sched.RowQuarantine) bool { return o.Quarantined.Peer == r.Quarantined.Peer })
		if !r.Quarantined.Over {
			d.shut = append(d.shut, r)
		}
	case sched.RowJobState:
		d.states = append(d.states, r)
		if r.Done != nil {
			d.ever[endKey(r.Job)] = true
		}
	case sched.RowUnpin:
		d.unpins = slices.DeleteFunc(d.unpins, func(o sched.RowUnpin) bool { return o.Peer == r.Peer && o.Pin == r.Pin })
		if !r.Over {
			d.unpins = append(d.unpins, r)
		}
		d.ever[unpinKey{r.Peer, r.Pin}] = true
	}
}

func (j *journal) Redeem(serial, uses uint64) (bool, error) {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	j.d.serials[serial]++
	return j.d.serials[serial] <= uses, nil
}

func (j *journal) Close() error { return nil }
