package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// A Journal is the coordinator's durable tables. Calls do not overlap, but for Redeem.
type Journal interface {
	// NextEpoch durably counts up the lives of this coordinator and returns the new one, >= 1.
	NextEpoch() (uint32, error)
	// Load yields every row in the order that sched.Row asks for. A row that cannot be read is
	// skipped if what it says can be made again, else an error.
	Load(yield func(sched.Row)) error
	// Write applies rows in one transaction; they are durable when it returns nil, and none is
	// applied when it returns an error.
	Write(rows []sched.Row) error
	// Redeem durably remembers the serial of a ticket that is good for one use. It reports
	// whether this was the first time.
	Redeem(serial uint64) (bool, error)
	Close() error
}

// The tables, one bbolt bucket each:
//
//	meta     "epoch"            -> uint32, big endian
//	         "format"           -> uint32, big endian: tableFormat
//	values   space 00 thunk     -> valueRow
//	graphs   space 00 thunk out -> expansionRow (out is a uint32, big endian)
//	jobs     job                -> a bucket: "head" -> Submitted without tasks,
//	                               uint32 -> packTasks of some; gone when the job has ended
//	ended    job                -> endRow of a cancelled or ended job
//	order    uint64 -> job      in the order they ended, to forget the oldest
//	tickets  serial, uint64     -> time of use
//	shut     peer               -> shutRow of a member in quarantine
var (
	bucketMeta    = []byte("meta")
	bucketValues  = []byte("values")
	bucketGraphs  = []byte("graphs")
	bucketJobs    = []byte("jobs")
	bucketEnded   = []byte("ended")
	bucketOrder   = []byte("order")
	bucketTickets = []byte("tickets")
	bucketShut    = []byte("shut")
	keyEpoch      = []byte("epoch")
	keyFormat     = []byte("format")
	keyHead       = []byte("head")
)

// tableFormat is the version of the tables. Those of a newer one are refused; a change that this
// version would misread counts it up, and then reads or converts the older ones. Tables without
// one are of version 1.
const tableFormat = 1

// keepEnded is how many ended jobs are remembered for status and get.
const keepEnded = 200

type boltJournal struct{ db *bbolt.DB }

// OpenJournal opens or makes the tables in dir. If another process has them open the error says
// so within two seconds.
func OpenJournal(dir string) (Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "coord.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 2 * time.Second, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, wire.Errorf(wire.CauseBusy, "end that process, or give this one another --state", "another coordinator has %s open", dir)
	case err != nil:
		return nil, wire.Errorf(wire.CauseInternal, "move the file away to begin anew; results then have to be made again", "opening %s: %v", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketMeta, bucketValues, bucketGraphs, bucketJobs, bucketEnded, bucketOrder, bucketTickets, bucketShut} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return checkFormat(tx.Bucket(bucketMeta), path)
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("making tables in %s: %w", path, err)
	}
	return &boltJournal{db}, nil
}

func checkFormat(meta *bbolt.Bucket, path string) error {
	v := meta.Get(keyFormat)
	switch {
	case v == nil:
		return meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, tableFormat))
	case len(v) != 4:
		return wire.Errorf(wire.CauseInternal, "move it away to begin anew; results then have to be made again", "%s is damaged: its format is %x", path, v)
	}
	if is := binary.BigEndian.Uint32(v); is != tableFormat {
		return wire.Errorf(wire.CauseVersion, "update coord on this machine, or move the file away to begin anew",
			"%s was written by a newer coord: format %d, known here is %d", path, is, tableFormat)
	}
	return nil
}

func (j *boltJournal) Close() error { return j.db.Close() }

func (j *boltJournal) NextEpoch() (epoch uint32, err error) {
	err = j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketMeta)
		if v := b.Get(keyEpoch); len(v) == 4 {
			epoch = binary.BigEndian.Uint32(v)
		}
		epoch++
		return b.Put(keyEpoch, binary.BigEndian.AppendUint32(nil, epoch))
	})
	return epoch, err
}

func (j *boltJournal) Redeem(serial uint64) (first bool, err error) {
	key := binary.BigEndian.AppendUint64(nil, serial)
	err = j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketTickets)
		if first = b.Get(key) == nil; !first {
			return nil
		}
		return b.Put(key, binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())))
	})
	return first, err
}

func (j *boltJournal) Write(rows []sched.Row) error {
	if len(rows) == 0 {
		return nil
	}
	return j.db.Update(func(tx *bbolt.Tx) error {
		for _, r := range rows {
			if err := writeRow(tx, r); err != nil {
				return fmt.Errorf("%T: %w", r, err)
			}
		}
		return nil
	})
}

func writeRow(tx *bbolt.Tx, row sched.Row) error {
	switch r := row.(type) {
	case sched.RowValue:
		return put(tx.Bucket(bucketValues), thunkKey(r.Space, r.Thunk), newValueRow(r))
	case sched.RowWithdrawn:
		return tx.Bucket(bucketValues).Delete(thunkKey(r.Space, r.Thunk))
	case sched.RowExpansion:
		key := binary.BigEndian.AppendUint32(thunkKey(r.Expanded.Space, r.Expanded.Thunk), uint32(r.Expanded.Output))
		return put(tx.Bucket(bucketGraphs), key, newExpansionRow(r))
	case sched.RowJob:
		return writeJob(tx.Bucket(bucketJobs), r.Submitted)
	case sched.RowJobState:
		return writeEnd(tx, r)
	case sched.RowQuarantine:
		if r.Quarantined.Over {
			return tx.Bucket(bucketShut).Delete(r.Quarantined.Peer[:])
		}
		return put(tx.Bucket(bucketShut), r.Quarantined.Peer[:], newShutRow(r.Quarantined))
	}
	return fmt.Errorf("unknown row")
}

// writeEnd records a job's new state; its tasks are not needed any more once it has ended.
func writeEnd(tx *bbolt.Tx, r sched.RowJobState) error {
	ended := tx.Bucket(bucketEnded)
	if r.Released && r.Done == nil {
		if old, err := getEnd(ended.Get(r.Job[:])); err == nil && old.Done != nil {
			r.Done, r.Status, r.At = old.Done, old.Status, time.UnixMicro(old.At)
		}
	}
	first := ended.Get(r.Job[:]) == nil
	if err := put(ended, r.Job[:], newEndRow(r)); err != nil {
		return err
	}
	if r.Done == nil {
		return nil
	}
	if err := tx.Bucket(bucketJobs).DeleteBucket(r.Job[:]); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
		return err
	}
	order := tx.Bucket(bucketOrder)
	if !first && !r.Released {
		return nil
	}
	n, err := order.NextSequence()
	if err != nil {
		return err
	}
	if err := order.Put(binary.BigEndian.AppendUint64(nil, n), r.Job[:]); err != nil {
		return err
	}
	return forgetOldest(ended, order, n)
}

// forgetOldest drops what stands keepEnded places before n in the order of ending.
func forgetOldest(ended, order *bbolt.Bucket, n uint64) error {
	c := order.Cursor()
	for k, job := c.First(); len(k) == 8 && binary.BigEndian.Uint64(k)+keepEnded <= n; k, job = c.Next() {
		if err := ended.Delete(job); err != nil {
			return err
		}
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

func (j *boltJournal) Load(yield func(sched.Row)) error {
	return j.db.View(func(tx *bbolt.Tx) error {
		if err := loadShut(tx, yield); err != nil {
			return err
		}
		if err := loadValues(tx, yield); err != nil {
			return err
		}
		if err := loadJobs(tx, yield); err != nil {
			return err
		}
		return tx.Bucket(bucketEnded).ForEach(func(k, v []byte) error {
			e, err := getEnd(v)
			if err != nil || len(k) != len(wire.JobID{}) {
				return nil // history only: the job is not run again for want of it
			}
			yield(sched.RowJobState{Job: wire.JobID(k), Cancelled: e.Cancelled, Released: e.Released, Done: e.Done, Status: e.Status, At: time.UnixMicro(e.At)})
			return nil
		})
	})
}

// loadShut yields the members in quarantine. A row that cannot be read is an error: a node that
// lied must not be let in for that.
func loadShut(tx *bbolt.Tx, yield func(sched.Row)) error {
	return tx.Bucket(bucketShut).ForEach(func(k, v []byte) error {
		q, err := getShut(k, v)
		if err != nil {
			return fmt.Errorf("quarantine of %x: %w", k, err)
		}
		yield(sched.RowQuarantine{Quarantined: q})
		return nil
	})
}

// loadValues yields values and expansions. One that cannot be read is left out: it is made again.
func loadValues(tx *bbolt.Tx, yield func(sched.Row)) error {
	err := tx.Bucket(bucketValues).ForEach(func(k, v []byte) error {
		if row, err := getValue(k, v); err == nil {
			yield(row)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Bucket(bucketGraphs).ForEach(func(k, v []byte) error {
		if row, err := getExpansion(k, v); err == nil {
			yield(row)
		}
		return nil
	})
}

func loadJobs(tx *bbolt.Tx, yield func(sched.Row)) error {
	jobs := tx.Bucket(bucketJobs)
	return jobs.ForEachBucket(func(k []byte) error {
		sub, err := getJob(jobs.Bucket(k))
		if err != nil {
			return fmt.Errorf("job %x: %w", k, err)
		}
		if copy(sub.Job[:], k) != len(sub.Job) || len(k) != len(sub.Job) {
			return fmt.Errorf("job %x: %w", k, errMalformed)
		}
		yield(sched.RowJob{Submitted: sub})
		return nil
	})
}
