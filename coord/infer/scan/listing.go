package scan

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// An entryKind is what a directory has under a name.
type entryKind uint8

const (
	nothing entryKind = iota
	aFile             // anything but the following
	aDir
	aLink     // a symbolic link, to whatever
	uncertain // the directory cannot be listed: look
)

// A view is a directory's names as one unit sees them. It is immutable.
type view struct {
	gen      uint32 // another one when a name has come or gone
	absent   bool
	unlisted bool
	dev, ino uint64
	real     string // the path without links
	names    map[string]entryKind
}

func (v *view) kind(name string) entryKind {
	if v.unlisted {
		return uncertain
	}
	return v.names[name]
}

// A listing is a directory on a search path, there or not. It is checked once by each unit that
// asks it: by its time stamps, or read again if those are too recent to tell. Lookups in vain, of
// which there are several a header, then cost no system call.
type listing struct {
	path string

	mu    sync.Mutex // guards the fields below; held while the directory is read
	view  *view
	stamp stamp
	fresh bool // stamp could stay as it is over a change
}

// look returns the directory's names as they are now.
func (l *listing) look(now time.Time) (*view, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := statPath(l.path)
	if err != nil && !absent(err) {
		return nil, err
	}
	if l.view != nil && s == l.stamp && !l.fresh {
		return l.view, nil
	}
	v := &view{absent: err != nil || !s.mode.IsDir(), dev: s.dev, ino: s.ino}
	if !v.absent {
		s, err = v.read(l.path)
		if err != nil && !absent(err) {
			return nil, err
		}
		v.absent = err != nil
	}
	if v.real, err = filepath.EvalSymlinks(l.path); err != nil {
		v.real = l.path // absent
	}
	l.stamp, l.fresh = s, s.fresh(now)
	if l.view != nil && !l.view.differs(v) {
		return l.view, nil
	}
	if l.view != nil {
		v.gen = l.view.gen + 1
	}
	l.view = v
	return v, nil
}

func (v *view) differs(o *view) bool {
	return v.absent != o.absent || v.unlisted != o.unlisted || v.dev != o.dev || v.ino != o.ino || v.real != o.real || !maps.Equal(v.names, o.names)
}

// read lists the directory. One that is too large or that may not be listed is not, nor any on
// macOS, where names differ by case or not as the volume likes.
func (v *view) read(path string) (stamp, error) {
	f, err := os.Open(path)
	if os.IsPermission(err) {
		v.unlisted = true
		return statPath(path)
	} else if err != nil {
		return stamp{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	s := stampOf(fi)
	v.dev, v.ino = s.dev, s.ino
	if v.unlisted = runtime.GOOS != "linux"; v.unlisted {
		return s, nil
	}
	entries, err := f.ReadDir(maxListed + 1)
	if err != nil && err != io.EOF {
		return stamp{}, err
	}
	if v.unlisted = len(entries) > maxListed; v.unlisted {
		return s, nil
	}
	v.names = make(map[string]entryKind, len(entries))
	for _, e := range entries {
		v.names[e.Name()] = kindOf(e.Type())
	}
	return s, nil
}

func kindOf(m os.FileMode) entryKind {
	switch {
	case m.IsDir():
		return aDir
	case m&os.ModeSymlink != 0:
		return aLink
	}
	return aFile
}
