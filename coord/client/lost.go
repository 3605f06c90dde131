package client

import (
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"gaggle/coord/infer"
)

// A lostSet are the files that calls of a build's first round could not make and that no call of the
// second round was to make so far.
type lostSet struct {
	mu    sync.Mutex // guards files
	files map[string]bool
}

func newLostSet(files []string) *lostSet {
	s := &lostSet{files: map[string]bool{}}
	for _, f := range files {
		s.files[f] = true
	}
	return s
}

// asked notes that a call is to make its outputs. Of one that no model knows any word may be one.
func (s *lostSet) asked(c *toolCall, call *infer.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 {
		return
	}
	names := slices.Clone(c.args)
	for _, o := range call.Writes {
		names = append(names, o.Path)
	}
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(c.dir, name)
		}
		delete(s.files, filepath.Clean(name))
	}
}

func (s *lostSet) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.files))
}
