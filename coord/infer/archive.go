package infer

import (
	"errors"
	"io"
	"strconv"
	"strings"
)

// maxMembers bounds the members of an archive.
const maxMembers = 1 << 16

var errArchive = errors.New("is damaged, or of a kind that is not known here")

// A member is one of an archive.
type member struct {
	name string // in a thin one a path, relative to the archive's directory
	time string // as recorded, in seconds
}

// thinMembers lists the files that a thin archive refers to.
func thinMembers(f io.ReaderAt) ([]string, error) {
	all, err := archiveMembers(f)
	var names []string
	for _, m := range all {
		names = append(names, m.name)
	}
	return names, err
}

// archiveMembers lists the members of an archive. The format is GNU's: headers of 60 bytes with
// name, time, owner, group, mode and size; "/" and "/SYM64/" are symbols, "//" is the table of
// names, to which "/N" refers. In a thin archive only these three kinds have contents.
func archiveMembers(f io.ReaderAt) ([]member, error) {
	magic := make([]byte, len(archiveMagic))
	if _, err := f.ReadAt(magic, 0); err != nil && err != io.EOF {
		return nil, errArchive
	}
	thin := string(magic) == thinMagic
	if !thin && string(magic) != archiveMagic {
		return nil, errArchive
	}
	var members []member
	var table string
	at := int64(len(magic))
	for range maxMembers {
		h := make([]byte, 60)
		n, err := f.ReadAt(h, at)
		if n == 0 && err == io.EOF {
			return members, nil
		}
		if n < 60 || string(h[58:]) != "`\n" {
			return nil, errArchive
		}
		at += 60
		name := strings.TrimRight(string(h[:16]), " ")
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		if err != nil || size < 0 || size > 1<<40 {
			return nil, errArchive
		}
		special := name == "/" || name == "//" || name == "/SYM64/"
		if name == "//" {
			if table, err = nameTable(f, at, size); err != nil {
				return nil, err
			}
		}
		if special || !thin {
			at += size + size&1
		}
		if special {
			continue
		}
		if ref, ok := strings.CutPrefix(name, "/"); ok {
			if name, err = longName(table, ref); err != nil {
				return nil, err
			}
		}
		members = append(members, member{strings.TrimSuffix(name, "/"), strings.TrimSpace(string(h[16:28]))})
	}
	return nil, errArchive
}

// nameTable reads the table of long names.
func nameTable(f io.ReaderAt, at, size int64) (string, error) {
	if size > 16<<20 {
		return "", errArchive
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, at, size), b); err != nil {
		return "", errArchive
	}
	return string(b), nil
}

// longName finds a name by its place in the table. A member of an archive that went into a thin
// one has its place there behind a colon.
func longName(table, ref string) (string, error) {
	ref, _, _ = strings.Cut(ref, ":")
	i, err := strconv.Atoi(ref)
	if err != nil || i < 0 || i >= len(table) {
		return "", errArchive
	}
	name, _, ok := strings.Cut(table[i:], "\n")
	if !ok {
		return "", errArchive
	}
	return name, nil
}
