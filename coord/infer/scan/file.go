package scan

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"
	"time"
)

// A fileKey names a file as it is read in one mode.
type fileKey struct {
	path string
	mode lexMode
}

// A file has the directives of one path, kept until its time stamps change.
type file struct {
	fileKey
	dir *listing // in which includes in quotes are looked for first

	mu    sync.Mutex // guards the fields below; held while the file is read
	state *content
	fresh bool // the stamp could stay as it is over a change
}

// A content is what a file held when a unit read it. It is immutable.
type content struct {
	src    *source
	stamp  stamp
	digest uint64 // of the bytes, good within this process
}

var digestSeed = maphash.MakeSeed()

var (
	errDirectory  = errors.New("a directory")
	errIrregular  = errors.New("neither a file nor " + os.DevNull)
	errTooLarge   = fmt.Errorf("larger than %d bytes", maxFileBytes)
	errRestless   = errors.New("it changes while it is read")
	emptyContents = &content{src: &source{}}
)

// load returns what the file holds now, and how many bytes were read for it. An error that
// absent knows, or errDirectory, means that a compiler would look on.
func (f *file) load(n *names, now time.Time) (c *content, read int, err error) {
	s, err := statPath(f.path)
	switch {
	case err != nil:
		return nil, 0, err
	case s.mode.IsDir():
		return nil, 0, errDirectory
	case f.path == os.DevNull:
		return emptyContents, 0, nil
	case !s.mode.IsRegular():
		return nil, 0, errIrregular // a pipe would block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != nil && f.state.stamp == s && !f.fresh {
		return f.state, 0, nil
	}
	text, s, err := readWhole(f.path)
	if err != nil {
		return nil, 0, err
	}
	c = &content{stamp: s, digest: maphash.Bytes(digestSeed, text)}
	if f.state != nil && f.state.digest == c.digest && f.state.src.size == len(text) {
		c.src = f.state.src
	} else {
		c.src = parseSource(text, n, f.mode)
		read = len(text)
	}
	f.state, f.fresh = c, s.fresh(now)
	return c, read, nil
}

// readWhole reads a file that is not written to meanwhile.
func readWhole(path string) ([]byte, stamp, error) {
	const attempts = 3
	for range attempts {
		text, before, after, err := readOnce(path)
		if err != nil {
			return nil, stamp{}, err
		}
		if before == after && after.size == int64(len(text)) {
			return text, after, nil
		}
	}
	return nil, stamp{}, errRestless
}

func readOnce(path string) (text []byte, before, after stamp, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, before, after, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, before, after, err
	}
	if before = stampOf(fi); before.size > maxFileBytes {
		return nil, before, after, errTooLarge
	}
	text = make([]byte, before.size)
	if _, err = io.ReadFull(f, text); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, before, after, err
	}
	fi, err = f.Stat()
	if err != nil {
		return nil, before, after, err
	}
	return text, before, stampOf(fi), nil
}
