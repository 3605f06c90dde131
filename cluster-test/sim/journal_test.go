package sim

import (
	"errors"
	"slices"
	"sync"

	"gaggle/coord/sched"
	"gaggle/coord/server"
	"gaggle/wire"
)

// A disk is what survives a coordinator's crash: the rows of the transactions that ended.
type disk struct {
	mu      sync.Mutex // guards the fields below
	epoch   uint32
	values  []sched.RowValue
	graphs  []sched.RowExpansion
	jobs    []sched.RowJob
	states  []sched.RowJobState
	shut    []sched.RowQuarantine
	serials map[uint64]bool
}

// A journal is one life's hold on the disk.
type journal struct {
	d    *disk
	dead bool // under d.mu: the process was killed; nothing it writes counts any more
}

var _ server.Journal = (*journal)(nil)

var errDead = errors.New("this process was killed")

func (j *journal) kill() {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	j.dead = true
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
	over := map[wire.JobID]bool{}
	for _, r := range j.d.states {
		over[r.Job] = over[r.Job] || r.Done != nil
	}
	for _, r := range j.d.jobs {
		if !over[r.Submitted.Job] {
			yield(r)
		}
	}
	for _, r := range j.d.states {
		yield(r)
	}
	return nil
}

func (j *journal) Write(rows []sched.Row) error {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	if j.dead {
		return errDead
	}
	for _, row := range rows {
		switch r := row.(type) {
		case sched.RowValue:
			j.d.values = append(j.d.values, r)
		case sched.RowExpansion:
			j.d.graphs = append(j.d.graphs, r)
		case sched.RowJob:
			j.d.jobs = append(j.d.jobs, r)
		case sched.RowQuarantine:
			j.d.shut = slices.DeleteFunc(j.d.shut, func(o sched.RowQuarantine) bool { return o.Quarantined.Peer == r.Quarantined.Peer })
			if !r.Quarantined.Over {
				j.d.shut = append(j.d.shut, r)
			}
		case sched.RowJobState:
			j.d.states = append(j.d.states, r)
		}
	}
	return nil
}

func (j *journal) Redeem(serial uint64) (bool, error) {
	j.d.mu.Lock()
	defer j.d.mu.Unlock()
	first := !j.d.serials[serial]
	j.d.serials[serial] = true
	return first, nil
}

func (j *journal) Close() error { return nil }
