package client

import (
	"context"
	"slices"

	"gaggle/wire"
)

// A callPlan tells which of some calls, which are not carried out, have a value that is known.
type callPlan struct {
	link   *link
	calls  []*deferredCall
	tasks  []PlanTask
	thunks []*wire.Thunk                            // nil of those that are not known
	values map[*deferredCall]map[string]wire.Object // outputs by their names, of those that have a value
}

// planCalls tells of the calls of a build, when those that are carried out have ended.
func (s *session) planCalls(ctx context.Context, l *link, calls []*deferredCall) error {
	p := &callPlan{l, calls, make([]PlanTask, len(calls)), make([]*wire.Thunk, len(calls)), map[*deferredCall]map[string]wire.Object{}}
	for i, c := range calls {
		p.tasks[i].Name = c.name
		if c.demanded { // which changes no more
			p.tasks[i].Known = KnownMade
		}
	}
	for more := true; more; {
		var err error
		if more, err = p.step(ctx); err != nil {
			return err
		}
	}
	for i := range p.tasks {
		if t := &p.tasks[i]; t.Known == "" {
			t.Known = KnownDepends
		}
	}
	for part := range slices.Chunk(p.tasks, planEvent) {
		if err := s.send(&Event{Plan: &Plan{Tasks: part, More: true}}); err != nil {
			return err
		}
	}
	return nil
}

// step asks for the values of those calls whose inputs have become known, and reports whether there
// were some.
func (p *callPlan) step(ctx context.Context) (more bool, err error) {
	asked := map[wire.Trust][]int{}
	for i, c := range p.calls {
		if p.tasks[i].Known != "" {
			continue
		}
		objects, ok := p.inputs(c)
		if !ok {
			continue
		}
		more = true
		plan, err := c.draft.Plan(ctx, objects)
		if err != nil {
			p.tasks[i].Known = KnownHere
			continue
		}
		p.thunks[i] = plan.Thunk
		p.tasks[i].Known, p.tasks[i].Bytes = KnownNot, plan.Thunk.InputBytes()
		asked[c.trust] = append(asked[c.trust], i)
	}
	for trust, calls := range asked {
		if err := p.ask(ctx, trust, calls); err != nil {
			return false, err
		}
	}
	return more, nil
}

// inputs returns what the files of a call are that other calls make, if that is known.
func (p *callPlan) inputs(c *deferredCall) (objects []wire.Object, ok bool) {
	for _, name := range c.draft.Pending {
		f := c.sight.waits[name]
		outputs := p.values[f.call]
		select {
		case <-f.call.valued:
			outputs = f.call.outputs
		default:
		}
		o, ok := outputs[f.output]
		if !ok {
			return nil, false
		}
		objects = append(objects, o)
	}
	return objects, true
}

// ask asks for the values of calls.
func (p *callPlan) ask(ctx context.Context, trust wire.Trust, calls []int) error {
	ids := make([]wire.ThunkID, len(calls))
	for k, i := range calls {
		ids[k], _ = p.thunks[i].Encode()
	}
	found, err := p.link.values(ctx, ids, trust)
	if err != nil {
		return err
	}
	for k, i := range calls {
		if found[k] == nil || len(found[k].Outputs) != len(p.thunks[i].Outputs) {
			continue
		}
		p.tasks[i].Known = KnownMemo
		outputs := map[string]wire.Object{}
		for n, o := range p.thunks[i].Outputs {
			outputs[o.Path] = found[k].Outputs[n]
		}
		p.values[p.calls[i]] = outputs
	}
	return nil
}
