package worker

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"gaggle/sandbox"
	"gaggle/wire"
)

func TestWorkerRunsAgainWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		first, err := wire.DecodeValue(s.heard().Results[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		again := l.thunk(2, "a")
		again.Expect = []wire.Held{{Object: first.Outputs[0]}}
		s.offer(again)
		got := s.heard()
		if len(got.Results) != 2 || len(l.commands()) != 2 {
			t.Fatalf("%d results of %v, want it run twice", len(got.Results), l.commands())
		}
		l.do(func(context.Context, string, sandbox.Spec) (string, *wire.Failure, error) { return "b", nil, nil })
		again.Lease = 3
		s.offer(again)
		got = s.heard()
		if len(got.Failures) != 1 {
			t.Fatalf("failures %v, results %v, want a failure", got.Failures, got.Results)
		}
		f := got.Failures[0].Failure
		if f.Cause != wire.CauseNondeterministic || f.Message != `output "out": it differs from byte 0 on: "a" the first time, "b" the second` {
			t.Errorf("failure = %+v", f)
		}
		claims, err := l.store.Claims(space, got.Failures[0].Thunk)
		if err != nil || len(claims) != 1 || claims[0].Value.Outputs[0] != first.Outputs[0] {
			t.Errorf("claims = %v, %v, want that of the first run alone", claims, err)
		}
		// Told so, the node does not answer with its first value any more.
		thunk := got.Failures[0].Thunk
		fresh := l.thunk(4, "a")
		ran := len(l.commands())
		s.send(&wire.ToNode{Withdraw: []wire.Withdrawal{{Space: space, Thunk: thunk}}, Offers: []wire.Offer{fresh}})
		s.heard()
		if got := len(l.commands()); got != ran+1 {
			t.Errorf("%d runs after the withdrawal, want one", got-ran)
		}
		claims, err = l.store.Claims(space, thunk)
		if err != nil || len(claims) != 1 || claims[0].Value.Outputs[0] == first.Outputs[0] {
			t.Errorf("claims = %v, %v, want that of the last run alone", claims, err)
		}
	})
}

// A claim that waits for the disk is withdrawn, too.
func TestWorkerWithdrawsWhatWaits(t *testing.T) {
	l := newLab(t, 1)
	w, err := New(l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	o := l.put("x")
	v := wire.NewValue([]wire.Object{o})
	id := wire.ThunkID{7}
	w.syncs.addValue(space, id, v)
	w.withdraw(space, id)
	if items := w.claimSome(); len(items) != 1 || len(items[0].objects) != 1 {
		t.Errorf("items = %+v, want the outputs to be made durable", items)
	}
	if claims, err := l.store.Claims(space, id); err != nil || len(claims) != 0 {
		t.Errorf("claims = %v, %v, want none", claims, err)
	}
}

// The value that another node gave is fetched to tell the difference.
func TestWorkerFetchesWhatItComparesWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		o := l.thunk(1, "a")
		o.Expect = []wire.Held{{Object: l.exch.elsewhere("another"), Peers: []wire.PeerID{{1}}}}
		s.offer(o)
		if got := s.heard().Failures; len(got) != 1 || !strings.Contains(got[0].Failure.Message, `it differs from byte 1 on: "nother" the first time, the end the second`) {
			t.Errorf("failures = %+v", got)
		}
		o.Lease = 2
		o.Expect[0].Object = wire.FileObject(wire.BlobID{9}, 1, false)
		s.offer(o)
		got := s.heard().Failures
		if len(got) != 2 || got[1].Failure.Cause != wire.CauseNondeterministic || !strings.Contains(got[1].Failure.Message, `output "out" differs (where cannot be told: nobody has`) {
			t.Errorf("without the other value: %+v", got)
		}
	})
}

func TestComparison(t *testing.T) {
	l := newLab(t, 1)
	file := l.put
	exec := func(text string) wire.Object {
		o := l.put(text)
		o.Kind = wire.Exec
		return o
	}
	link := func(target string) wire.Entry {
		return wire.Entry{Object: wire.Object{Kind: wire.Symlink}, Target: target}
	}
	of := func(o wire.Object) wire.Entry { return wire.Entry{Object: o} }
	dir := func(entries map[string]wire.Entry) wire.Object {
		var list []wire.Entry
		for name, e := range entries {
			e.Name = name
			list = append(list, e)
		}
		tree, err := wire.NewTree(list)
		if err != nil {
			t.Fatal(err)
		}
		id, err := l.store.PutTree(t.Context(), space, tree)
		if err != nil {
			t.Fatal(err)
		}
		return wire.DirObject(id, tree.Size())
	}
	one := func(name string, e wire.Entry) wire.Object { return dir(map[string]wire.Entry{name: e}) }
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name string
		a, b wire.Object
		want string
	}{
		{"first byte", file("abc"), file("Abc"), `it differs from byte 0 on: "abc" the first time, "Abc" the second`},
		{"far byte", file(long + "1" + long), file(long + "2" + long), `it differs from byte 100000 on: "1xxxxxxxxxxxxxxx" the first time, "2xxxxxxxxxxxxxxx" the second`},
		{"shorter", file("abc"), file("ab"), `it differs from byte 2 on: "c" the first time, the end the second`},
		{"longer", file(""), file("\x00"), `it differs from byte 0 on: the end the first time, "\x00" the second`},
		{"mode", file("x"), exec("x"), "it is a file the first time, an executable file the second"},
		{"kind", file("x"), dir(nil), "it is a file the first time, a directory the second"},
		{"nested", one("d", of(one("f", of(file("1"))))), one("d", of(one("f", of(file("2"))))), `d/f differs from byte 0 on: "1" the first time, "2" the second`},
		{"missing", dir(map[string]wire.Entry{"a": of(file("1")), "b": of(file("1"))}), one("a", of(file("1"))), "b is missing the second time"},
		{"more", one("b", of(file("1"))), dir(map[string]wire.Entry{"a": of(file("1")), "b": of(file("1"))}), "a is there the second time only"},
		{"links", one("l", link("x")), one("l", link("y")), `l leads to "x" the first time, to "y" the second`},
		{"link and file", one("l", link("x")), one("l", of(file("x"))), "l is a symbolic link the first time, a file the second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := comparison{ctx: t.Context(), store: l.store, space: space}
			if got, err := k.objects("it", c.a, c.b, 0); got != c.want || err != nil {
				t.Errorf("objects = %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
