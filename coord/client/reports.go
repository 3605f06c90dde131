package client

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gaggle/coord/infer"
	"gaggle/wire"
)

// A BuildReport says what became of the tools' calls in a build: a coord make, or all that coord cc
// was called for in one working copy.
type BuildReport struct {
	Dir     string    `json:"dir" cbor:"dir"`         // of coord make, or the working copy
	Command string    `json:"command" cbor:"command"` // "coord make -j8"; "coord cc"
	Begun   time.Time `json:"begun" cbor:"begun"`
	Last    time.Time `json:"last" cbor:"last"`             // when the last call ended, or the build did
	Going   bool      `json:"going,omitempty" cbor:"going"` // it has not ended
	Ran     int       `json:"ran" cbor:"ran"`
	Memo    int       `json:"memo" cbor:"memo"`
	Shared  int       `json:"shared" cbor:"shared"`
	Here    int       `json:"here" cbor:"here"` // on this machine, by the tool itself

	Why    []Reason `json:"why,omitempty" cbor:"why,omitempty"`
	Others int      `json:"others,omitempty" cbor:"others,omitempty"` // calls here for reasons beyond maxReported
	Bound  []Reason `json:"bound,omitempty" cbor:"bound,omitempty"`   // why calls that were to be portable depend on their directory

	// InferenceSeconds is the CPU time for finding out what calls read and write, and taking that in;
	// 0 where it cannot be told.
	InferenceSeconds float64 `json:"inference_seconds,omitempty" cbor:"inference_seconds,omitempty"`

	calls int // under way, of one that no command began
}

// A Reason is why some calls ran on this machine.
type Reason struct {
	Why      string    `json:"why" cbor:"why"`
	Calls    int       `json:"calls" cbor:"calls"`
	Examples []Example `json:"examples" cbor:"examples"` // the first, maxExamples at most
}

// An Example is a call that ran on this machine.
type Example struct {
	Source  string `json:"source,omitempty" cbor:"source,omitempty"` // file, as it was named; "" if none was seen
	Dir     string `json:"dir" cbor:"dir"`
	Command string `json:"command" cbor:"command"` // quoted for a shell; the middle of a long one is left out
}

// Bounds on what is kept: 7 MB of texts, six times that if all is escaped in JSON; usual builds take
// a few kB each.
const (
	maxBuilds   = 24
	maxReported = 100 // reasons of a build; most name a file
	maxExamples = 2   // of a reason
	maxText     = 400 // bytes of a reason, a command or a path
)

// Calls of coord cc in one working copy are one build until none has come for so long.
const looseLasts = 10 * time.Minute

// roundLasts is how long after the end of a round of coord make the next one may begin: an agent may
// have to be started.
const roundLasts = time.Minute

// saveAfter is how much a killed process may lose of what it counted.
const saveAfter = 2 * time.Second

// reports are what is told of the last builds, those that go on included. They are a file of the
// state directory, which is replaced as a whole. A damaged file, or one of another version, is an
// empty one: nothing depends on it.
type reports struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex     // guards the fields below
	builds []*BuildReport // in the order of their begin
	timer  *time.Timer    // nil unless there is something to save
	closed bool
}

// reportsFile is the file of reports.
type reportsFile struct {
	Version int            `json:"version"`
	Builds  []*BuildReport `json:"builds"`
}

const (
	reportsVersion = 1
	maxReportsFile = 64 << 20
)

// loadReports reads the reports. Whatever went on then has ended.
func loadReports(path string, log *slog.Logger) *reports {
	r := &reports{path: path, log: log}
	var f reportsFile
	if err := readJSON(path, maxReportsFile, &f); err != nil || f.Version != reportsVersion {
		return r
	}
	r.builds = slices.DeleteFunc(f.Builds, func(b *BuildReport) bool { return b == nil })
	for _, b := range r.builds {
		b.Going = false
	}
	r.forget()
	return r
}

// forget drops the oldest beyond the bound, but none that goes on.
func (r *reports) forget() {
	over := len(r.builds) - maxBuilds
	r.builds = slices.DeleteFunc(r.builds, func(b *BuildReport) bool {
		if over <= 0 || b.Going {
			return false
		}
		over--
		return true
	})
}

// begin adds a build.
func (r *reports) begin(command, dir string, now time.Time) *BuildReport {
	b := &BuildReport{
		Dir: briefTo(dir, maxText), Command: briefTo(command, maxText), Begun: now, Last: now, Going: true,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.builds = append(r.builds, b)
	r.forget()
	r.changed()
	return b
}

// resume finds the latest build by its command and directory that has not rested for longer than
// rest, nil if there is none, and has it go on.
func (r *reports) resume(command, dir string, rest time.Duration, now time.Time) *BuildReport {
	dir, command = briefTo(dir, maxText), briefTo(command, maxText)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range slices.Backward(r.builds) {
		if b.Dir == dir && b.Command == command && !b.Going && now.Sub(b.Last) < rest {
			b.Going = true
			r.changed()
			return b
		}
	}
	return nil
}

// again begins a further round of a build, or a build if there is none. What the rounds count is added.
func (r *reports) again(command, dir string, now time.Time) *BuildReport {
	b := r.resume(command, dir, roundLasts, now)
	if b == nil {
		return r.begin(command, dir, now)
	}
	r.note(b, func(b *BuildReport) { b.Last = now })
	return b
}

// note changes a build.
func (r *reports) note(b *BuildReport, change func(*BuildReport)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(b)
	r.changed()
}

// changed has the file written in a while. r.mu is held.
func (r *reports) changed() {
	if r.timer == nil && !r.closed {
		r.timer = time.AfterFunc(saveAfter, r.save)
	}
}

func (r *reports) save() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer == nil {
		return
	}
	r.timer.Stop()
	r.timer = nil
	if err := writeJSON(r.path, reportsFile{reportsVersion, r.builds}); err != nil {
		r.log.Warn("coord report will know less", "error", err)
	}
}

// close saves what is not saved. Nothing is saved after it.
func (r *reports) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.save()
}

// list returns copies of the reports, the oldest first.
func (r *reports) list() []BuildReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]BuildReport, len(r.builds))
	for i, b := range r.builds {
		all[i] = *b
		all[i].Why, all[i].Bound = sorted(b.Why), sorted(b.Bound)
	}
	return all
}

// sorted returns the reasons, those of most calls first.
func sorted(reasons []Reason) []Reason {
	reasons = slices.Clone(reasons)
	slices.SortStableFunc(reasons, func(a, b Reason) int { return b.Calls - a.Calls })
	return reasons
}

// done counts a call that the mesh answered.
func (b *BuildReport) done(how wire.How, now time.Time) {
	b.Last = now
	switch how {
	case wire.HowMemo:
		b.Memo++
	case wire.HowShared:
		b.Shared++
	default:
		b.Ran++
	}
}

// here counts a call that runs on this machine.
func (b *BuildReport) here(why string, c *toolCall, now time.Time) {
	b.Last = now
	b.Here++
	if !counted(&b.Why, why, c) {
		b.Others++
	}
}

// counted adds a call to those of a reason, unless there are too many reasons.
func counted(reasons *[]Reason, why string, c *toolCall) bool {
	why = briefTo(why, maxText)
	i := slices.IndexFunc(*reasons, func(r Reason) bool { return r.Why == why })
	switch {
	case i < 0 && len(*reasons) == maxReported:
		return false
	case i < 0:
		i = len(*reasons)
		*reasons = append(*reasons, Reason{Why: why})
	}
	r := &(*reasons)[i]
	r.Calls++
	if len(r.Examples) < maxExamples {
		r.Examples = append(r.Examples, exampleOf(c))
	}
	return true
}

func exampleOf(c *toolCall) Example {
	command := quoteAll(append([]string{filepath.Base(c.tool)}, c.args...))
	e := Example{Dir: briefTo(c.dir, maxText), Command: briefTo(command, maxText)}
	source := func(a string) bool { return !strings.HasPrefix(a, "-") && infer.Source(a) }
	if i := slices.IndexFunc(c.args, source); i >= 0 {
		e.Source = briefTo(c.args[i], maxText)
	}
	return e
}

// entered notes that a call began in a build that no command began, and left that it ended.
func (b *BuildReport) entered(now time.Time) {
	b.calls++
	b.Going, b.Last = true, now
}

func (b *BuildReport) left(now time.Time) {
	b.calls--
	b.Going, b.Last = b.calls > 0, now
}

// rests reports whether a build that no command began has had no call for long, or is forgotten.
func (r *reports) rests(b *BuildReport, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.Contains(r.builds, b) || b.calls == 0 && now.Sub(b.Last) >= looseLasts
}
