package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// A scan reads a file of tables without bbolt, see pages.
type scan struct {
	pages  *pages
	roots  map[string][]byte // the tables' buckets
	meta   map[string][]byte // the rows of that table as they are stored
	format uint32            // 0 if there are no tables yet
	tally  tally             // from format 2 on
}

// newScan reads the file as far as the table meta. Nothing may write to it meanwhile.
func newScan(f io.ReaderAt) (*scan, error) {
	p, err := openPages(f)
	if err != nil {
		return nil, err
	}
	s := &scan{pages: p, roots: map[string][]byte{}, meta: map[string][]byte{}}
	err = p.tree(p.root, nil, nil, func(l leaf) error {
		known := slices.ContainsFunc(append(tables, bucketMeta), func(t []byte) bool { return bytes.Equal(l.key, t) })
		if !l.bucket || !known {
			return broken(p.root, "there is no table %q", l.key)
		}
		s.roots[string(l.key)] = bytes.Clone(l.value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.rows(bucketMeta, func(_, k, row []byte) error {
		s.meta[string(k)] = bytes.Clone(row)
		return nil
	})
	if err == nil {
		err = s.readFormat()
	}
	return s, err
}

// readFormat reads the rows of meta that say how to read the others.
func (s *scan) readFormat() error {
	format, sums := s.meta[string(keyFormat)], s.meta[string(keyTally)]
	if sums != nil {
		v, _, err := unseal(bucketMeta, nil, keyTally, sums)
		if err != nil {
			return err
		}
		s.tally, err = decodeTally(v)
		if err == nil && !bytes.Equal(format, binary.BigEndian.AppendUint32(nil, tableFormat)) {
			err = fmt.Errorf("%w: the format is %x", errSeal, format)
		}
		s.format = tableFormat
		return err
	}
	switch {
	case len(format) == 4:
		s.format = binary.BigEndian.Uint32(format)
	case format != nil:
		return fmt.Errorf("%w: the format is %x", errSeal, format)
	case len(s.roots) > 0:
		s.format = 1
	}
	if s.format == tableFormat {
		return fmt.Errorf("%w: there is no tally", errSeal)
	}
	return nil
}

// rows yields the rows of a table as they are stored, with the key of the bucket in it that they are in.
func (s *scan) rows(table []byte, yield func(prefix, key, row []byte) error) error {
	root, ok := s.roots[string(table)]
	if !ok {
		return nil
	}
	nested := bytes.Equal(table, bucketJobs)
	return s.pages.bucket(root, func(l leaf) error {
		if l.bucket != nested {
			return fmt.Errorf("%w: %s %x is of another kind", errStructure, table, l.key)
		}
		if !nested {
			return yield(nil, l.key, l.value)
		}
		return s.pages.bucket(l.value, func(in leaf) error {
			if in.bucket {
				return fmt.Errorf("%w: %s %x %x is of another kind", errStructure, table, l.key, in.key)
			}
			return yield(l.key, in.key, in.value)
		})
	})
}

// A verdict is what there is to do about damage: nothing, or to copy what is whole to a new file.
type verdict struct {
	copy bool
	why  []string // for people
	lost [][]byte // tables to leave out
}

// judge reads all rows. Values and expansions are made again if they are lost, and so is the list of
// free pages. Damage to anything else is an error: something that was acknowledged may be lost.
func (s *scan) judge() (v verdict, err error) {
	for i, table := range tables {
		err, all := s.judgeTable(table, i)
		switch {
		case err == nil:
			continue
		case !bytes.Equal(table, bucketValues) && !bytes.Equal(table, bucketGraphs):
			return v, fmt.Errorf("table %s: %w", table, err)
		case all:
			v.lost = append(v.lost, table)
		}
		v.why = append(v.why, fmt.Sprintf("table %s: %v", table, err))
	}
	for _, key := range [][]byte{keyEpoch, keySecret} {
		if _, _, err := unseal(bucketMeta, nil, key, s.meta[string(key)]); err != nil && s.format == tableFormat {
			return v, err
		}
	}
	if err := s.pages.freeList(); err != nil {
		v.why = append(v.why, err.Error())
	}
	v.copy = len(v.why) > 0
	return v, nil
}

// judgeTable returns what is wrong with a table, and whether none of it can be kept: which rows are of
// another time, or missing, the tally cannot tell.
func (s *scan) judgeTable(table []byte, i int) (damage error, all bool) {
	var whole, spoilt uint64
	err := s.rows(table, func(prefix, key, row []byte) error {
		if s.format < sealedFormat {
			return nil
		}
		_, seal, err := unseal(table, prefix, key, row)
		if err == nil {
			whole += seal
			return nil
		}
		damage = err
		spoilt += seal
		return nil
	})
	switch {
	case err != nil:
		return err, true
	case s.format < sealedFormat:
		return nil, false
	case whole+spoilt != s.tally[i]:
		return fmt.Errorf("%w: rows are missing, or of an earlier time", errSeal), true
	}
	return damage, false
}
