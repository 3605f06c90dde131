package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// prepare makes the tables at path if there are none, and sees to it that bbolt can trust those that
// are there: older ones are converted, and what can be made again is left out if it is damaged. Any
// other damage is an error. Both leave the old file as it is until the new one is whole.
func prepare(path string, log *slog.Logger) error {
	fi, err := os.Stat(path)
	if err == nil && fi.Size() == 0 || errors.Is(err, os.ErrNotExist) {
		return replace(path, func(*ledger) error { return nil })
	}
	if err != nil {
		return err
	}
	shared := &bbolt.Options{Timeout: lockTimeout, ReadOnly: true}
	lock, err := guarded(func() (*bbolt.DB, error) { return bbolt.Open(path, 0o600, shared) })
	if err != nil {
		return err
	}
	return errors.Join(mend(path, log), lock.Close())
}

// mend does that for a file that nobody writes to.
func mend(path string, log *slog.Logger) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := newScan(f)
	if err != nil {
		return err
	}
	if s.format > tableFormat {
		return newerFormat(path, s.format)
	}
	v, err := s.judge()
	switch {
	case err != nil:
		return err
	case s.format == tableFormat && !v.copy:
		return settle(f, s.pages)
	case v.copy:
		log.Warn("the coordinator's tables are damaged; nothing is lost that cannot be made again: the rest is copied, and the old file kept",
			"file", path, "kept", path+".damaged", "damage", v.why)
		if err := keepAside(path); err != nil {
			return err
		}
	}
	return replace(path, func(l *ledger) error { return copyRows(f, v, l) })
}

// settle makes the last transaction durable that a process before this one began to end: what was
// flushed in vain, or not yet, may be in memory only, and the next transaction writes over pages that the
// one on the disk needs.
func settle(f *os.File, p *pages) error {
	b := make([]byte, 2*p.size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Sync()
}

// keepAside gives the file a second name, for whoever wants to look at it.
func keepAside(path string) error {
	aside := path + ".damaged"
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Link(path, aside)
}

// replace makes new tables, fills them, and puts them into the place of those at path.
func replace(path string, fill func(*ledger) error) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(fresh, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		l, err := newTables(tx)
		if err != nil {
			return err
		}
		if err := fill(l); err != nil {
			return err
		}
		return l.end()
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// newTables makes empty tables.
func newTables(tx *bbolt.Tx) (*ledger, error) {
	l := &ledger{tx: tx, tally: make(tally, len(tables))}
	for _, t := range append(tables, bucketMeta) {
		if _, err := tx.CreateBucketIfNotExists(t); err != nil {
			return l, err
		}
	}
	m := l.table(bucketMeta)
	return l, errors.Join(
		m.b.Put(keyFormat, binary.BigEndian.AppendUint32(nil, tableFormat)),
		m.put(keyEpoch, make([]byte, 4)),
		m.put(keySecret, secret()))
}

// copyRows copies what v lets stand of the tables in f.
func copyRows(f *os.File, v verdict, l *ledger) error {
	s, err := newScan(f)
	if err != nil {
		return err
	}
	for _, key := range [][]byte{keyEpoch, keySecret} {
		if row := s.meta[string(key)]; row != nil {
			if err := s.copyRow(l.table(bucketMeta), key, row); err != nil {
				return err
			}
		}
	}
	for _, table := range tables {
		if contains(v.lost, table) {
			continue
		}
		err := s.rows(table, func(prefix, key, row []byte) error {
			to := l.table(table)
			if prefix != nil {
				if to, err = to.open(prefix); err != nil {
					return err
				}
			}
			return s.copyRow(to, key, row)
		})
		if err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}

// copyRow copies a row, unless it is spoilt.
func (s *scan) copyRow(to section, key, row []byte) error {
	if s.format >= sealedFormat {
		var err error
		if row, _, err = unseal(to.table, to.prefix, key, row); err != nil {
			return nil // judged to be dispensable
		}
	}
	return to.put(bytes.Clone(key), row)
}

func contains(list [][]byte, b []byte) bool {
	for _, x := range list {
		if bytes.Equal(x, b) {
			return true
		}
	}
	return false
}

var errPanic = errors.New("the file is damaged")

// guarded runs f and turns a panic into an error: bbolt trusts its file, and reads pages beyond the end
// of a cut one through a memory map.
func guarded[T any](f func() (T, error)) (v T, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return f()
}
