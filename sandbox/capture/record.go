package capture

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// An Identity tells whether what a capture looked at is what it was. Every write, rename and
// chmod of a file moves its time of change. A directory that was listed is known by the names in
// it, since programs write beside what is captured (__pycache__); one that was only passed
// through, by being a directory.
type Identity struct {
	Path  string `json:"p"`
	Mode  uint32 `json:"m,omitempty"` // fs.FileMode; 0: nothing was there
	Size  int64  `json:"s,omitempty"`
	Mtime int64  `json:"t,omitempty"` // nanoseconds
	Ctime int64  `json:"c,omitempty"` // 0 where the system has none
	Inode uint64 `json:"i,omitempty"`
	Names string `json:"n,omitempty"` // of a directory that was listed: a digest
}

// Unchanged reports whether this machine still is what a capture saw of it. It lists only the
// directories that were touched, and reads no file.
func Unchanged(seen []Identity) bool {
	for _, was := range seen {
		fi, err := os.Lstat(was.Path)
		is := identify(was.Path, fi, err)
		switch {
		case is.Mode != was.Mode:
			return false
		case was.Names != "" && (is.Mtime != was.Mtime || is.Ctime != was.Ctime || is.Inode != was.Inode):
			entries, err := os.ReadDir(was.Path)
			if err != nil || nameSum(entries) != was.Names {
				return false
			}
		case !fs.FileMode(is.Mode).IsDir():
			if is != was {
				return false
			}
		}
	}
	return true
}

func identify(p string, fi fs.FileInfo, err error) Identity {
	if err != nil {
		return Identity{Path: p}
	}
	ctime, inode := changeTime(fi)
	return Identity{Path: p, Mode: uint32(fi.Mode()), Size: fi.Size(), Mtime: fi.ModTime().UnixNano(), Ctime: ctime, Inode: inode}
}

// nameSum is a digest of the names of a directory but for those that come and go by use.
func nameSum(entries []fs.DirEntry) string {
	var b strings.Builder
	for _, e := range entries {
		if !changing(e.Name()) {
			b.WriteString(e.Name())
			b.WriteByte(0)
		}
	}
	return wire.Sum([]byte(b.String())).Short()
}

// changing names what programs write beside their libraries while they run, which would change
// the tree from one capture to the next. Python compiles again what it does not find.
func changing(name string) bool { return name == "__pycache__" || strings.HasSuffix(name, ".pyc") }

// settleTime is how long what was captured must have been left alone for its identity to be
// believed later: the coarsest clock of a file system in use is FAT's, of 2 s.
const settleTime = 2 * time.Second

// A record is what a capture looked at, by path, absent things too: one that appears may be found
// first the next time. Not safe for concurrent use.
type record map[string]Identity

func (r record) saw(p string, fi fs.FileInfo, err error) {
	if r == nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return // it could not be looked at: it may be what it was
	}
	if _, known := r[p]; !known {
		r[p] = identify(p, fi, err)
	}
}

func (r record) listed(p string, entries []fs.DirEntry) {
	if r == nil {
		return
	}
	id, known := r[p]
	if !known {
		fi, err := os.Lstat(p)
		id = identify(p, fi, err)
	}
	id.Names = nameSum(entries)
	r[p] = id
}

// settled returns the record ordered by path, or nil if something in it was touched so shortly
// before now that a later change might not show.
func (r record) settled(now time.Time) []Identity {
	seen := make([]Identity, 0, len(r))
	for _, id := range r {
		if !fs.FileMode(id.Mode).IsDir() && now.UnixNano()-max(id.Mtime, id.Ctime) < int64(settleTime) {
			return nil
		}
		seen = append(seen, id)
	}
	slices.SortFunc(seen, func(a, b Identity) int { return strings.Compare(a.Path, b.Path) })
	return seen
}
