package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// Every row begins with a seal, the first eight bytes of a hash of its table, its key and what
// follows: a row that rotted, or lies where it does not belong, is told from one that was written.
// The tally holds the sum of all seals of each table, so that rows which are missing, or of an earlier
// time, are noticed, too. Only the rows of the table meta bear no part in it: they must all be there.

const sealSize = 8

// tables are those with a tally, in the order in which it has them; new ones are added at the end. Those
// that can be made again come last, so that of two that claim a page the others have it.
var tables = [][]byte{bucketJobs, bucketEnded, bucketOrder, bucketTickets, bucketShut, bucketUnpins, bucketValues, bucketGraphs}

// A tally is the sum of the seals of each of tables.
type tally []uint64

// encode gives the form of the row: the format of the tables, then the sums, big endian.
func (t tally) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, tableFormat)
	for _, sum := range t {
		b = binary.BigEndian.AppendUint64(b, sum)
	}
	return b
}

func decodeTally(b []byte) (tally, error) {
	if len(b) < 4 || len(b)%8 != 4 || len(b) > 4+8*len(tables) || binary.BigEndian.Uint32(b) != tableFormat {
		return nil, errMalformed
	}
	t := make(tally, len(tables))
	for i := range len(b) / 8 {
		t[i] = binary.BigEndian.Uint64(b[4+8*i:])
	}
	return t, nil
}

func (t tally) of(table []byte) *uint64 {
	i := slices.IndexFunc(tables, func(name []byte) bool { return bytes.Equal(name, table) })
	if i < 0 {
		return new(uint64) // of meta
	}
	return &t[i]
}

// errSeal says that a row is not what was written.
var errSeal = errors.New("a row does not match its checksum")

func sealOf(table, prefix, key, value []byte) uint64 {
	b := make([]byte, 0, len(table)+len(prefix)+len(key)+len(value)+16)
	for _, part := range [][]byte{table, prefix, key} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	sum := sha256.Sum256(append(b, value...))
	return binary.BigEndian.Uint64(sum[:])
}

// sealed returns a row's stored form.
func sealed(table, prefix, key, value []byte) (row []byte, seal uint64) {
	seal = sealOf(table, prefix, key, value)
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, sealSize+len(value)), seal), value...), seal
}

// unseal returns what a stored row says, and its seal; prefix is the key of the bucket in its table
// that it is in, if it is in one.
func unseal(table, prefix, key, row []byte) (value []byte, seal uint64, err error) {
	if len(row) < sealSize {
		return nil, 0, fmt.Errorf("%w: %s %x", errSeal, table, key)
	}
	seal, value = binary.BigEndian.Uint64(row), row[sealSize:]
	if sealOf(table, prefix, key, value) != seal {
		return nil, seal, fmt.Errorf("%w: %s %x", errSeal, table, key)
	}
	return value, seal, nil
}

// A ledger writes the rows of one transaction and keeps the tally.
type ledger struct {
	tx    *bbolt.Tx
	tally tally
}

// A section is a table, or a bucket in one.
type section struct {
	sum    *uint64 // of the table
	b      *bbolt.Bucket
	table  []byte
	prefix []byte // key of the bucket in the table; nil for the table itself
}

func (l *ledger) table(name []byte) section {
	return section{sum: l.tally.of(name), b: l.tx.Bucket(name), table: name}
}

// begin reads the tally as it stands.
func (l *ledger) begin() error {
	v, err := l.table(bucketMeta).get(keyTally)
	if err == nil {
		l.tally, err = decodeTally(v)
	}
	return err
}

func (l *ledger) end() error { return l.table(bucketMeta).put(keyTally, l.tally.encode()) }

// get returns a row, nil if there is none.
func (s section) get(key []byte) ([]byte, error) {
	row := s.b.Get(key)
	if row == nil {
		return nil, nil
	}
	v, _, err := unseal(s.table, s.prefix, key, row)
	return v, err
}

func (s section) put(key, value []byte) error {
	if err := s.forget(key); err != nil {
		return err
	}
	row, seal := sealed(s.table, s.prefix, key, value)
	*s.sum += seal
	return s.b.Put(key, row)
}

func (s section) delete(key []byte) error {
	if err := s.forget(key); err != nil {
		return err
	}
	return s.b.Delete(key)
}

// forget takes a row out of the tally.
func (s section) forget(key []byte) error {
	row := s.b.Get(key)
	if row == nil {
		return nil
	}
	_, seal, err := unseal(s.table, s.prefix, key, row)
	*s.sum -= seal
	return err
}

// forEach yields the rows.
func (s section) forEach(yield func(key, value []byte) error) error {
	return s.b.ForEach(func(k, row []byte) error {
		if row == nil {
			return fmt.Errorf("%w: %s %x is a bucket", errSeal, s.table, k)
		}
		v, _, err := unseal(s.table, s.prefix, k, row)
		if err != nil {
			return err
		}
		return yield(k, v)
	})
}

// open returns the bucket of that key, which is made if it is not there.
func (s section) open(key []byte) (section, error) {
	b, err := s.b.CreateBucketIfNotExists(key)
	return section{s.sum, b, s.table, key}, err
}

// drop deletes the bucket of that key, if there is one.
func (s section) drop(key []byte) error {
	b := s.b.Bucket(key)
	if b == nil {
		return nil
	}
	in := section{s.sum, b, s.table, key}
	err := b.ForEach(func(k, _ []byte) error { return in.forget(k) })
	if err != nil {
		return err
	}
	return s.b.DeleteBucket(key)
}
