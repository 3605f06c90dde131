package sched

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// crashes is what a node does to every task that has bad memory.
func crashes(*wire.Thunk) *wire.Failure {
	return &wire.Failure{Cause: wire.CauseSignal, Message: "SIGSEGV"}
}

// independent returns a graph of n tasks of as many kinds, and its names.
func independent(n int) (text string, names []string) {
	for i := range n {
		text += fmt.Sprintf("t%d -> src%d; ", i, i)
		names = append(names, fmt.Sprint("t", i))
	}
	return strings.TrimSuffix(text, "; "), names
}

func withRetries(n int) func(*Submitted) {
	return func(s *Submitted) {
		for k := range s.Tasks {
			s.Tasks[k].Hints.Retries = n
		}
	}
}

func (w *world) stateOf(name string) string {
	for _, n := range w.s.Nodes() {
		if n.Info.Name == name {
			return n.State
		}
	}
	return "unknown"
}

// TestBadNodeIsQuarantined: what fails on one node and succeeds elsewhere shuts that node out, and
// when it is well again it comes back by itself.
func TestBadNodeIsQuarantined(t *testing.T) {
	w, client := small(t, 4)
	bad := w.nodes[2]
	bad.bad = crashes
	text, names := independent(40)
	p := makePlan(t, text)
	id := w.submit(1, client, p, withRetries(1), names...)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if got := w.stateOf("node2"); got != "quarantined" {
		t.Fatalf("node2 is %s, want quarantined", got)
	}
	before := w.offers[bad.peer]
	p = makePlan(t, strings.ReplaceAll(text, "src", "other"))
	id = w.submit(2, client, p, nil, names...)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if got := w.offers[bad.peer]; got != before {
		t.Errorf("%d offers to a quarantined node", got-before)
	}

	// On trial a failure is not the task's: without retries it succeeds elsewhere all the same.
	w.run(probation, nil)
	p = makePlan(t, strings.ReplaceAll(text, "src", "third"))
	id = w.submit(3, client, p, nil, names...)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if got := w.offers[bad.peer]; got != before+1 || w.stateOf("node2") != "quarantined" {
		t.Errorf("%d offers on trial, node2 is %s; want 1 and quarantined", got-before, w.stateOf("node2"))
	}

	bad.bad = nil
	w.run(2*probation, nil)
	p = makePlan(t, strings.ReplaceAll(text, "src", "fourth"))
	id = w.submit(4, client, p, nil, names...)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if got := w.stateOf("node2"); got != "up" || w.offers[bad.peer] < before+3 {
		t.Errorf("node2 is %s after it gave a value, want up; %d offers", got, w.offers[bad.peer]-before-1)
	}
}

// TestFlakyTasksBlameNobody: a kind that fails here and there says nothing of nodes.
func TestFlakyTasksBlameNobody(t *testing.T) {
	w, client := small(t, 4)
	failed := map[string]bool{}
	w.bad = func(th *wire.Thunk) *wire.Failure {
		id, _ := th.Encode()
		if k := id.String(); !failed[k] && w.rng.IntN(3) == 0 {
			failed[k] = true
			return &wire.Failure{Cause: wire.CauseExit, Message: "exit 1"}
		}
		return nil
	}
	var text []string
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("t[%d]", i))
		text = append(text, fmt.Sprintf("%s -> src%d", names[i], i))
	}
	p := makePlan(t, strings.Join(text, "; "))
	id := w.submit(1, client, p, withRetries(3), names...)
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if len(failed) < 10 {
		t.Fatalf("only %d tasks failed", len(failed))
	}
	for _, n := range w.s.Nodes() {
		if n.Quarantine != "" {
			t.Errorf("%s is quarantined: %s", n.Info.Name, n.Quarantine)
		}
	}
}

// TestQuarantineOutlivesTheCoordinator, and the last good node is never shut out but by hand.
func TestQuarantineOutlivesTheCoordinator(t *testing.T) {
	w, client := small(t, 2)
	one := w.nodes[1]
	w.step(Quarantined{Peer: one.peer, Reason: "it smells of smoke", ByHand: true})
	w.restart()
	w.run(20*time.Second, nil)
	text, names := independent(6)
	p := makePlan(t, text)
	id := w.submit(1, client, p, nil, names...)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if w.stateOf("node1") != "quarantined" || w.offers[one.peer] != 0 {
		t.Errorf("node1 is %s with %d offers, want quarantined", w.stateOf("node1"), w.offers[one.peer])
	}
	w.step(Quarantined{Peer: one.peer, Over: true})
	w.restart()
	w.run(20*time.Second, nil)
	if w.stateOf("node1") != "up" {
		t.Errorf("node1 is %s after its release, want up", w.stateOf("node1"))
	}
}

// TestQuarantinedAlone: without another node a task waits and says for what; then it is tried.
func TestQuarantinedAlone(t *testing.T) {
	w, client := small(t, 1)
	w.step(Quarantined{Peer: w.nodes[1].peer, Reason: "3 tasks failed on it"})
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Second, nil)
	if why := w.s.Tasks(id, "a")[0].Waiting; !strings.Contains(why, "node1 is quarantined") {
		t.Errorf("a waits for %q", why)
	}
	w.run(2*probation, w.ended(id))
	w.wantValues(id, p, "a")
}

// TestBlamesAreBounded: also on a node that cannot be spared.
func TestBlamesAreBounded(t *testing.T) {
	w, client := small(t, 3)
	w.calm = true
	w.runs = func(string) time.Duration { return 20 * time.Millisecond }
	w.step(Quarantined{Peer: w.nodes[3].peer, Reason: "by hand", ByHand: true})
	w.nodes[2].bad = crashes
	text, names := independent(2000)
	p := makePlan(t, text)
	id := w.submit(1, client, p, withRetries(1), names...)
	w.run(5*time.Minute, w.ended(id))
	n := w.s.nodes[w.s.nodeOf[w.nodes[2].peer]]
	t.Logf("node2 is %s with %d blames", w.stateOf("node2"), len(n.blames))
	if len(n.blames) > maxBlames {
		t.Error("unbounded")
	}
}

// TestReleaseFreesWhatWaitedForIt: a run for which there is only a node in quarantine goes on when the
// node is let in, though others are up and idle.
func TestReleaseFreesWhatWaitedForIt(t *testing.T) {
	w, client := small(t, 2)
	only := w.nodes[1]
	only.hello.Labels = map[string]string{"gpu": "yes"}
	only.disconnect()
	only.connect()
	w.step(Quarantined{Peer: only.peer, Reason: "away", ByHand: true})
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, func(s *Submitted) {
		for i := range s.Tasks {
			s.Tasks[i].Hints.Labels = map[string]string{"gpu": "yes"}
		}
	}, "a")
	w.run(10*time.Second, w.ended(id))
	if w.done[id] != nil {
		t.Fatalf("done without its node: %+v", w.done[id])
	}
	w.step(Quarantined{Peer: only.peer, Over: true})
	w.run(10*time.Second, w.ended(id))
	w.wantValues(id, p, "a")
}
