package client

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"gaggle/wire"
)

// A history remembers how long the tasks of each kind ran, in order to say how long a job will
// take. Kinds are told apart by the name of the graph and of the task.
type history struct {
	path string

	mu    sync.Mutex // guards the fields below
	kinds map[string]pastRuns
	dirty bool
}

// pastRuns is the running time of one kind. Mean is an exponential average: a job counts as much
// as all before it.
type pastRuns struct {
	Mean time.Duration `json:"mean_ns"`
	Seen time.Time     `json:"seen"`
}

// maxKinds bounds the history; those not seen for longest go first.
const maxKinds = 5000

// loadHistory reads a history. One that is damaged or not there is empty: nothing depends on it.
func loadHistory(path string) *history {
	h := &history{path: path, kinds: map[string]pastRuns{}}
	if readJSON(path, 4<<20, &h.kinds) != nil || h.kinds == nil {
		h.kinds = map[string]pastRuns{}
	}
	return h
}

func kindKey(graph, kind string) string { return graph + "\x00" + kind }

// learn takes in what a job showed.
func (b *backend) learn(graph string, means map[string]Kind) {
	h := b.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for kind, k := range means {
		key := kindKey(graph, kind)
		mean := k.Mean
		if old, ok := h.kinds[key]; ok {
			mean = (mean + old.Mean) / 2
		}
		h.kinds[key] = pastRuns{Mean: mean, Seen: time.Now()}
		h.dirty = true
	}
	if len(h.kinds) <= maxKinds {
		return
	}
	oldest := slices.SortedFunc(maps.Keys(h.kinds), func(a, b string) int { return h.kinds[a].Seen.Compare(h.kinds[b].Seen) })
	for _, key := range oldest[:len(oldest)-maxKinds] {
		delete(h.kinds, key)
	}
}

// kinds counts the tasks of each template and adds what the history knows of them.
func (b *backend) kinds(graph string, tasks []wire.TaskSpec) map[string]Kind {
	h := b.history
	h.mu.Lock()
	defer h.mu.Unlock()
	kinds := map[string]Kind{}
	for i := range tasks {
		name := KindOf(tasks[i].Name)
		k, ok := kinds[name]
		if !ok {
			k.Mean = h.kinds[kindKey(graph, name)].Mean
		}
		k.Tasks++
		k.Gang = k.Gang || tasks[i].Gang != nil
		kinds[strings.Clone(name)] = k
	}
	return kinds
}

func (h *history) save() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.dirty {
		return nil
	}
	h.dirty = false
	return writeJSON(h.path, h.kinds)
}
