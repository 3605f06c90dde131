package clustertest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A soak does harm to a mesh by a seed while jobs run on it, for as long as GAGGLE_SOAK says in
// seconds, and compares what they give with serial runs. Everything is done in turn by one
// goroutine: what a fault began is ended when its time has come.
type soak struct {
	t      *testing.T
	m      *Mesh
	rng    *rand.Rand
	longer time.Duration // no fault lasts longer
	begun  time.Time
	harmed map[string]time.Time // when the fault of a node, "coord" or a client began
	heals  []heal
	counts map[string]int

	clients []*Host
	jobs    []*Running // of clients, the current ones
	ended   int        // jobs that have
}

// A heal ends a fault.
type heal struct {
	at   time.Time
	who  string
	what string
	do   func()
}

func TestSoak(t *testing.T) {
	long := soakTime(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GAGGLE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("GAGGLE_SEED is %q, want a number", text)
		}
	}
	t.Logf("make soak SECONDS=%.0f SEED=%d", long.Seconds(), seed)
	s := &soak{t: t, rng: rand.New(rand.NewPCG(seed, 1)), longer: min(60*time.Second, long/3), harmed: map[string]time.Time{}, counts: map[string]int{}}
	s.m = NewMesh(t, bin, 4, 1)
	for _, name := range []string{"node5", "node6"} {
		h := s.m.Lab.Host(name)
		h.SmallDisk(128)
		s.m.Nodes, s.m.nodes = append(s.m.Nodes, h), append(s.m.nodes, s.m.StartNode(h, 1))
	}
	s.clients = []*Host{s.m.Client("anna"), s.m.Client("ben")}
	s.jobs = make([]*Running, len(s.clients))
	s.begun = time.Now()
	next := s.begun
	for time.Since(s.begun) < long {
		s.healDue(time.Now())
		s.work()
		if now := time.Now(); now.After(next) {
			s.harm()
			next = now.Add(s.between(500*time.Millisecond, 4*time.Second))
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.healDue(time.Now().Add(time.Hour))
	calm := time.Now()
	for i, j := range s.jobs {
		if j != nil {
			if <-j.done; j.Unreached() {
				j = s.clients[i].StartWork(j.work)
			}
			j.Check()
			s.ended++
		}
	}
	t.Logf("%v after the last fault the last job has ended", time.Since(calm).Round(10*time.Millisecond))
	for i, h := range s.m.Nodes {
		s.m.WaitState(h.Name, "up")
		select {
		case <-s.m.nodes[i].done:
			t.Errorf("the node on %s has ended by itself:\n%s", h.Name, s.m.nodes[i].Log())
		default:
		}
	}
	t.Logf("%d jobs gave the values of a serial run", s.ended)
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		t.Logf("%4d times: %s", s.counts[what], what)
	}
}

// soakTime returns for how long to soak, and skips the test if it is not asked for.
func soakTime(t *testing.T) time.Duration {
	text := os.Getenv("GAGGLE_SOAK")
	if text == "" {
		t.Skip("takes long: make soak SECONDS=600")
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds <= 0 {
		t.Fatalf("GAGGLE_SOAK is %q, want seconds", text)
	}
	return time.Duration(seconds) * time.Second
}

// work begins another job on each machine whose last one has ended.
func (s *soak) work() {
	for i, h := range s.clients {
		if j := s.jobs[i]; j != nil {
			select {
			case <-j.done:
				if j.Unreached() { // it began while the coordinator was down or cut off: users begin again
					s.counts["a submission finds no coordinator"]++
					s.jobs[i] = h.StartWork(j.work)
					continue
				}
				j.Check()
				s.ended++
			default:
				continue
			}
		}
		w := &Work{Seed: fmt.Sprintf("%s%d", h.Name, s.ended), Layers: 2 + s.rng.IntN(4), Width: 2 + s.rng.IntN(6),
			Sleep: 0.1 + s.rng.Float64(), Pad: 1 << s.rng.IntN(20)}
		s.jobs[i] = h.StartWork(w)
	}
}

// healDue ends the faults whose time has come.
func (s *soak) healDue(now time.Time) {
	slices.SortStableFunc(s.heals, func(a, b heal) int { return a.at.Compare(b.at) })
	for len(s.heals) > 0 && !s.heals[0].at.After(now) {
		h := s.heals[0]
		s.heals = s.heals[1:]
		h.do()
		s.t.Logf("%8v  %s: over after %v", time.Since(s.begun).Round(time.Millisecond), h.what, time.Since(s.harmed[h.who]).Round(time.Millisecond))
		delete(s.harmed, h.who)
	}
}

func (s *soak) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.rng.Int64N(int64(most-least)))
}

// most is how many may be harmed at once: half of the nodes stay.
const most = 3

// harm begins a fault, on somebody who has none.
func (s *soak) harm() {
	if len(s.harmed) >= most {
		return
	}
	who := s.rng.IntN(len(s.m.Nodes) + 2)
	switch who {
	case len(s.m.Nodes):
		s.harmCoordinator()
	case len(s.m.Nodes) + 1:
		h := s.clients[s.rng.IntN(len(s.clients))]
		s.fault(h.Name, "the submitter is cut off", h.Cut, h.Heal)
	default:
		s.harmNode(who)
	}
}

// fault begins a fault that another call ends later, unless the one it would harm has one.
func (s *soak) fault(who, what string, begin, end func()) {
	if _, has := s.harmed[who]; has {
		return
	}
	least := 300 * time.Millisecond
	long := s.between(least, 3*time.Second)
	if s.rng.IntN(3) == 0 {
		long = s.between(least, s.longer)
	}
	s.t.Logf("%8v  %s: %s for %v", time.Since(s.begun).Round(time.Millisecond), who, what, long.Round(time.Millisecond))
	s.counts[what]++
	s.harmed[who] = time.Now()
	begin()
	s.heals = append(s.heals, heal{time.Now().Add(long), who, who + ": " + what, end})
}

func (s *soak) harmCoordinator() {
	s.fault("hub", "the coordinator is killed", s.m.coord.Kill, func() {
		s.m.coord = s.m.Coord.Start("coord", "serve", "--state", filepath.Join(s.m.Coord.Dir, "serve"))
	})
}

func (s *soak) harmNode(i int) {
	h, p := s.m.Nodes[i], s.m.nodes[i]
	state := filepath.Join(h.Dir, "node")
	start := func() { s.m.nodes[i] = h.Start("node") }
	switch s.rng.IntN(8) {
	case 0:
		s.fault(h.Name, "a node is killed", p.Kill, start)
	case 1:
		s.fault(h.Name, "a node leaves in good order", func() {
			p.Signal(syscall.SIGTERM)
			<-p.done
		}, start)
	case 2:
		s.fault(h.Name, "a node is killed and its store damaged", func() {
			p.Kill()
			flipAll(s.t, filepath.Join(state, "store"))
		}, start)
	case 3:
		s.fault(h.Name, "a node is stopped", func() { p.Signal(syscall.SIGSTOP) }, func() { p.Signal(syscall.SIGCONT) })
	case 4:
		s.fault(h.Name, "a node is suspended", p.Freeze, p.Thaw)
	case 5:
		s.fault(h.Name, "what a node sends is lost", h.CutOut, h.HealOut)
	case 6:
		s.fault(h.Name, "what is sent to a node is lost", h.CutIn, h.HealIn)
	default:
		if i < len(s.m.Nodes)-2 {
			s.fault(h.Name, "a node is cut off", h.Cut, h.Heal)
			return
		}
		ballast := filepath.Join(state, "ballast")
		s.fault(h.Name, "a node's disk is full", func() { fill(s.t, ballast) }, func() {
			if err := os.Remove(ballast); err != nil {
				s.t.Error(err)
			}
		})
	}
}

// Half of eight nodes come and go for a tenth of the time, a minute at most, and cost less than
// 0.6 of what is got done.
func TestSoakWhileHalfComeAndGo(t *testing.T) {
	long := min(time.Minute, soakTime(t)/10)
	if long < 10*time.Second {
		t.Skip("too short to tell: make soak SECONDS=100, or more")
	}
	m := NewMesh(t, bin, 8, 1)
	stable, churned := m.churn(t, long)
	t.Logf("tasks a second: %.1f while all stay, %.1f while half come and go every 2 s: %.2f of it", stable, churned, churned/stable)
	if churned < 0.4*stable {
		t.Errorf("%.2f of the tasks a second while half of the nodes come and go, want 0.4", churned/stable)
	}
}
