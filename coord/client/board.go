package client

import (
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A Board adds up the notices of a job into what there is to see of it at one moment: how many
// tasks stand where, and what the unfinished ones do. It is not safe for concurrent use.
type Board struct {
	Counts  wire.Counts
	Waiting string // why the job does not go on

	kinds   map[string]*kindCount
	active  map[string]*activeTask // by name: those offered, running or expanding
	begun   int                    // how many became active so far
	running int                    // of the active
	peak    int                    // most that ran at once
	first   time.Time              // when the first did
	ended   time.Time              // when the last came to its end
	made    time.Time              // when this was
}

// kindCount counts the tasks of one template.
type kindCount struct {
	tasks, done int
	gang        bool
	mean        time.Duration // of earlier jobs
	ran         int           // in this job
	total       time.Duration // running time of those
}

// activeTask is a task that something happens to.
type activeTask struct {
	notice wire.Notice // the last with a state
	doing  *wire.Progress
	since  time.Time // of that state
	order  int       // of becoming active
}

// maxActive bounds the tasks that are looked at one by one; those beyond are only counted.
const maxActive = 10_000

// NewBoard returns the board of a job as Started tells of it.
func NewBoard(s *Started, now time.Time) *Board {
	b := &Board{Counts: s.Counts, kinds: map[string]*kindCount{}, active: map[string]*activeTask{}, made: now}
	b.Counts.Tasks = max(b.Counts.Tasks, s.Tasks)
	for name, k := range s.Kinds {
		b.kinds[name] = &kindCount{tasks: k.Tasks, mean: k.Mean, gang: k.Gang}
	}
	for i := range s.Snapshot {
		b.Apply(&s.Snapshot[i], now)
	}
	return b
}

// KindOf returns the name of the template that a task was made from: "fib/count" of
// "fib/count[a.go]".
func KindOf(task string) string {
	kind, _, _ := strings.Cut(task, "[")
	return kind
}

// Apply takes in a notice that arrived at now.
func (b *Board) Apply(n *wire.Notice, now time.Time) {
	b.Counts.Tasks += n.Added
	if n.Note != "" {
		return
	}
	if n.Task == "" {
		b.Waiting = n.Waiting
		return
	}
	t := b.active[n.Task]
	switch {
	case n.Progress != nil: // it comes with the state, which is told by itself
		if t != nil {
			t.doing = n.Progress
		}
	case n.State >= wire.StateDone:
		b.drop(t)
		b.Waiting, b.ended = "", now
		b.finish(n)
	case n.State >= wire.StateOffered, n.Waiting != "":
		b.drop(t)
		if len(b.active) >= maxActive {
			return
		}
		if t == nil {
			t = &activeTask{order: b.begun}
			b.begun++
		}
		t.notice, t.doing, t.since = *n, nil, now
		b.active[n.Task] = t
		if n.State == wire.StateRunning {
			b.running++
			if b.first.IsZero() {
				b.first = now
			}
		}
		b.peak = max(b.peak, b.running)
	case n.State != 0: // back in the queue
		b.drop(t)
	}
}

// drop takes a task from the active ones, if it is one.
func (b *Board) drop(t *activeTask) {
	if t == nil {
		return
	}
	delete(b.active, t.notice.Task)
	if t.notice.State == wire.StateRunning {
		b.running--
	}
}

// stuckAfter is how long no task comes to its end before it is told what one waits for, though others
// run: they may be services.
const stuckAfter = 5 * time.Second

// Stuck returns the first task that waits and why, if nothing else comes on.
func (b *Board) Stuck(now time.Time) (task, why string) {
	if b.running > 0 && now.Sub(later(b.ended, b.first)) < stuckAfter {
		return "", ""
	}
	first := b.begun
	for name, t := range b.active {
		if t.notice.Waiting != "" && t.order < first {
			first, task, why = t.order, name, t.notice.Waiting
		}
	}
	return task, why
}

// Idle reports whether nothing of a job runs for a while that has tasks left.
func (b *Board) Idle(now time.Time) bool {
	last := later(later(b.ended, b.first), b.made)
	return b.running == 0 && b.Waiting == "" && b.Done() < b.Counts.Tasks && now.Sub(last) >= stuckAfter
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (b *Board) finish(n *wire.Notice) {
	k := b.kinds[KindOf(n.Task)]
	if k == nil {
		k = new(kindCount)
		b.kinds[KindOf(n.Task)] = k
	}
	k.done++
	switch {
	case n.State == wire.StateFailed:
		b.Counts.Failed++
	case n.State == wire.StateCancelled:
		b.Counts.Cancelled++
	case n.How == wire.HowMemo:
		b.Counts.Memo++
	case n.How == wire.HowShared:
		b.Counts.Shared++
	default:
		b.Counts.Ran++
	}
	if n.State == wire.StateDone && n.Run > 0 {
		k.ran++
		k.total += n.Run
	}
	b.Counts.Moved += n.Fetched
}

// Done returns how many tasks are over, in whatever way.
func (b *Board) Done() int {
	c := b.Counts
	return c.Ran + c.Memo + c.Shared + c.Failed + c.Cancelled
}

// Running returns how many tasks run at this moment.
func (b *Board) Running() int { return b.running }

// Snapshot returns notices that make another board show the same active tasks.
func (b *Board) Snapshot() []wire.Notice {
	var all []wire.Notice
	for _, t := range b.list() {
		all = append(all, t.notice)
		if t.doing != nil {
			all = append(all, wire.Notice{Task: t.notice.Task, State: t.notice.State, Progress: t.doing})
		}
	}
	return all
}

// list returns the active tasks in the order in which they became so.
func (b *Board) list() []*activeTask {
	all := make([]*activeTask, 0, len(b.active))
	for _, t := range b.active {
		all = append(all, t)
	}
	slices.SortFunc(all, func(x, y *activeTask) int { return x.order - y.order })
	return all
}

// Means returns the mean running time of the kinds that ran in this job, with how many did.
func (b *Board) Means() map[string]Kind {
	means := map[string]Kind{}
	for name, k := range b.kinds {
		if k.ran > 0 {
			means[name] = Kind{Tasks: k.ran, Mean: k.total / time.Duration(k.ran)}
		}
	}
	return means
}

// Remaining estimates how long the job still takes: what its tasks took on average in this job
// (nothing if their value was known), or else in earlier ones, times how many are left, at the
// rate at which running time has been got done so far. It is 0 if nothing is known, and as long as a gang
// is to end: its tasks run at once, and its services as long as the others.
func (b *Board) Remaining(now time.Time) time.Duration {
	var work, ran time.Duration
	for _, k := range b.kinds {
		if k.gang && k.done < k.tasks {
			return 0
		}
		mean := k.mean
		if k.done > 0 {
			mean = k.total / time.Duration(k.done)
		}
		work += mean * time.Duration(max(0, k.tasks-k.done))
		ran += k.total
	}
	if took := now.Sub(b.first); ran > 0 && took > 0 {
		return time.Duration(float64(work) * float64(took) / float64(ran))
	}
	return work / time.Duration(max(1, b.peak))
}
