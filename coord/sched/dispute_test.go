package sched

import (
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// disputed returns the names of the two nodes whose values differ, of the dispute noted last.
func (w *world) disputed() (first, second string) {
	for _, n := range w.notes {
		if _, rest, ok := strings.Cut(n.Note, "\": "); ok && strings.HasSuffix(rest, "gave different values; others run it to tell who is wrong") {
			first, rest, _ = strings.Cut(rest, " and ")
			second, _, _ = strings.Cut(rest, " ")
		}
	}
	return first, second
}

// TestDisputeOverARestart: the votes are not recorded, but the first value is, and the sample is the
// same in every life. So a value in dispute is not taken by the next life either: another owner's node
// runs it again, and if it is a liar's the same dispute ends as it would have.
func TestDisputeOverARestart(t *testing.T) {
	firsts := 0
	for _, percent := range []int{40, 100} {
		for liar := 1; liar <= 4; liar++ {
			w, client := owners(t, "anna", "bert", "carl", "carl")
			name := w.nodes[liar].hello.Name
			w.nodes[liar].lies = true
			text, names := independent(12)
			text += "; all -> t0 t1 t2 t3"
			names = append(names, "all")
			p := makePlan(t, text)
			id := w.submit(1, client, p, verify(percent), names...)
			for range 2 { // in the dispute, and once more when it has begun again
				w.notes = nil
				w.run(time.Minute, func() bool { f, _ := w.disputed(); return f != "" || w.ended(id)() })
				first, _ := w.disputed()
				if first == name {
					firsts++
				}
				w.restart()
				if first == "" {
					break
				}
				w.run(10*time.Minute, func() bool {
					return w.ended(id)() || w.stateOf(name) == "quarantined" || w.told("others run it")
				})
			}
			w.run(10*time.Minute, w.ended(id))
			if percent == 100 || w.stateOf(name) == "quarantined" {
				w.wantValues(id, p, names...)
			}
			for _, n := range w.s.Nodes() {
				if n.Info.Name != name && n.Quarantine != "" {
					t.Errorf("%d%%, %s lies: %s is quarantined: %s", percent, name, n.Info.Name, n.Quarantine)
				}
			}
		}
	}
	if firsts == 0 {
		t.Error("no dispute was over a liar's recorded value")
	}
	t.Logf("%d disputes over what a liar gave first", firsts)
}

// TestDisputedValueIsNotTaken: a lie that is recorded and was found to differ just before the
// coordinator's end convicts its node in the next life, though no other thunk is looked at.
func TestDisputedValueIsNotTaken(t *testing.T) {
	w, client := owners(t, "anna", "bert", "carl", "dora")
	liar := w.nodes[1]
	for _, n := range w.nodes[2:] { // so that the liar has it first
		w.step(Quarantined{Peer: n.peer, Reason: "away", ByHand: true})
	}
	liar.lies = true
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, verify(100), "a")
	recorded := func() bool {
		for _, r := range w.rows {
			if v, ok := r.(RowValue); ok && v.By.Signer == liar.peer {
				return true
			}
		}
		return false
	}
	w.run(time.Minute, recorded)
	if !recorded() {
		t.Fatal("the liar's value is not recorded")
	}
	for _, n := range w.nodes[2:] {
		w.step(Quarantined{Peer: n.peer, Over: true})
	}
	w.run(time.Minute, func() bool { f, _ := w.disputed(); return f == liar.hello.Name })
	if f, _ := w.disputed(); f != liar.hello.Name {
		t.Fatalf("no dispute over what the liar gave: %+v", w.notes[len(w.notes)-1])
	}
	w.restart()
	w.run(10*time.Minute, w.ended(id))
	w.wantValues(id, p, "a")
	if w.stateOf(liar.hello.Name) != "quarantined" {
		t.Errorf("the liar is %s after the restart", w.stateOf(liar.hello.Name))
	}
	if d := w.done[id]; d == nil || d.Counts.Verified != 1 || d.Error != (*wire.Error)(nil) {
		t.Errorf("done: %+v", d)
	}
}
