package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// A Journal is the coordinator's durable tables. Calls do not overlap, but for Redeem. Errors are
// *wire.Error: of CauseDiskFull if there is no room, which changes nothing and can be tried again; of
// CauseDisk if the disk fails or the tables are damaged, after which every call gives the same.
type Journal interface {
	// Begin durably counts up the lives of this coordinator and returns the new one, >= 1, and a
	// secret of the coordinator's, the same in all of them.
	Begin() (epoch uint32, secret []byte, err error)
	// Load yields every row in the order that sched.Row asks for. A row that cannot be read is
	// skipped if what it says can be made again, else an error.
	Load(yield func(sched.Row)) error
	// Write applies rows in one transaction. They are durable when it returns nil. After an error
	// of CauseDisk all or none of them may be there when the tables are opened again.
	Write(rows []sched.Row) error
	// Redeem durably counts a use of a ticket, by its serial, that is good for so many. It reports
	// whether this was one of them.
	Redeem(serial, uses uint64) (bool, error)
	Close() error
}

// The tables, one bbolt bucket each, with rows as in ledger.go:
//
//	meta     "format"           -> uint32, big endian: tableFormat, as the only row without a seal
//	         "epoch"            -> uint32, big endian
//	         "secret"           -> 32 random bytes
//	         "tally"            -> see tally
//	values   space 00 thunk     -> valueRow
//	graphs   space 00 thunk out -> expansionRow (out is a uint32, big endian)
//	jobs     job                -> a bucket: "head" -> Submitted without tasks,
//	                               uint32 -> packTasks of some; gone when the job has ended
//	ended    job                -> endRow of a cancelled or ended job
//	order    uint64 -> job      in the order they ended, to forget the oldest
//	tickets  serial, uint64     -> time of the last use, Unix seconds in 8 bytes, and how many in 8
//	                               more; those of older versions, of one, end after the time
//	shut     peer               -> shutRow of a member in quarantine
//	unpins   peer space 00 digest owner -> unpinRow of what a member was not told yet
var (
	bucketMeta    = []byte("meta")
	bucketValues  = []byte("values")
	bucketGraphs  = []byte("graphs")
	bucketJobs    = []byte("jobs")
	bucketEnded   = []byte("ended")
	bucketOrder   = []byte("order")
	bucketTickets = []byte("tickets")
	bucketShut    = []byte("shut")
	bucketUnpins  = []byte("unpins")
	keyEpoch      = []byte("epoch")
	keyFormat     = []byte("format")
	keySecret     = []byte("secret")
	keyTally      = []byte("tally")
	keyHead       = []byte("head")
)

// tableFormat is the version of the tables. Those of a newer one are refused; a change that this
// version would misread counts it up, and then reads or converts the older ones. Tables without
// one are of version 1, which had no seals, tally and secret.
const (
	tableFormat  = 2
	sealedFormat = 2 // the first with seals
)

// keepEnded is how many ended jobs are remembered for status and get.
const keepEnded = 200

// lockTimeout bounds the wait for another process to let go of the tables.
const lockTimeout = 2 * time.Second

type boltJournal struct {
	db   *bbolt.DB
	path string

	mu     sync.Mutex  // guards the fields below
	failed *wire.Error // what every call returns from now on
	stuck  bool        // bbolt may hold its locks for ever
}

// OpenJournal opens or makes the tables in dir. If another process has them open the error says
// so within two seconds. What is damaged and can be made again is left out, and log told of it;
// other damage is an error of CauseDisk that names the file.
func OpenJournal(dir string, log *slog.Logger) (Journal, error) {
	j := &boltJournal{path: filepath.Join(dir, "coord.db")}
	err := os.MkdirAll(dir, 0o700)
	var lock io.Closer // until bbolt has its own: it locks a file, and prepare may replace it
	if err == nil {
		lock, err = lockFile(j.path + ".lock")
	}
	if err == nil {
		defer lock.Close()
		err = prepare(j.path, log)
	}
	if err == nil {
		j.db, err = guarded(func() (*bbolt.DB, error) {
			return bbolt.Open(j.path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
		})
	}
	if err != nil {
		return nil, j.fault("opening", err)
	}
	return j, nil
}

func newerFormat(path string, is uint32) error {
	return wire.Errorf(wire.CauseVersion, "update coord on this machine, or move the file away to begin anew",
		"%s was written by a newer coord: format %d, known here is %d", path, is, tableFormat)
}

// fault puts an error into words for people. It is nil for nil.
func (j *boltJournal) fault(doing string, err error) *wire.Error {
	var e *wire.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, bolterrors.ErrTimeout):
		return wire.Errorf(wire.CauseBusy, "end that process, or give this one another --state", "another coordinator has %s open", filepath.Dir(j.path))
	case diskFull(err):
		return wire.Errorf(wire.CauseDiskFull, "free some space on its disk; what was accepted is kept", "%s %s: %v", doing, j.path, withoutPath(err))
	case damaged(err):
		return wire.Errorf(wire.CauseDisk, "check its disk, and put a copy of the file in its place, or move it away to begin anew; jobs that had not ended have to be submitted again then",
			"%s is damaged: %v", j.path, err)
	}
	return wire.Errorf(wire.CauseDisk, "check its disk and that the file may be read and written, then start the coordinator again; what was accepted is in it",
		"%s %s: %v", doing, j.path, withoutPath(err))
}

// withoutPath leaves out the file's name, which is told anyway.
func withoutPath(err error) error {
	var in *fs.PathError
	if errors.As(err, &in) {
		return in.Err
	}
	return err
}

func damaged(err error) bool {
	for _, is := range []error{errStructure, errSeal, errMalformed, errPanic, bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum} {
		if errors.Is(err, is) {
			return true
		}
	}
	return err != nil && strings.HasPrefix(err.Error(), "file size too small") // of bbolt
}

// update carries out a transaction.
func (j *boltJournal) update(f func(*ledger) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return j.failed
	}
	var id int
	_, err := guarded(func() (any, error) {
		return nil, j.db.Update(func(tx *bbolt.Tx) error {
			id = tx.ID()
			l := &ledger{tx: tx}
			if err := l.begin(); err != nil {
				return err
			}
			if err := f(l); err != nil {
				return err
			}
			return l.end()
		})
	})
	e := j.fault("writing", err)
	if e == nil {
		return nil
	}
	j.stuck = errors.Is(err, errPanic)
	if e.Cause == wire.CauseDiskFull && j.last() < id {
		return e
	}
	j.failed = e
	if e.Cause == wire.CauseDiskFull { // it is in the file, but nobody knows whether it is on the disk
		j.failed = wire.Errorf(wire.CauseDisk, "free some space on its disk and start the coordinator again; what was accepted is kept", "%s", e.Message)
	}
	return j.failed
}

// last returns the number of the last transaction that bbolt sees in the file.
func (j *boltJournal) last() (id int) {
	_, err := guarded(func() (any, error) {
		return nil, j.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil })
	})
	if err != nil {
		return math.MaxInt
	}
	return id
}

func (j *boltJournal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stuck {
		return nil // it ends with the process
	}
	return j.db.Close()
}

func (j *boltJournal) Begin() (epoch uint32, secret []byte, err error) {
	err = j.update(func(l *ledger) error {
		m := l.table(bucketMeta)
		v, err := m.get(keyEpoch)
		if err == nil && len(v) != 4 {
			err = fmt.Errorf("epoch: %w", errMalformed)
		}
		if err == nil {
			secret, err = m.get(keySecret)
			secret = bytes.Clone(secret)
		}
		if err != nil {
			return err
		}
		epoch = binary.BigEndian.Uint32(v) + 1
		return m.put(keyEpoch, binary.BigEndian.AppendUint32(nil, epoch))
	})
	return epoch, secret, err
}

func (j *boltJournal) Redeem(serial, uses uint64) (good bool, err error) {
	key := binary.BigEndian.AppendUint64(nil, serial)
	err = j.update(func(l *ledger) error {
		t := l.table(bucketTickets)
		v, err := t.get(key)
		if err != nil {
			return err
		}
		used := uint64(0)
		switch len(v) {
		case 0:
		case 16:
			used = binary.BigEndian.Uint64(v[8:])
		default:
			used = 1
		}
		if good = used < uses; !good {
			return nil
		}
		row := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()))
		return t.put(key, binary.BigEndian.AppendUint64(row, used+1))
	})
	return good && err == nil, err
}

func (j *boltJournal) Write(rows []sched.Row) error {
	if len(rows) == 0 {
		return nil
	}
	return j.update(func(l *ledger) error {
		for _, r := range rows {
			if err := l.write(r); err != nil {
				return fmt.Errorf("%T: %w", r, err)
			}
		}
		return nil
	})
}

func (l *ledger) write(row sched.Row) error {
	switch r := row.(type) {
	case sched.RowValue:
		return put(l.table(bucketValues), thunkKey(r.Space, r.Thunk), newValueRow(r))
	case sched.RowWithdrawn:
		return l.table(bucketValues).delete(thunkKey(r.Space, r.Thunk))
	case sched.RowExpansion:
		key := binary.BigEndian.AppendUint32(thunkKey(r.Expanded.Space, r.Expanded.Thunk), uint32(r.Expanded.Output))
		return put(l.table(bucketGraphs), key, newExpansionRow(r))
	case sched.RowJob:
		return writeJob(l.table(bucketJobs), r.Submitted)
	case sched.RowJobState:
		return l.writeEnd(r)
	case sched.RowQuarantine:
		if r.Quarantined.Over {
			return l.table(bucketShut).delete(r.Quarantined.Peer[:])
		}
		return put(l.table(bucketShut), r.Quarantined.Peer[:], newShutRow(r.Quarantined))
	case sched.RowUnpin:
		if r.Over {
			return l.table(bucketUnpins).delete(unpinKey(r))
		}
		return put(l.table(bucketUnpins), unpinKey(r), newUnpinRow(r))
	}
	return fmt.Errorf("unknown row")
}

// writeEnd records a job's new state; its tasks are not needed any more once it has ended.
func (l *ledger) writeEnd(r sched.RowJobState) error {
	ended := l.table(bucketEnded)
	row, err := ended.get(r.Job[:])
	if err != nil {
		return err
	}
	first := row == nil
	if r.Released && r.Done == nil {
		if old, err := getEnd(row); err == nil && old.Done != nil {
			r.Done, r.Status, r.At = old.Done, old.Status, time.UnixMicro(old.At)
		}
	}
	if err := put(ended, r.Job[:], newEndRow(r)); err != nil || r.Done == nil {
		return err
	}
	if err := l.table(bucketJobs).drop(r.Job[:]); err != nil {
		return err
	}
	if !first && !r.Released {
		return nil
	}
	order := l.table(bucketOrder)
	n := uint64(1)
	if last, _ := order.b.Cursor().Last(); len(last) == 8 {
		n += binary.BigEndian.Uint64(last)
	}
	if err := order.put(binary.BigEndian.AppendUint64(nil, n), r.Job[:]); err != nil {
		return err
	}
	return forgetOldest(ended, order, n)
}

// forgetOldest drops what stands keepEnded places before n in the order of ending.
func forgetOldest(ended, order section, n uint64) error {
	for {
		k, _ := order.b.Cursor().First()
		if len(k) != 8 || binary.BigEndian.Uint64(k)+keepEnded > n {
			return nil
		}
		job, err := order.get(k)
		if err != nil {
			return err
		}
		if err := ended.delete(job); err != nil {
			return err
		}
		if err := order.delete(bytes.Clone(k)); err != nil {
			return err
		}
	}
}
