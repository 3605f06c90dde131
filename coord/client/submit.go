package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"gaggle/coord/graph"
	"gaggle/wire"
)

// submit expands a graph, gives it to the coordinator and follows the job.
func (s *session) submit(ctx context.Context, cmd *Command, input io.Reader) (*End, error) {
	sub := cmd.Submit
	text, err := s.readGraph(cmd.Dir, sub, input)
	if err != nil {
		return nil, err
	}
	name := "standard input"
	dir := cmd.Dir
	if sub.Graph != "" {
		name, dir = sub.Graph, filepath.Dir(absolute(cmd.Dir, sub.Graph))
	}
	if sub.GraphDir != "" {
		dir = absolute(cmd.Dir, sub.GraphDir)
	}
	f, err := graph.Decode(bytes.NewReader(text), name)
	if err != nil {
		return nil, err
	}
	rec := &record{
		Name: filepath.Base(name), Dir: cmd.Dir, Graph: sub.Graph, Params: sub.Params, Out: absolute(cmd.Dir, sub.Out),
		Replace: sub.Replace, Detached: sub.Detach, Twice: sub.Twice, Verify: sub.Verify, Trust: sub.Trust,
		Local: cmd.Local, Passing: sub.Passing,
	}
	writes := !sub.Plan && !sub.Detach
	if writes {
		if err := checkOut(rec.Out); err != nil {
			return nil, err
		}
	}
	l, err := s.link(ctx, cmd)
	if err != nil {
		return nil, err
	}
	plan, err := s.expand(ctx, cmd, l, f, dir, sub.Params)
	if err == nil && sub.Only != "" {
		err = keepOnly(plan, sub.Only)
	}
	if err == nil && writes {
		err = rec.checkTargets(plan)
	}
	if err != nil {
		return nil, err
	}
	rec.Mesh = l.name
	if sub.GraphDir != "" {
		rec.GraphDir = dir
	}
	if sub.Plan {
		return s.plan(ctx, l, rec, plan)
	}
	return s.begin(ctx, l, rec, plan, sub.KeepGoing, text)
}

// readGraph reads the graph from its file, or from the command.
func (s *session) readGraph(dir string, sub *Submit, input io.Reader) ([]byte, error) {
	name := "standard input"
	if sub.Graph != "" {
		name = sub.Graph
		f, err := os.Open(absolute(dir, sub.Graph))
		if errors.Is(err, os.ErrNotExist) {
			return nil, wire.Errorf(wire.CauseInvalid, "name a graph file, or - for standard input", "there is no graph file %s", absolute(dir, sub.Graph))
		}
		if err != nil {
			return nil, wire.Errorf(wire.CauseInvalid, "check its permissions", "opening the graph file: %v", err)
		}
		defer f.Close()
		input = f
	}
	b, err := io.ReadAll(io.LimitReader(input, wire.MaxGraphFile+1))
	switch {
	case errors.Is(err, syscall.EISDIR):
		return nil, wire.Errorf(wire.CauseInvalid, "name the graph file in it", "%s is a directory", name)
	case err != nil:
		return nil, wire.Errorf(wire.CauseInvalid, "check that it is a readable file", "reading the graph: %v", err)
	case len(b) > wire.MaxGraphFile:
		return nil, wire.Errorf(wire.CauseTooLarge, "make the tasks with for, or split the job", "%s exceeds the bound of %d MiB for a graph",
			name, wire.MaxGraphFile>>20)
	}
	return b, nil
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// expand makes thunks of a graph, telling how the hashing of inputs goes.
func (s *session) expand(ctx context.Context, cmd *Command, l *link, f *graph.File, dir string, params map[string]string) (*graph.Plan, error) {
	s.from = new(sources)
	files := &inputs{store: s.a.backend.store, space: l.space, send: s.send, from: s.from}
	roots := &roots{b: s.a.backend, space: l.space, path: cmd.Path, dir: dir, send: s.send, from: s.from}
	plan, err := graph.Expand(ctx, f, graph.Env{Dir: dir, Params: params, Files: files, Roots: roots})
	if err != nil {
		return nil, err
	}
	return plan, files.last()
}

// keepOnly cuts a plan down to one task, by name or by the name of a task in its sub-graph, or to
// all instances of one, and what it needs, which of a member of a gang is all others. Its outputs
// become the targets, below its name; of a service, which has none, those of its gang.
func keepOnly(p *graph.Plan, only string) error {
	kept := named(p, only)
	if len(kept) == 0 {
		var names []string
		for i := range p.Tasks {
			name, _, _ := strings.Cut(p.Tasks[i].Name, "[")
			names = append(names, name)
		}
		slices.Sort(names)
		hint := graph.Nearest(only, slices.Compact(names))
		return wire.Errorf(wire.CauseInvalid, cmp.Or(hint, "coord submit --plan lists the tasks"), "the graph has no task %q", only)
	}
	need := map[wire.ThunkID]bool{}
	for _, at := range kept {
		need[p.IDs[at]] = true
	}
	gangs := map[string]bool{}
	for more := true; more; {
		more = false
		for i := len(p.Tasks) - 1; i >= 0; i-- {
			g := p.Tasks[i].Gang
			if g != nil && gangs[g.Name] && !need[p.IDs[i]] {
				need[p.IDs[i]], more = true, true
			}
			if !need[p.IDs[i]] {
				continue
			}
			if g != nil && !gangs[g.Name] {
				gangs[g.Name], more = true, true
			}
			for _, in := range p.Thunks[i].Inputs {
				if in.Object.Kind == wire.Pending {
					need[wire.ThunkID(in.Object.Digest)] = true
				}
			}
		}
	}
	last := *p
	p.Tasks, p.Thunks, p.IDs, p.Targets = nil, nil, nil, nil
	for i := range last.Tasks {
		if need[last.IDs[i]] {
			p.Tasks, p.Thunks, p.IDs = append(p.Tasks, last.Tasks[i]), append(p.Thunks, last.Thunks[i]), append(p.IDs, last.IDs[i])
		}
	}
	for i := range last.Tasks {
		t := &last.Tasks[i]
		if !slices.Contains(kept, i) && !slices.ContainsFunc(kept, func(at int) bool { return serves(&last.Tasks[at], t) }) {
			continue
		}
		for _, o := range last.Thunks[i].Outputs {
			path := strings.Map(pathRune, t.Name) + "/" + o.Path
			p.Targets = append(p.Targets, wire.TargetSpec{Path: path, Thunk: last.IDs[i], Output: o.Path})
		}
	}
	return nil
}

// serves reports whether a task is a service of another's gang.
func serves(s, t *wire.TaskSpec) bool {
	return s.Gang != nil && s.Gang.Service && t.Gang != nil && t.Gang.Name == s.Gang.Name
}

// named returns where in the plan the task of a name is, or the one in whose sub-graph it is; else
// where the instances are of the task of that name in the graph file.
func named(p *graph.Plan, name string) (found []int) {
	for i := range p.Tasks {
		n := p.Tasks[i].Name
		if (n == name || strings.HasPrefix(name, n+"/")) && (found == nil || len(n) > len(p.Tasks[found[0]].Name)) {
			found = []int{i}
		}
	}
	for i := 0; i < len(p.Tasks) && (found == nil || strings.HasPrefix(p.Tasks[found[0]].Name, name+"[")); i++ {
		if strings.HasPrefix(p.Tasks[i].Name, name+"[") {
			found = append(found, i)
		}
	}
	return found
}

// pathRune keeps what a task's name may have in a path of its own.
func pathRune(c rune) rune {
	if c == '/' || c == 0 {
		return '_'
	}
	return c
}

// distinct returns the tasks of a plan without those that are equal to one before them: that one
// is run, and counted, for all.
func distinct(p *graph.Plan) []wire.TaskSpec {
	seen := make(map[wire.ThunkID]bool, len(p.IDs))
	tasks := make([]wire.TaskSpec, 0, len(p.Tasks))
	for i, id := range p.IDs {
		if !seen[id] {
			seen[id] = true
			tasks = append(tasks, p.Tasks[i])
		}
	}
	return tasks
}

// parts counts the tasks of a plan that only take a part of a directory, each once.
func parts(p *graph.Plan) int {
	seen := map[wire.ThunkID]bool{}
	for i, th := range p.Thunks {
		if th.Command[0] == wire.BuiltinSelect {
			seen[p.IDs[i]] = true
		}
	}
	return len(seen)
}

// begin submits a plan as a job. The job goes on when the command goes away, once Started.
func (s *session) begin(ctx context.Context, l *link, rec *record, plan *graph.Plan, keepGoing bool, text []byte) (*End, error) {
	var id wire.JobID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	rec.Job, rec.Begun, rec.Parts = id.String(), time.Now(), parts(plan)
	if rec.Graph == "" && rec.Run == nil {
		rec.Copy = s.a.dir.jobFile(rec.Job, ".graph")
		if err := writeFile(rec.Copy, text); err != nil {
			return nil, fmt.Errorf("keeping a copy of the graph: %w", err)
		}
	}
	if err := s.a.backend.hold(ctx, l, id, plan.Leaves); err != nil {
		return nil, err
	}
	tasks := distinct(plan)
	sub := &submission{
		head: wire.Submit{
			Job: id, Space: l.space, Name: rec.Name, KeepGoing: keepGoing, Twice: rec.Twice, Verify: rec.Verify, Trust: rec.Trust,
			Tasks: len(tasks), Targets: plan.Targets, Passing: rec.Passing,
			Detach: rec.Detached && l.name != "", // on this machine alone there is nobody to copy to
		},
		tasks: tasks,
		kinds: s.a.backend.kinds(rec.Name, tasks),
	}
	j := s.a.backend.newJob(l, rec, id)
	j.submit, j.from, j.targets = sub, s.from, plan.Targets
	j.encoded = make(map[wire.ThunkID][]byte, len(plan.Tasks))
	for i := range plan.Tasks {
		j.encoded[plan.IDs[i]] = plan.Tasks[i].Thunk
	}
	for _, o := range plan.Leaves {
		j.pinned = append(j.pinned, o.Digest)
	}
	if err := j.keepSubmitted(plan.Tasks); err != nil {
		j.discard()
		return nil, err
	}
	s.a.backend.start(j)
	end, err := s.follow(ctx, j)
	if !j.isAccepted() {
		j.abandon() // nobody waits for a job that the coordinator has not taken
	}
	return end, err
}
