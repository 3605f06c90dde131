package server

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"gaggle/coord/sched"
	"gaggle/wire"
)

func (j *boltJournal) Load(yield func(sched.Row)) error {
	_, err := guarded(func() (any, error) {
		return nil, j.db.View(func(tx *bbolt.Tx) error { return (&ledger{tx: tx, tally: make(tally, len(tables))}).load(yield) })
	})
	if err != nil {
		return j.fault("reading", err)
	}
	return nil
}

func (l *ledger) load(yield func(sched.Row)) error {
	for _, load := range []func(func(sched.Row)) error{l.loadShut, l.loadValues, l.loadJobs, l.loadEnded, l.loadUnpins} {
		if err := load(yield); err != nil {
			return err
		}
	}
	return nil
}

// loadShut yields the members in quarantine. A row that cannot be read is an error: a node that
// lied must not be let in for that.
func (l *ledger) loadShut(yield func(sched.Row)) error {
	return l.table(bucketShut).forEach(func(k, v []byte) error {
		q, err := getShut(k, v)
		if err != nil {
			return fmt.Errorf("quarantine of %x: %w", k, err)
		}
		yield(sched.RowQuarantine{Quarantined: q})
		return nil
	})
}

// loadValues yields values and expansions. One that cannot be read is left out: it is made again.
func (l *ledger) loadValues(yield func(sched.Row)) error {
	err := l.table(bucketValues).forEach(func(k, v []byte) error {
		if row, err := getValue(k, v); err == nil {
			yield(row)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.table(bucketGraphs).forEach(func(k, v []byte) error {
		if row, err := getExpansion(k, v); err == nil {
			yield(row)
		}
		return nil
	})
}

func (l *ledger) loadJobs(yield func(sched.Row)) error {
	jobs := l.table(bucketJobs)
	return jobs.b.ForEachBucket(func(k []byte) error {
		sub, err := getJob(section{jobs.sum, jobs.b.Bucket(k), jobs.table, k})
		if err == nil && len(k) != copy(sub.Job[:], k) {
			err = errMalformed
		}
		if err != nil {
			return fmt.Errorf("job %x: %w", k, err)
		}
		yield(sched.RowJob{Submitted: sub})
		return nil
	})
}

func (l *ledger) loadEnded(yield func(sched.Row)) error {
	return l.table(bucketEnded).forEach(func(k, v []byte) error {
		e, err := getEnd(v)
		if err != nil || len(k) != len(wire.JobID{}) {
			return fmt.Errorf("end of job %x: %w", k, errors.Join(err, errMalformed))
		}
		yield(sched.RowJobState{Job: wire.JobID(k), Cancelled: e.Cancelled, Released: e.Released, Done: e.Done, Status: e.Status, At: time.UnixMicro(e.At)})
		return nil
	})
}

func (l *ledger) loadUnpins(yield func(sched.Row)) error {
	return l.table(bucketUnpins).forEach(func(k, v []byte) error {
		r, err := getUnpin(k, v)
		if err != nil {
			return fmt.Errorf("unpin of %x: %w", k, err)
		}
		yield(r)
		return nil
	})
}
