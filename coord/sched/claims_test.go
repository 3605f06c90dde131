package sched

import (
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

// claimants makes a State with nodes 1, 2, ... of these owners, of which node 1 gave the value of a thunk by
// a lease that has ended, and signed it.
func claimants(t *testing.T, owners ...string) (w *bare, k key) {
	w = newBare(t)
	for i, owner := range owners {
		e := up(wire.PeerID{byte(i + 1)}, 2)
		e.Owner, e.Until = owner, time.Unix(0, 0).Add(time.Hour)
		w.step(e)
	}
	w.s.lease, w.s.signs = 1, true // was given out; a job wanted signatures
	k = key{w.s.space("t"), wire.Digest{1}}
	w.s.remember(&k, []wire.Object{leaf("true")}, Voucher{wire.PeerID{1}, owners[0], "s"}, 0, asked)
	return w, k
}

// late has a node claim a value of its own accord.
func (w *bare) late(k key, signer byte, value string) {
	e := result(wire.PeerID{signer}, wire.LeaseID(uint64(w.s.epoch)<<32|1), wire.ThunkID(k.id), leaf(value))
	e.Result.Signature = []byte("s")
	w.step(e)
}

// TestLateClaimsTakeNobodysPlace: what nodes claim of their own accord displaces no claim of another, be
// they many, and of one node one other value at most is kept.
func TestLateClaimsTakeNobodysPlace(t *testing.T) {
	w, k := claimants(t, "anna", "bert", "carl", "carl", "dora", "emil", "fred", "gina", "hans", "iris", "jana")
	w.s.remember(&k, []wire.Object{leaf("true")}, Voucher{wire.PeerID{2}, "bert", "s"}, 0, asked)
	w.s.remember(&k, []wire.Object{leaf("other")}, Voucher{wire.PeerID{5}, "dora", ""}, 0, asked)
	for i := range byte(9) {
		w.late(k, 3, string('a'+rune(i)))
	}
	m := w.s.memo(&k)
	var of []byte
	for _, c := range m.all() {
		of = append(of, c.signer[0])
	}
	if want := []byte{1, 2, 5, 3}; !slices.Equal(of, want) || m.others[2].outs[0] != leaf("i") {
		t.Fatalf("after many claims of node 3 those of %v are kept, want %v, the last one of 3", of, want)
	}
	for _, signer := range []byte{4, 6, 7, 8, 9, 10, 11} {
		w.late(k, signer, string('A'+rune(signer)))
	}
	if got := w.s.vouchers(&k, []wire.Object{leaf("true")}); !slices.Equal(got, []string{"anna", "bert"}) {
		t.Errorf("after claims of many the first value is claimed by %v", got)
	}
	if all := m.all(); len(all) != wire.MaxClaims || all[2].signer != (wire.PeerID{5}) {
		t.Errorf("%d claims are kept: %+v", len(all), all)
	}
}

// TestUnaskedSignatureIsNotKept: no node has all others sign, now or after a restart.
func TestUnaskedSignatureIsNotKept(t *testing.T) {
	w, k := claimants(t, "anna", "bert")
	for _, signs := range []bool{false, true} {
		w.s.signs = signs
		w.late(k, 2, "a")
		if c := w.s.memo(&k).others[0]; w.s.signs != signs || (c.sig != "") != signs {
			t.Errorf("nodes are to sign: %v, before %v; the claim is %+v", w.s.signs, signs, c)
		}
	}
}

// TestAskedClaimsFindAPlace among many, but never that of a claim of the first value.
func TestAskedClaimsFindAPlace(t *testing.T) {
	w, k := claimants(t, "anna", "bert", "carl", "dora", "emil", "fred", "gina", "hans", "iris")
	remember := func(signer byte, value, sig string) {
		n := w.s.nodes[w.s.nodeOf[wire.PeerID{signer}]]
		w.s.remember(&k, []wire.Object{leaf(value)}, Voucher{n.peer, n.owner, sig}, 0, asked)
	}
	for signer := byte(2); signer < 9; signer++ {
		remember(signer, string('a'+rune(signer)), "s")
	}
	want := []string{"anna"}
	for signer := byte(9); signer > 1; signer-- { // each gives the first value after all
		remember(signer, "true", "s")
		if len(want) < wire.MaxClaims {
			want = append(want, w.s.nodes[w.s.nodeOf[wire.PeerID{signer}]].owner)
		}
		if remember(signer, "again", "s"); len(w.s.memo(&k).all()) > wire.MaxClaims {
			t.Fatal("too many claims are kept")
		}
		got := w.s.vouchers(&k, []wire.Object{leaf("true")})
		slices.Sort(got)
		sorted := slices.Sorted(slices.Values(want))
		if !slices.Equal(got, sorted) {
			t.Fatalf("the first value is claimed by %v, want %v", got, sorted)
		}
	}
}

// TestFullMemoKeepsNoLateValue: values that nobody asked for push none out of the memo.
func TestFullMemoKeepsNoLateValue(t *testing.T) {
	w, k := claimants(t, "anna", "bert")
	w.s.cfg.MaxMemo = 2
	for i := range byte(5) {
		w.late(key{k.of, wire.Digest{2 + i}}, 2, "x")
	}
	if w.s.memo(&k) == nil || w.s.memo(&key{k.of, wire.Digest{2}}) == nil || w.s.memos.n != 2 {
		t.Errorf("%d values are kept, the first among them: %v", w.s.memos.n, w.s.memo(&k) != nil)
	}
}

// TestSignaturesOfTheTablesGoOn: that nodes are to sign is known after a restart, from what they signed.
func TestSignaturesOfTheTablesGoOn(t *testing.T) {
	for _, sig := range []string{"", "s"} {
		w := newBare(t)
		w.step(Known{Space: "t", Thunk: wire.ThunkID{1}, Value: wire.NewValue([]wire.Object{leaf("a")}),
			By: Voucher{Signer: wire.PeerID{1}, Owner: "anna"}, Also: []Voucher{{wire.PeerID{2}, "bert", sig}}})
		if w.s.signs != (sig != "") {
			t.Errorf("with the signature %q of the tables, nodes are to sign: %v", sig, w.s.signs)
		}
	}
}
