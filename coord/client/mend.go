package client

import (
	"context"
	"slices"
	"sync"

	"gaggle/wire"
)

// sources are where the inputs and roots of a job came from, so that what the store has lost -
// a disk forgets - is made again while the job needs it. Safe for concurrent use.
type sources struct {
	mu sync.Mutex // guards of
	of map[wire.Digest]source
}

// A source makes an object again.
type source struct {
	name string // for people
	make func(context.Context) (wire.Object, error)
}

// note remembers how o was made, if it was. It passes its arguments on.
func (s *sources) note(name string, make func(context.Context) (wire.Object, error), o wire.Object, err error) (wire.Object, error) {
	if err != nil {
		return o, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[wire.Digest]source{}
	}
	s.of[o.Digest] = source{name, make}
	return o, nil
}

func (s *sources) find(d wire.Digest) (source, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, ok := s.of[d]
	return from, ok
}

// mend makes those of the lost objects again that the job has as inputs, in the background. The
// caller holds backend.mu.
func (j *job) mend(ds []wire.Digest) {
	ds = slices.DeleteFunc(slices.Clone(ds), func(d wire.Digest) bool {
		_, ok := j.from.find(d)
		return !ok
	})
	if len(ds) == 0 {
		return
	}
	// The goroutine that follows j is counted until j is no more among the jobs, so this one is
	// waited for.
	j.b.work.Go(func() {
		for _, d := range ds {
			j.mendOne(j.b.ctx, d)
		}
	})
}

func (j *job) mendOne(ctx context.Context, d wire.Digest) {
	from, _ := j.from.find(d)
	o, err := from.make(ctx)
	switch {
	case err != nil:
		j.tell(&Event{Note: from.name + " was damaged in the store and cannot be read again: " + err.Error()})
		return
	case o.Digest != d:
		j.tell(&Event{Note: from.name + " was damaged in the store, and has changed since the job began; submit again"})
		return
	}
	j.b.store.Pin(j.link.space, d, j.id.String())
	j.link.worker.Announce(j.link.space, []wire.Object{o})
	j.tell(&Event{Note: from.name + " was damaged in the store and has been read again"})
}
