//go:build unix

package main

import (
	"maps"
	"slices"

	"gaggle/coord/client"
)

// A sequence puts the calls of one build into the order that their files want.
type sequence struct {
	f       *forcing
	calls   map[int]*step      // by their place in the build
	makers  map[string]*step   // the last step that makes a file, by its path
	readers map[string][]*step // of that, since
	moves   map[string]string  // new names that files are still to get, by path
}

// add adds calls of one build.
func (f *forcing) add(in *client.Inferred, calls []int) {
	q := &sequence{f, map[int]*step{}, map[string]*step{}, map[string][]*step{}, map[string]string{}}
	for _, n := range calls {
		q.call(n, &step{call: &in.Calls[n], env: environment(in.Envs[in.Calls[n].Env])})
	}
	for _, path := range slices.Sorted(maps.Keys(q.moves)) {
		q.move(path)
	}
}

// call adds a call. What it reads is there by the name under which it reads it, and what it makes takes
// the place of nothing that others have still to read.
func (q *sequence) call(n int, s *step) {
	for _, need := range s.call.Needs {
		maker := q.calls[need.Call]
		if maker == nil {
			continue // it is made already: another file of it was asked for
		}
		for _, m := range maker.call.Makes {
			if m.End() == need.Path && q.moves[m.Path] == need.Path {
				q.move(m.Path)
			}
		}
		s.needs = append(s.needs, maker)
		if last := q.makers[need.Path]; last != nil && last != maker {
			s.needs = append(s.needs, last)
		}
		q.readers[need.Path] = append(q.readers[need.Path], s)
	}
	for _, m := range s.call.Makes {
		if q.moves[m.Path] != "" {
			q.move(m.Path)
		}
		q.make(s, m.Path)
		if end := m.End(); end != "" && end != m.Path {
			q.moves[m.Path] = end
		}
	}
	q.calls[n] = s
	q.append(s)
}

// move adds the step that gives a file its new name.
func (q *sequence) move(path string) {
	s := &step{from: path, to: q.moves[path], needs: []*step{q.makers[path]}, follow: q.readers[path]}
	delete(q.moves, path)
	q.make(s, s.to)
	q.makers[path], q.readers[path] = s, nil
	q.append(s)
}

// make notes that a step makes a file.
func (q *sequence) make(s *step, path string) {
	if other := q.makers[path]; other != nil && other != s {
		s.follow = append(s.follow, other)
	}
	for _, r := range q.readers[path] {
		if r != s {
			s.follow = append(s.follow, r)
		}
	}
	q.makers[path], q.readers[path] = s, nil
}

func (q *sequence) append(s *step) {
	s.done = make(chan struct{})
	q.f.steps = append(q.f.steps, s)
}
