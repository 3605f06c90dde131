package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"gaggle/coord/graph"
	"gaggle/coord/server"
	"gaggle/wire"
)

// A prover finds the values of a job's tasks as the coordinator did, but only by what those claim whom
// the job believes: it resolves each thunk with the values proven for its inputs, and takes for its
// value what is claimed of the resolved thunk. A graph that a thunk wrote is read from who holds it,
// and expanded here, too. Its memory is the job's: a thunk, its claims and its value for each task.
type prover struct {
	link   *link
	claims *claims
	job    string // of which a person can ask later; "" is none
	// read returns the graph that a task wrote.
	read func(context.Context, wire.Object) ([]byte, error)

	tasks  map[wire.ThunkID]*wire.TaskSpec // by the unresolved thunk
	values map[wire.ThunkID]*proven        // nil while it is being found
	gangs  map[wire.ThunkID]bool           // members of gangs, and what is known to be made of them
}

// A proven is the value of a task, after expansion.
type proven struct {
	names []wire.Output
	outs  []wire.Object
}

// errGang is why the value of a task cannot be proven: what members of a gang give hangs on each other,
// is no value of their thunks, and is claimed by nobody.
var errGang = errors.New("made of what a gang gave")

const hintUnproven = "submit again: what cannot be shown is made again; if that does not help, the coordinator is not to be believed"

// hintUnkept is for what this machine itself has lost.
const hintUnkept = "submit again; the coordinator is not to blame: this machine's disk has not kept all that was submitted"

// hint says what to do where the claims of a resolved thunk do not show enough. After a restart the
// coordinator has the certificates of those alone that have connected again.
func (p *prover) hint(resolved wire.ThunkID) string {
	switch {
	case len(p.claims.away[resolved]) == 0:
		return hintUnproven
	case p.job == "":
		return "try again when they are connected (coord nodes)"
	}
	return "when they are connected (coord nodes), coord get " + p.job + " checks it again; if they do not come back, submit again"
}

func newProver(l *link, trust wire.Trust) *prover {
	return &prover{link: l, claims: newClaims(l.authority, trust, l.space), tasks: map[wire.ThunkID]*wire.TaskSpec{}, values: map[wire.ThunkID]*proven{},
		gangs: map[wire.ThunkID]bool{}}
}

func (p *prover) add(t *wire.TaskSpec) {
	if id := wire.ThunkID(wire.Sum(t.Thunk)); p.tasks[id] == nil {
		p.tasks[id] = t
	}
}

// target checks that an object is what the job's task gave. The error is errGang, of
// wire.CauseUnproven, or says why nobody can tell.
func (p *prover) target(ctx context.Context, spec *wire.TargetSpec, got wire.Object) error {
	if err := p.prove(ctx, spec.Thunk, 0); err != nil {
		return err
	}
	want, ok := p.values[spec.Thunk].output(spec.Output)
	if !ok || want != got {
		return wire.Errorf(wire.CauseUnproven, hintUnproven, "target %s was delivered as %s, but the nodes that the job believes gave %s", spec.Path, got.CID(), want.CID())
	}
	return nil
}

func (v *proven) output(path string) (wire.Object, bool) {
	i := slices.IndexFunc(v.names, func(o wire.Output) bool { return o.Path == path })
	if i < 0 || i >= len(v.outs) {
		return wire.Object{}, false
	}
	return v.outs[i], true
}

// A step is a task on the way from one that is to be proven to what it needs.
type step struct {
	id wire.ThunkID
	th *wire.Thunk // once what it needs was added behind it
}

// prove finds the value of a task, and of all that it needs before that. For sub-graphs it calls itself,
// up to wire.MaxNesting times.
func (p *prover) prove(ctx context.Context, id wire.ThunkID, nesting int) error {
	for way := []step{{id: id}}; len(way) > 0; {
		s := &way[len(way)-1]
		var err error
		switch v, begun := p.values[s.id]; {
		case s.th != nil:
			err = p.settle(ctx, s.id, s.th, nesting)
			way = way[:len(way)-1]
		case v != nil:
			way = way[:len(way)-1]
		case begun:
			err = wire.Errorf(wire.CauseUnproven, hintUnproven, "task %s waits for itself", p.name(s.id))
		default:
			way, err = p.begin(way)
		}
		if err != nil {
			for _, s := range way {
				if s.th != nil { // the last one needs it, be it by others
					delete(p.values, s.id)
					p.gangs[s.id] = errors.Is(err, errGang)
				}
			}
			return err
		}
	}
	return nil
}

// begin adds what the last task of the way needs behind it.
func (p *prover) begin(way []step) ([]step, error) {
	s := &way[len(way)-1]
	spec := p.tasks[s.id]
	switch {
	case spec == nil:
		return way, wire.Errorf(wire.CauseUnproven, hintUnkept, "thunk %s is needed, and nothing is known of it here", s.id)
	case spec.Gang != nil || p.gangs[s.id]:
		return way, errGang
	}
	th, err := wire.DecodeThunk(spec.Thunk)
	if err != nil {
		return way, err
	}
	s.th, p.values[s.id] = th, nil
	for _, in := range th.Inputs {
		if dep := wire.ThunkID(in.Object.Digest); in.Object.Kind == wire.Pending && p.values[dep] == nil {
			way = append(way, step{id: dep})
		}
	}
	return way, nil
}

func (p *prover) name(id wire.ThunkID) string {
	if t := p.tasks[id]; t != nil {
		return t.Name
	}
	return id.String()
}

// settle finds the value of a task for whose inputs all is proven.
func (p *prover) settle(ctx context.Context, id wire.ThunkID, th *wire.Thunk, nesting int) error {
	resolved, err := th.Resolve(func(dep wire.ThunkID, output string) (wire.Object, bool) {
		return p.values[dep].output(output)
	})
	if err != nil {
		return wire.Errorf(wire.CauseUnproven, hintUnproven, "task %s: %v", p.name(id), err)
	}
	rid, _ := resolved.Encode()
	if err := p.claims.ask(ctx, p.link, []wire.ThunkID{rid}); err != nil {
		return err
	}
	values := slices.DeleteFunc(p.claims.believed(rid), func(outs []wire.Object) bool { return wire.NewValue(outs).Matches(resolved) != nil })
	switch len(values) {
	case 0:
		return wire.Errorf(wire.CauseUnproven, p.hint(rid), "of task %s it is not shown %s", p.name(id), p.claims.missing(rid))
	case 1:
	default:
		return wire.Errorf(wire.CauseNondeterministic, "coord submit --check-determinism finds out where they differ",
			"of task %s the nodes that the job believes claim %d different values, so nothing made of it can be proven", p.name(id), len(values))
	}
	v := &proven{names: th.Outputs, outs: slices.Clone(values[0])}
	for i, o := range v.outs {
		if o.Kind == wire.Graph {
			if v.outs[i], err = p.expand(ctx, id, resolved, o, nesting); err != nil {
				return err
			}
		}
	}
	p.values[id] = v
	return nil
}

// expand returns what a graph that a task wrote comes to.
func (p *prover) expand(ctx context.Context, id wire.ThunkID, parent *wire.Thunk, o wire.Object, nesting int) (wire.Object, error) {
	none := wire.Object{}
	if nesting >= wire.MaxNesting {
		return none, wire.Errorf(wire.CauseUnproven, "", "sub-graphs of task %s are nested deeper than %d", p.name(id), wire.MaxNesting)
	}
	text, err := p.read(ctx, o)
	if err != nil {
		return none, wire.Errorf(wire.CauseUnproven, hintUnproven, "the sub-graph that task %s wrote cannot be read, and so not what was made of it proven: %v", p.name(id), err)
	}
	tasks, target, err := server.ExpandGraph(ctx, bytes.NewReader(text), &graph.Parent{Thunk: parent, Name: p.name(id)})
	if err != nil {
		return none, fmt.Errorf("expanding the sub-graph of task %s: %w", p.name(id), err)
	}
	if len(p.tasks)+len(tasks) > wire.MaxJobThunks {
		return none, wire.Errorf(wire.CauseTooLarge, "", "the job has more than %d tasks", wire.MaxJobThunks)
	}
	for i := range tasks {
		p.add(&tasks[i])
	}
	if err := p.prove(ctx, target.Thunk, nesting+1); err != nil {
		return none, err
	}
	out, ok := p.values[target.Thunk].output(target.Output)
	if !ok {
		return none, wire.Errorf(wire.CauseUnproven, "", "the sub-graph of task %s has no output %q", p.name(id), target.Output)
	}
	return out, nil
}
