package sched

import (
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

// TestWithdrawIsOwedToASilentNode: the connection of a node that was killed has not ended yet; what it is
// told then it is told again when it comes back.
func TestWithdrawIsOwedToASilentNode(t *testing.T) {
	w, client := small(t, 3)
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	var holder *simNode
	for _, n := range w.nodes[1:] {
		if len(w.first) > 0 {
			for _, f := range w.first {
				if f[0] == n.hello.Name {
					holder = n
				}
			}
		}
	}
	// killed: no NodeGone, silent
	holder.up = false
	holder.life++
	w.run(5*time.Second, nil)
	st := w.stateOf(holder.hello.Name)
	o := w.done[id].Targets[0].Held.Object
	var k key
	for r := memoRef(1); r < w.s.memos.next; r++ {
		k = w.s.memos.at(r).key
	}
	w.s.withdraw(&k, []wire.Object{o})
	n := w.s.nodes[w.s.nodeOf[holder.peer]]
	t.Logf("node is %s, owed=%d", st, len(n.owed))
	if len(n.owed) == 0 {
		t.Error("nothing is owed to a suspect node")
	}
}

// TestMemoKeepsASignerOfEachOwner of a value, and what of that is for the tables.
func TestMemoKeepsASignerOfEachOwner(t *testing.T) {
	w, _ := small(t, 0)
	s := w.s
	value, other := []wire.Object{leaf("a")}, []wire.Object{leaf("b")}
	space, id := s.space("t"), wire.ThunkID{1}
	for signer, owner := range []string{1: "anna", 2: "anna", 3: "", 4: "carl", 5: "bert"} {
		w.step(NodeUp{Peer: wire.PeerID{byte(signer)}, Owner: owner, Until: w.wall().Add(time.Hour)})
	}
	for i, c := range []struct {
		outs      []wire.Object
		signer    byte
		owner     string
		signature string
		recorded  bool
		owners    []string // of whom it can be shown that they claim value, after it
	}{
		{value, 1, "", "", true, nil}, // as a row of before owners were kept
		{value, 1, "anna", "", true, nil},
		{value, 1, "anna", "s1", true, []string{"anna"}},
		{value, 1, "anna", "s1", false, []string{"anna"}},
		{value, 1, "bert", "", false, []string{"anna"}}, // it says it has changed hands
		{value, 2, "anna", "", false, []string{"anna"}},
		{value, 2, "anna", "s2", true, []string{"anna"}},
		{value, 3, "", "s3", false, []string{"anna"}},
		{other, 4, "carl", "s4", false, []string{"anna"}},
		{value, 5, "bert", "", true, []string{"anna"}},
		{value, 5, "bert", "s5", true, []string{"anna", "bert"}},
		{value, 5, "bert", "", false, []string{"anna", "bert"}},
	} {
		if got := s.remember(&key{space, wire.Digest(id)}, c.outs, Voucher{wire.PeerID{c.signer}, c.owner, c.signature}, 0, asked) != nil; got != c.recorded {
			t.Errorf("claim %d: recorded %v, want %v", i, got, c.recorded)
		}
		k := key{space, wire.Digest(id)}
		if got := s.vouchers(&k, value); !slices.Equal(got, c.owners) {
			t.Errorf("after claim %d the value is claimed by %v, want %v", i, got, c.owners)
		}
	}
	row := s.row(s.memo(&key{space, wire.Digest(id)}))
	if want := (Voucher{wire.PeerID{5}, "bert", "s5"}); row.By != (Voucher{wire.PeerID{2}, "anna", "s2"}) || len(row.Also) != 1 || row.Also[0] != want {
		t.Errorf("the row is %+v", row)
	}
	if list := s.Claims("t", id); len(list) != 3 {
		t.Errorf("kept for who wants to see them: %+v, want those of 2, 4 and 5", list)
	}
	w.step(NodeGone{Peer: wire.PeerID{5}}, NodeGone{Peer: wire.PeerID{4}, Revoked: true})
	w.run(30*time.Minute, nil)
	if list := s.Claims("t", id); len(list) != 2 {
		t.Errorf("after carl's node was revoked: %+v, want those of 2 and 5", list)
	}
	w.run(time.Hour, nil)
	if list := s.Claims("t", id); len(list) != 1 || list[0].Signer != (wire.PeerID{2}) {
		t.Errorf("after the certificate of bert's ran out: %+v, want that of 2", list)
	}
	s.distrust(wire.PeerID{2})
	if m := s.memo(&key{space, wire.Digest(id)}); m == nil || m.signer != (wire.PeerID{4}) {
		t.Errorf("without the first signer the memo has %+v, want the next claim", m)
	}
}
