package scan

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Options say how a Scanner works. The zero value keeps nothing on disk.
type Options struct {
	// Dir is where the compilers' answers are kept from one build to the next, at most 512 files
	// of at most 4 MiB; "" keeps none. It may be removed at any time.
	Dir string

	Log *slog.Logger // nil for none
}

// A Scanner lists what units read. One is meant to serve all units of a build: what they share is
// read once and kept. Safe for concurrent use.
type Scanner struct {
	store store
	log   *slog.Logger

	mu     sync.Mutex // guards the fields below
	cache  *cache
	probes map[string]*probing // by Unit.probeKey
	asked  map[string]bool     // questions that any compiler answered

	trusted bool // compilers are not looked at again; for tests without one
}

// A probing is a probe that is made, or was.
type probing struct {
	done  chan struct{} // closed when the rest is set
	probe *probe
	err   error
}

// New returns a Scanner.
func New(o Options) *Scanner {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Scanner{store: store{o.Dir}, log: o.Log, cache: newCache(), probes: map[string]*probing{}, asked: map[string]bool{}}
}

// Scan lists what the compile of a unit reads. Three things can happen: the list is complete;
// the unit is refused, as Result.Refused says, and the compiler has to be asked; or ctx ended,
// whose error is returned. Nothing that the files or the compiler hold makes it fail.
func (s *Scanner) Scan(ctx context.Context, u Unit) (*Result, error) {
	if why := u.refusal(); why != "" {
		return &Result{Refused: why}, nil
	}
	pr, err := s.probe(ctx, &u)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return &Result{Refused: "the compiler does not answer: " + err.Error()}, nil
	}
	if why := pr.tooOld(); why != "" {
		return &Result{Refused: why}, nil
	}
	p := s.newPass(ctx, &u, pr)
	if p.chain = p.findChain(); p.refused == "" {
		p.run()
	}
	if p.refused != "" && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return p.result(), nil
}

func (s *Scanner) newPass(ctx context.Context, u *Unit, pr *probe) *pass {
	s.mu.Lock()
	if s.cache.full() {
		s.cache = newCache()
	}
	c := s.cache
	s.mu.Unlock()
	table := c.table(pr)
	p := &pass{
		ctx: ctx, scanner: s, c: c, unit: u, probe: pr, now: time.Now(),
		table: make([]*macro, c.names.len()+1024), pushed: map[nameID][]*macro{}, off: map[nameID]bool{},
		files: map[*file]*opened{}, views: map[*listing]*view{}, answers: map[lookupKey]*lookup{},
		folds: map[string]folded{}, crossed: map[string]bool{}, links: map[string]bool{}, absolute: map[string]bool{}, returns: map[string]bool{},
	}
	copy(p.table, table)
	p.canonical = !pr.clang && !slices.Contains(u.Flags, "-fno-canonical-system-headers")
	return p
}

// probe returns what the compiler says for a unit's flags: as it said before if it is the same
// compiler, on this run or an earlier one.
func (s *Scanner) probe(ctx context.Context, u *Unit) (*probe, error) {
	key := u.probeKey()
	for {
		s.mu.Lock()
		b := s.probes[key]
		mine := b == nil
		if mine {
			if len(s.probes) >= maxProbes {
				clear(s.probes)
			}
			b = &probing{done: make(chan struct{})}
			s.probes[key] = b
		}
		s.mu.Unlock()
		if mine {
			b.probe, b.err = s.makeProbe(ctx, u, key)
			close(b.done)
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if mine && b.err == nil {
			return b.probe, nil
		}
		stands := b.err == nil && (s.trusted || b.probe.current())
		if stands {
			return b.probe, nil
		}
		s.forget(key, b)
		if mine {
			return nil, b.err
		}
	}
}

// forget drops a probe that failed or stands no more: the next unit asks again.
func (s *Scanner) forget(key string, b *probing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probes[key] == b {
		delete(s.probes, key)
	}
}

func (s *Scanner) makeProbe(ctx context.Context, u *Unit, key string) (*probe, error) {
	if kept := s.store.load(key); kept != nil {
		p := &probe{probed: *kept, key: key, command: u.preprocessor(), unknown: map[string]bool{}}
		p.derive()
		s.mu.Lock()
		defer s.mu.Unlock()
		for q := range kept.Answers {
			s.asked[q] = true
		}
		return p, nil
	}
	s.mu.Lock()
	c := s.cache
	s.mu.Unlock()
	p, err := askCompiler(ctx, u, append(s.questions(), c.hinted()...))
	if err != nil {
		return nil, err
	}
	p.key = key
	s.keep(p)
	return p, nil
}

// keep stores a probe; a failure costs the next build a question.
func (s *Scanner) keep(p *probe) {
	if err := s.store.save(p); err != nil {
		s.log.Warn("a compiler's answers are not kept", "dir", s.store.dir, "err", err)
	}
}

// questions returns all that was ever asked, with those given.
func (s *Scanner) questions(more ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append([]string(nil), more...)
	for q := range s.asked {
		all = append(all, q)
	}
	for _, q := range more {
		if len(s.asked) < maxAnswers {
			s.asked[q] = true
		}
	}
	return all
}
