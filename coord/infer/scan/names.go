package scan

import (
	"strings"
	"sync"
)

// A nameID numbers a name, so that a table of macros is a slice. 0 is no name.
type nameID int32

// names numbers all names that any directive of a build holds. Safe for concurrent use.
type names struct {
	mu  sync.RWMutex
	ids map[string]nameID
}

func newNames() *names { return &names{ids: map[string]nameID{"": 0}} }

// id returns the number of a name, which is the same each time.
func (n *names) id(s string) nameID {
	n.mu.RLock()
	id, ok := n.ids[s]
	n.mu.RUnlock()
	if ok {
		return id
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if id, ok := n.ids[s]; ok {
		return id
	}
	id = nameID(len(n.ids))
	n.ids[strings.Clone(s)] = id // s may be a part of a whole file
	return id
}

func (n *names) len() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.ids)
}
