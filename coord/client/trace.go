package client

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"gaggle/wire"
)

// A traceView writes a Chrome trace (chrome://tracing, ui.perfetto.dev): one process for each
// node, in it a thread for each task under way at once, with the spans fetch, run and store. The
// time that a task waits, for a node and there for a slot, is an asynchronous span, queue.
type traceView struct {
	path  string
	job   string
	open  map[string]*taskSpan
	spans []*taskSpan
}

// A taskSpan is when a task passed its states, in Unix microseconds by the coordinator's clock.
type taskSpan struct {
	task, node            string
	ready, offered, began int64
	fetching              int64 // when it was last seen to fetch
	run                   time.Duration
	done                  int64
	state                 wire.State
	how                   wire.How
	fetched               int64
}

// maxSpans bounds a trace: viewers give up on larger ones.
const maxSpans = 500_000

// NewTrace returns a view that writes a trace to the file at path when the job has ended.
func NewTrace(path string) View { return &traceView{path: path, open: map[string]*taskSpan{}} }

// Event notes what a trace is made of.
func (v *traceView) Event(e *Event, now time.Time) error {
	if e.Started != nil {
		v.job = e.Started.Name
		v.notices(e.Started.Snapshot, now)
	}
	v.notices(e.Notices, now)
	return nil
}

func (v *traceView) notices(notices []wire.Notice, now time.Time) {
	for i := range notices {
		n := &notices[i]
		if n.Task == "" || n.State == 0 {
			continue
		}
		at := n.At
		if at == 0 {
			at = now.UnixMicro()
		}
		s := v.open[n.Task]
		if s == nil {
			s = &taskSpan{task: n.Task}
			v.open[n.Task] = s
		}
		s.take(n, at)
		if n.State >= wire.StateDone {
			delete(v.open, n.Task)
			if len(v.spans) < maxSpans {
				v.spans = append(v.spans, s)
			}
		}
	}
}

func (s *taskSpan) take(n *wire.Notice, at int64) {
	if n.NodeName != "" {
		s.node = n.NodeName
	}
	if n.Progress != nil {
		if n.Progress.Phase == "fetch" {
			s.fetching = at
		}
		return
	}
	switch n.State {
	case wire.StateReady:
		s.ready, s.offered, s.began, s.fetching = at, 0, 0, 0
	case wire.StateOffered:
		s.offered, s.began, s.fetching = at, 0, 0
	case wire.StateRunning:
		s.began = at
	case wire.StateDone, wire.StateFailed, wire.StateCancelled:
		s.done, s.state, s.how, s.run, s.fetched = at, n.State, n.How, n.Run, n.Fetched
	}
}

// bounds returns when the task began to fetch, had all, ran and had ended. What was not told is
// filled in: a node may report a short run in one message, and it does not say how long a task
// that has its inputs waits for a slot.
func (s *taskSpan) bounds() (fetch, fetched, began, ended int64) {
	ended = s.done
	if s.began != 0 && s.run > 0 {
		ended = min(s.done, s.began+s.run.Microseconds())
	}
	began = s.began
	if began == 0 {
		began = s.done - s.run.Microseconds()
	}
	fetch = began
	if s.fetched > 0 && s.offered != 0 {
		fetch = min(s.offered, began)
	}
	fetched = began
	if s.fetching >= fetch {
		fetched = min(s.fetching, began)
	}
	return fetch, fetched, began, ended
}

// Tick does nothing.
func (v *traceView) Tick(time.Time) error { return nil }

// End writes the file.
func (v *traceView) End(*End, time.Time) error {
	if v.job == "" {
		return nil // there was no job
	}
	f, err := os.Create(v.path)
	if err != nil {
		return fmt.Errorf("writing the trace: %w", err)
	}
	w := bufio.NewWriter(f)
	err = v.write(w)
	if err := errors.Join(err, w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("writing the trace: %w", err)
	}
	return nil
}

// traceEvent is an event of Google's "Trace Event Format".
type traceEvent struct {
	Name string         `json:"name"`
	Cat  string         `json:"cat,omitempty"`
	Ph   string         `json:"ph"` // X complete, b and e begin and end of an asynchronous span, M metadata
	Ts   int64          `json:"ts"`
	Dur  int64          `json:"dur,omitempty"`
	Pid  int            `json:"pid"`
	Tid  int            `json:"tid"`
	ID   int            `json:"id,omitempty"`
	Args map[string]any `json:"args,omitempty"`
}

func (v *traceView) write(w *bufio.Writer) error {
	if _, err := w.WriteString(`{"displayTimeUnit":"ms","traceEvents":[`); err != nil {
		return err
	}
	first := true
	emit := func(e traceEvent) error {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if !first {
			b = append([]byte(",\n"), b...)
		}
		first = false
		_, err = w.Write(b)
		return err
	}
	slices.SortStableFunc(v.spans, func(a, b *taskSpan) int {
		x, _, _, _ := a.bounds()
		y, _, _, _ := b.bounds()
		return cmp.Compare(x, y)
	})
	pids := map[string]int{}
	lanes := map[string][]int64{} // by node: when each thread is free
	for i, s := range v.spans {
		if s.how == wire.HowMemo || s.node == "" {
			continue // nothing happened on any node
		}
		pid, ok := pids[s.node]
		if !ok {
			pid = len(pids) + 1
			pids[s.node] = pid
			if err := emit(traceEvent{Name: "process_name", Ph: "M", Pid: pid, Args: map[string]any{"name": s.node}}); err != nil {
				return err
			}
		}
		for _, e := range s.events(i+1, pid, lanes) {
			if err := emit(e); err != nil {
				return err
			}
		}
	}
	_, err := w.WriteString("]}\n")
	return err
}

// events returns the spans of a task, on the first thread of its node that is free.
func (s *taskSpan) events(id, pid int, lanes map[string][]int64) (events []traceEvent) {
	fetch, fetched, began, ended := s.bounds()
	lane := 0
	for lane < len(lanes[s.node]) && lanes[s.node][lane] > fetch {
		lane++
	}
	if lane == len(lanes[s.node]) {
		lanes[s.node] = append(lanes[s.node], 0)
	}
	lanes[s.node][lane] = s.done
	queue := func(from, to int64) {
		if from != 0 && from < to {
			events = append(events, traceEvent{Name: "queue " + s.task, Cat: "queue", Ph: "b", Ts: from, Pid: pid, ID: id},
				traceEvent{Name: "queue " + s.task, Cat: "queue", Ph: "e", Ts: to, Pid: pid, ID: id})
		}
	}
	queue(cmp.Or(s.ready, s.offered), fetch)
	queue(fetched, began)
	args := map[string]any{"task": s.task, "state": s.state.String(), "fetched": s.fetched}
	for _, p := range []struct {
		cat      string
		from, to int64
	}{{"fetch", fetch, fetched}, {"run", began, ended}, {"store", ended, s.done}} {
		if p.to > p.from {
			events = append(events, traceEvent{Name: p.cat + " " + s.task, Cat: p.cat, Ph: "X", Ts: p.from, Dur: p.to - p.from, Pid: pid, Tid: lane + 1, Args: args})
		}
	}
	return events
}
