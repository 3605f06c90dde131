package client

import (
	"context"
	"slices"

	"gaggle/coord/graph"
	"gaggle/wire"
)

// What a PlanTask may say of its value.
const (
	KnownMemo    = "memo"    // its value is known
	KnownNot     = "run"     // it has to run
	KnownDepends = "depends" // it depends on what others give
	KnownMade    = "made"    // a program of the build needed it
	KnownHere    = "here"    // it cannot run elsewhere
	KnownEqual   = "equal"   // it is the same thunk as one before it, which is run for both
)

// planEvent is how many tasks one Event lists, so that it stays within a frame.
const planEvent = 5000

// plan tells what submitting a plan would run.
func (s *session) plan(ctx context.Context, l *link, rec *record, p *graph.Plan) (*End, error) {
	known, err := l.known(ctx, p, rec.Trust)
	if err != nil {
		return nil, err
	}
	kinds := s.a.backend.kinds(rec.Name, p.Tasks)
	tasks := make([]PlanTask, len(p.Tasks))
	end := &End{}
	seen := make(map[wire.ThunkID]bool, len(p.IDs))
	for i, id := range p.IDs {
		if seen[id] {
			tasks[i] = PlanTask{Name: p.Tasks[i].Name, Known: KnownEqual, Bytes: p.Thunks[i].InputBytes()}
			continue
		}
		seen[id] = true
		end.Counts.Tasks++
		tasks[i] = PlanTask{Name: p.Tasks[i].Name, Known: known[i], Bytes: p.Thunks[i].InputBytes(), Run: kinds[KindOf(p.Tasks[i].Name)].Mean}
		if known[i] == KnownMemo {
			end.Counts.Memo++
		}
	}
	for part := range slices.Chunk(tasks, planEvent) {
		if err := s.send(&Event{Plan: &Plan{Tasks: part, More: true}}); err != nil {
			return nil, err
		}
	}
	last := new(Plan)
	for _, t := range p.Targets {
		last.Targets = append(last.Targets, t.Path)
	}
	return end, s.send(&Event{Plan: last})
}

// known says of each task what submitting it would do. It resolves tasks with the values that
// the coordinator knows, level by level.
func (l *link) known(ctx context.Context, p *graph.Plan, trust wire.Trust) ([]string, error) {
	known := make([]string, len(p.Tasks))
	values := map[wire.ThunkID]*wire.Value{} // by unresolved thunk
	at := make(map[wire.ThunkID]int, len(p.IDs))
	for i, id := range p.IDs {
		at[id] = i
	}
	lookup := func(id wire.ThunkID, output string) (wire.Object, bool) {
		v := values[id]
		if v == nil {
			return wire.Object{}, false
		}
		i, ok := p.Thunks[at[id]].OutputIndex(output)
		if !ok || i >= len(v.Outputs) {
			return wire.Object{}, false
		}
		return v.Outputs[i], true
	}
	for {
		var asked []int
		var ids []wire.ThunkID
		for i, t := range p.Thunks {
			if known[i] != "" {
				continue
			}
			r, err := t.Resolve(lookup)
			if err != nil {
				continue // not yet
			}
			id, _ := r.Encode()
			asked, ids = append(asked, i), append(ids, id)
		}
		if len(asked) == 0 {
			break
		}
		found, err := l.values(ctx, ids, trust)
		if err != nil {
			return nil, err
		}
		for k, i := range asked {
			known[i] = KnownNot
			if found[k] != nil {
				known[i] = KnownMemo
				values[p.IDs[i]] = found[k]
			}
		}
	}
	for i := range known {
		if known[i] == "" {
			known[i] = KnownDepends
		}
	}
	return known, nil
}

// values asks for the values of resolved thunks; those not known are nil.
func (l *link) values(ctx context.Context, ids []wire.ThunkID, trust wire.Trust) ([]*wire.Value, error) {
	var values []*wire.Value
	for part := range slices.Chunk(ids, wire.MaxBatch) {
		r, err := l.ask(ctx, &wire.Request{Known: &wire.Known{Space: l.space, Thunks: part, Trust: trust}})
		if err != nil {
			return nil, err
		}
		if len(r.Values) != len(part) {
			return nil, wire.Errorf(wire.CauseVersion, "", "asked the coordinator about %d thunks and got %d answers", len(part), len(r.Values))
		}
		for _, b := range r.Values {
			var v *wire.Value
			if len(b) > 0 {
				if v, err = wire.DecodeValue(b); err != nil {
					return nil, err
				}
			}
			values = append(values, v)
		}
	}
	return values, nil
}
