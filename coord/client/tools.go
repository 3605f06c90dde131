package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gaggle/coord/infer"
	"gaggle/coord/infer/scan"
	"gaggle/coord/placeholder"
	"gaggle/wire"
)

// tools answers the calls of compilers that builds on this machine make.
type tools struct {
	b        *backend
	scanner  *scan.Scanner
	pendings *pendings

	reports *reports

	mu     sync.Mutex // guards the fields below
	builds map[string]*build
	loose  []*build // of calls that no command began, the latest last
	chains map[chainKey]*chain
}

// A build is a command under which tools are called, or the calls in one working copy that belong
// to none.
type build struct {
	tools  *tools
	cmd    Command       // whose mesh it uses
	models *infer.Models // nil if the user has none
	lost   *lostSet
	base   string // its directory; "" is to be found for each call

	copy   string       // the working copy whose calls it has, if no command began it
	report *BuildReport // changed by tools.reports alone

	mu       sync.Mutex         // guards the fields below
	deferred *deferral          // nil if no call is deferred
	say      func(*Event) error // to the command, nil if there is none
	counts   Calls
	away     time.Time // when the mesh last could not be reached
}

// awayFor is how long no call asks a mesh that could not be reached: the compilers are here.
const awayFor = 30 * time.Second

// reachable returns an error if the mesh was away a moment ago.
func (b *build) reachable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.away) < awayFor {
		return errAway
	}
	return nil
}

// tells has notes for people sent to the command.
func (b *build) tells(say func(*Event) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.say = say
}

// tell sends a note to the commands of all builds.
func (t *tools) tell(note string) {
	t.mu.Lock()
	builds := slices.Collect(maps.Values(t.builds))
	t.mu.Unlock()
	for _, b := range builds {
		b.mu.Lock()
		say := b.say
		b.mu.Unlock()
		if say != nil {
			_ = say(&Event{Note: note}) // one that is gone ends its build
		}
	}
}

// isAway notes that the mesh cannot be reached, or does nothing.
func (b *build) isAway() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = time.Now()
}

var errAway = errors.New("the mesh cannot be reached, or has no node for it")

// BuildVar is the variable that names the build which a tool is called in.
const BuildVar = "GAGGLE_BUILD"

// ToolsVar is the variable that tells a shim where to ask.
const ToolsVar = "GAGGLE_TOOLS"

// newTools makes what answers shims.
func newTools(b *backend) *tools {
	s := scan.New(scan.Options{Dir: b.dir.path("probes"), Log: b.log})
	return &tools{b: b, scanner: s, pendings: &pendings{files: map[placeholder.ID]*pendingFile{}}, builds: map[string]*build{}, chains: map[chainKey]*chain{}, reports: loadReports(b.dir.path("builds.json"), b.log)}
}

// begin notes a build and returns its name.
func (t *tools) begin(cmd *Command) (string, *build, error) {
	var models *infer.Models
	if len(cmd.Build.Models) > 0 {
		var err error
		if models, err = infer.Decode("models", cmd.Build.Models); err != nil {
			return "", nil, err
		}
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	name := hex.EncodeToString(id[:])
	command := quoteAll(append([]string{"coord"}, cmd.Build.Command...))
	report := t.reports.begin
	if cmd.Build.Again {
		report = t.reports.again
	}
	b := &build{
		tools: t, cmd: *cmd, base: cmd.Dir, models: models, lost: newLostSet(cmd.Build.Lost),
		report: report(command, cmd.Dir, time.Now()),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.builds[name] = b
	return name, b, nil
}

// end notes that a build has ended, once.
func (t *tools) end(name string) {
	t.mu.Lock()
	b := t.builds[name]
	delete(t.builds, name)
	t.mu.Unlock()
	if b == nil {
		return
	}
	t.reports.note(b.report, func(r *BuildReport) { r.Going, r.Last = false, time.Now() })
	t.reports.save()
}

// buildOf returns the build that a call belongs to, nil if that was another process's: which mesh
// it uses is not known here.
func (t *tools) buildOf(c *toolCall) *build {
	name := c.variable(BuildVar)
	if name == "" {
		return t.looseBuild(c, time.Now())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.builds[name]
}

// looseBuild returns the build of the working copy that a call is made in. Of those in which
// nothing was called for long only the report stays.
func (t *tools) looseBuild(c *toolCall, now time.Time) *build {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loose = slices.DeleteFunc(t.loose, func(b *build) bool { return t.reports.rests(b.report, now) })
	for _, b := range t.loose {
		if c.dir == b.copy || strings.HasPrefix(c.dir, strings.TrimSuffix(b.copy, "/")+"/") {
			return b
		}
	}
	if len(t.loose) == maxBuilds {
		t.loose = slices.Delete(t.loose, 0, 1)
	}
	b := &build{tools: t, lost: newLostSet(nil)}
	b.copy = triedFor(b.baseOf(c))
	if b.report = t.reports.resume(looseCommand, b.copy, looseLasts, now); b.report == nil {
		b.report = t.reports.begin(looseCommand, b.copy, now)
	}
	t.loose = append(t.loose, b)
	return b
}

// looseCommand is what reports call a build that no command began.
const looseCommand = "coord cc"

// triedFor returns the directory of the build for which a compiler is tried in dir, else dir: CMake
// and Meson do that in directories of their own, each time in another.
func triedFor(dir string) string {
	for _, name := range []string{"CMakeFiles", "meson-private"} {
		if before, _, found := strings.Cut(dir+"/", "/"+name+"/"); found && before != "" {
			return before
		}
	}
	return dir
}

// enter counts a call in until the function that it returns is called: a build that no command
// began goes on as long as there are calls.
func (b *build) enter() (leave func()) {
	if b.copy == "" {
		return func() {}
	}
	b.tools.reports.note(b.report, func(r *BuildReport) { r.entered(time.Now()) })
	return func() { b.tools.reports.note(b.report, func(r *BuildReport) { r.left(time.Now()) }) }
}

// linked returns the link of the build's mesh, or of the one that a call without a build names.
func (b *build) linked(c *toolCall) (*link, error) {
	cmd := b.cmd
	if b.base == "" {
		cmd.Mesh = c.variable(MeshVar)
	}
	name, err := b.tools.b.meshOf(&cmd)
	if err != nil {
		return nil, err
	}
	return b.tools.b.linkTo(name)
}

// baseOf is the directory below which a call's files are the user's own: the build's, or that of
// the working copy, or the working directory.
func (b *build) baseOf(c *toolCall) string {
	if b.base != "" && (c.dir == b.base || strings.HasPrefix(c.dir, b.base+"/")) {
		return b.base
	}
	for dir := c.dir; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
	}
	return c.dir
}

func (b *build) done(how wire.How) {
	b.tools.reports.note(b.report, func(r *BuildReport) { r.done(how, time.Now()) })
	b.mu.Lock()
	defer b.mu.Unlock()
	switch how {
	case wire.HowMemo:
		b.counts.Memo++
	case wire.HowShared:
		b.counts.Shared++
	default:
		b.counts.Ran++
	}
}

// maxReasons bounds the reasons that a build keeps; most name a file.
const maxReasons = 1_000

// here counts a call that runs on this machine.
func (b *build) here(c *toolCall, why error) {
	text := wire.AsError(why).Message
	b.tools.reports.note(b.report, func(r *BuildReport) { r.here(text, c, time.Now()) })
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Here++
	b.tools.b.log.Debug("a tool runs here", "why", why)
	if b.counts.Why == nil {
		b.counts.Why = map[string]int{}
	}
	if _, known := b.counts.Why[text]; known || len(b.counts.Why) < maxReasons {
		b.counts.Why[text]++
	}
}

// bound counts a call that was to be portable and depends on its directory.
func (b *build) bound(c *toolCall, why string) {
	b.tools.reports.note(b.report, func(r *BuildReport) { counted(&r.Bound, why, c) })
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts.Bound == nil {
		b.counts.Bound = map[string]int{}
	}
	if _, known := b.counts.Bound[why]; known || len(b.counts.Bound) < maxReasons {
		b.counts.Bound[why]++
	}
}

// sight returns the files as a call sees them.
func (t *tools) sight(l *link) *sight {
	return &sight{spaceStore: spaceStore{t.b.store, l.space}, pendings: t.pendings, waits: map[string]*pendingFile{}}
}

// planner returns what makes thunks of a call in the space of a link.
func (t *tools) planner(l *link, s *sight) *infer.Planner {
	return &infer.Planner{Store: s, Scanner: t.scanner, Toolchain: func(_ context.Context, tools []string) (*infer.Toolchain, error) {
		return t.toolchain(l.space, tools)
	}}
}

// Add adds what became of the calls of another round of the build.
func (c *Calls) Add(of *Calls) {
	c.Ran += of.Ran
	c.Memo += of.Memo
	c.Shared += of.Shared
	c.Here += of.Here
	c.Why, c.Bound = added(c.Why, of.Why), added(c.Bound, of.Bound)
}

func added(reasons, more map[string]int) map[string]int {
	if reasons == nil {
		return more
	}
	for why, calls := range more {
		reasons[why] += calls
	}
	return reasons
}

// shownReasons is how many reasons are told.
const shownReasons = 5

// String tells people what became of the calls.
func (c *Calls) String() string {
	done := c.Ran + c.Memo + c.Shared
	text := fmt.Sprintf("%d of %d compiler calls on the mesh: %d ran, %d memo, %d shared", done, done+c.Here, c.Ran, c.Memo, c.Shared)
	if c.Here > 0 {
		text += fmt.Sprintf("; %d here:", c.Here) + listed(c.Why)
	}
	if len(c.Bound) > 0 {
		n := 0
		for _, calls := range c.Bound {
			n += calls
		}
		text += fmt.Sprintf("\n%d not portable:", n) + listed(c.Bound)
	}
	return text
}

// listed tells reasons with how many calls have each.
func listed(calls map[string]int) (text string) {
	reasons := slices.SortedFunc(maps.Keys(calls), func(a, b string) int {
		return cmp.Or(calls[b]-calls[a], strings.Compare(a, b))
	})
	for _, why := range reasons[:min(len(reasons), shownReasons)] {
		text += fmt.Sprintf("\n  %d  %s", calls[why], printable(why))
	}
	if more := len(reasons) - shownReasons; more > 0 {
		text += fmt.Sprintf("\n  and %d other reasons: coord report", more)
	}
	return text
}
