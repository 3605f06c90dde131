package client

import (
	"io/fs"
	"os"
	"sync"
)

// captures are the remembered captures that were read lately: a compiler's is a megabyte of JSON,
// looked at every few seconds of a build. The zero value is none.
type captures struct {
	mu    sync.Mutex // guards files
	files map[string]readCapture
}

// A readCapture is one as its file had it.
type readCapture struct {
	info fs.FileInfo
	is   *captured // nobody changes it
}

// maxCaptures bounds those that are kept, a few MB each.
const maxCaptures = 12

// read returns what a file remembers; it is not changed.
func (c *captures) read(file string) (*captured, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	known, ok := c.files[file]
	c.mu.Unlock()
	// Files are replaced as a whole, not written to.
	if ok && os.SameFile(known.info, info) && known.info.ModTime().Equal(info.ModTime()) && known.info.Size() == info.Size() {
		return known.is, nil
	}
	is := new(captured)
	if err := readJSON(file, maxCaptured, is); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || len(c.files) >= maxCaptures {
		c.files = map[string]readCapture{}
	}
	c.files[file] = readCapture{info, is}
	return is, nil
}
