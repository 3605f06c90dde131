package exchange

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// requests calls fn for every request on a stream.
func requests(s Stream, fn func(wishes []wish, probe uint64) bool) {
	r := bufio.NewReader(s)
	if _, err := readOpen(r); err != nil {
		return
	}
	for {
		q, err := readRequest(r, nil)
		if err == nil && q.kind > reqProbe { // as a member of an older version
			s.Write(appendRefused(nil, wire.AsError(malformed("request of kind %d", q.kind))))
		}
		if err != nil || q.kind > reqProbe || !fn(q.wishes, q.probe) {
			return
		}
	}
}

// answerFound reads one request and writes the head of an answer.
func answerFound(s Stream, size uint64) {
	r := bufio.NewReader(s)
	readOpen(r)
	readRequest(r, nil)
	s.Write(appendFound(nil, size))
}

// answerPacked is answerFound for a compressed answer.
func answerPacked(s Stream, size uint64) {
	r := bufio.NewReader(s)
	readOpen(r)
	readRequest(r, nil)
	s.Write(appendPacked(nil, size))
}

// packer answers every id as compressed, by runs of these bytes.
func packer(run []byte) func(Stream) {
	return func(s Stream) {
		requests(s, func(ws []wish, _ uint64) bool {
			for range ws {
				out := binary.AppendUvarint(appendPacked(nil, 600_000), uint64(len(run)))
				for range 3 {
					out = append(out, run...)
				}
				if _, err := s.Write(out); err != nil {
					return false
				}
			}
			return true
		})
	}
}

// frame returns p compressed.
func frame(p []byte) []byte {
	e := newEncoder()
	return e.usual.EncodeAll(p, nil)
}

// hugeWindow is a frame of no content size that asks for a window of 2 GiB, with an empty block.
var hugeWindow = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00}

// liar answers every id with the bytes.
func liar(b []byte) func(Stream) {
	return func(s Stream) {
		requests(s, func(ws []wish, _ uint64) bool {
			for _, w := range ws {
				out := appendFound(nil, uint64(len(b)))
				if _, err := s.Write(append(out, b[w.offset:]...)); err != nil {
					return false
				}
			}
			return true
		})
	}
}

// Each hostile holder is named first; the honest one must still win, in bounded time.
func TestHostileHolders(t *testing.T) {
	const size = 600_000
	want := noise(1, size)
	wrong := bytes.Clone(want)
	wrong[size/2] ^= 1
	cases := []struct {
		name   string
		holder func(Stream)
		wrong  bool // it is reported to have sent wrong bytes
		gone   bool
	}{
		{"wrong byte", liar(wrong), true, true},
		{"too short", liar(want[:size-1]), false, false},
		{"too long", liar(append(bytes.Clone(want), 0)), false, false},
		{"huge size", func(s Stream) { answerFound(s, 1<<63); io.Copy(io.Discard, s) }, false, false},
		{"beyond the bound", func(s Stream) { answerFound(s, wire.MaxBlob+1); io.Copy(io.Discard, s) }, false, false},
		{"truncated", func(s Stream) { answerFound(s, size); s.Write(want[:size/2]) }, false, false},
		{"truncated with wrong bytes", func(s Stream) { answerFound(s, size); s.Write(wrong[:size-10]) }, false, false},
		{"silent", func(s Stream) { io.Copy(io.Discard, s) }, false, false},
		{"does not read", func(s Stream) { time.Sleep(time.Hour) }, false, false},
		{"stalls within", func(s Stream) { answerFound(s, size); s.Write(want[:1000]); io.Copy(io.Discard, s) }, false, false},
		{"trickles", func(s Stream) {
			answerFound(s, size)
			for _, b := range want {
				time.Sleep(time.Second)
				if _, err := s.Write([]byte{b}); err != nil {
					return
				}
			}
		}, false, false},
		{"garbage", func(s Stream) { s.Write(noise(9, 1000)) }, false, false},
		{"unknown answer", func(s Stream) { s.Write([]byte{77}) }, false, false},
		{"closes at once", func(s Stream) {}, false, false},
		{"endless varint", func(s Stream) {
			s.Write(append([]byte{ansFound}, bytes.Repeat([]byte{0xff}, 1000)...))
		}, false, false},
		{"busy", func(s Stream) { s.Write([]byte{ansBusy}) }, false, false},
		{"refuses", func(s Stream) { s.Write(appendRefused(nil, wire.Errorf(wire.CauseExpired, "", "no"))) }, false, false},
		{"huge refusal", func(s Stream) { s.Write(binary.AppendUvarint([]byte{ansRefused}, 1<<40)) }, false, false},
		{"compressed: a bomb", packer(frame(make([]byte, maxRun))), true, true},
		{"compressed: a larger window than is allowed", packer(hugeWindow), true, true},
		{"compressed: too short", packer(frame(make([]byte, runLen-1))), true, true},
		{"compressed: wrong bytes", packer(frame(make([]byte, runLen))), true, true},
		{"compressed: garbage", packer(noise(9, 1000)), true, true},
		{"compressed: a frame without its end", packer(frame(make([]byte, runLen))[:12]), true, true},
		{"compressed: a run that is too long", packer(make([]byte, runLen+1)), false, false},
		{"compressed: an empty run", packer(nil), false, false},
		{"compressed: truncated", func(s Stream) {
			answerPacked(s, size)
			s.Write(append(binary.AppendUvarint(nil, 1000), 1, 2, 3))
		}, false, false},
		{"compressed: silent", func(s Stream) { answerPacked(s, size); io.Copy(io.Discard, s) }, false, false},
		{"not found", func(s Stream) {
			requests(s, func([]wish, uint64) bool { s.Write([]byte{ansNotFound}); return true })
		}, false, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t)
				honest, b := f.node(), f.node()
				bad := f.hostile(c.holder)
				o := honest.put(t, lab, want)
				begun := time.Now()
				var last Progress
				r, err := b.Fetch(context.Background(), lab, held(o, bad, honest.id), func(p Progress) { last = p })
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b.read(t, o), want) {
					t.Error("other bytes")
				}
				if took := time.Since(begun); took > 30*time.Second {
					t.Errorf("took %v", took)
				}
				if last.Done != size || last.Total != size {
					t.Errorf("last progress %+v", last)
				}
				if c.gone != (len(r.Gone) == 1) || c.gone && (r.Gone[0].Peer != bad || r.Gone[0].Wrong != c.wrong) {
					t.Errorf("Gone = %+v", r.Gone)
				}
				time.Sleep(time.Hour)
				f.close(honest, b)
			})
		})
	}
}

// The same holders, alone: the fetch fails with a reason, soon, and nothing is left behind.
func TestHostileHolderAlone(t *testing.T) {
	want := noise(1, 600_000)
	o := wire.FileObject(wire.BlobID(wire.Sum(want)), 600_000, false)
	wrong := bytes.Clone(want)
	wrong[0] ^= 1
	cases := []struct {
		name   string
		holder func(Stream)
		says   string
	}{
		{"wrong byte", liar(wrong), "wrong bytes"},
		{"lying size", liar(want[:1000]), "1000 bytes under this name"},
		{"silent", func(s Stream) { io.Copy(io.Discard, s) }, "broke off"},
		{"busy", func(s Stream) { s.Write([]byte{ansBusy}) }, "too many others"},
		{"refuses", func(s Stream) { s.Write(appendRefused(nil, wire.Errorf(wire.CauseExpired, "", "grant ran out"))) }, "grant ran out"},
		{"one byte and no more", func(s Stream) {
			requests(s, func(ws []wish, _ uint64) bool {
				s.Write(append(appendFound(nil, 600_000), want[ws[0].offset]))
				return false
			})
		}, "broke off"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t)
				doubted := 0
				b := f.node(func(c *Config) { c.Doubt = func(wire.PeerID) { doubted++ } })
				bad := f.hostile(c.holder)
				begun := time.Now()
				_, err := b.fetch(o, bad)
				if (doubted > 0) != (c.name == "silent") {
					t.Errorf("its connection was doubted %d times", doubted)
				}
				wantCause(t, err, wire.CauseFetch, o.CID(), bad.String(), c.says)
				if took := time.Since(begun); took > 2*time.Minute && c.name != "busy" || took > busyFor+time.Minute {
					t.Errorf("took %v", took)
				}
				if b.store.Used() != 0 {
					t.Errorf("%d bytes left in the store", b.store.Used())
				}
				f.close(b)
			})
		})
	}
}

// A holder fails in the middle of a large object: the next one sends only the rest.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		honest, b := f.node(), f.node()
		want := noise(1, 2_000_000)
		half := f.hostile(func(s Stream) { answerFound(s, 2_000_000); s.Write(want[:1_500_000]) })
		o := honest.put(t, lab, want)
		if _, err := b.fetch(o, half, honest.id); err != nil {
			t.Fatal(err)
		}
		if got := b.Stats().Peers[honest.id].In; got != 500_000 {
			t.Errorf("%d bytes from the second holder, want 500,000", got)
		}
		f.close(honest, b)
	})
}

// Of two who sent parts of a wrong object nobody knows who lied: the honest one keeps its standing
// and is asked for all of it.
func TestResumeAfterALiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		honest, b := f.node(), f.node()
		want := noise(1, 4<<20)
		wrong := bytes.Clone(want)
		wrong[5] ^= 1
		half := f.hostile(func(s Stream) { answerFound(s, 4<<20); s.Write(wrong[:3<<20]) })
		o := honest.put(t, lab, want)
		r, err := b.fetch(o, half, honest.id)
		if err != nil || !bytes.Equal(b.read(t, o), want) {
			t.Fatalf("Fetch = %v", err)
		}
		if len(r.Gone) != 0 || b.member(honest.id).strikes != 0 {
			t.Errorf("Gone = %+v, want nobody blamed", r.Gone)
		}
		f.close(honest, b)
	})
}

// Three wrong objects block a holder for ten minutes.
func TestStanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		now := time.Now()
		b := f.node(func(c *Config) { c.Now = func() time.Time { return now } })
		bad := f.hostile(liar([]byte("wrong")))
		ask := func(i byte) error {
			r, err := b.fetch(wire.FileObject(wire.BlobID{i}, 5, false), bad)
			if len(r.Gone) != 1 || !r.Gone[0].Wrong { // while it is blocked, too: it is no use as a holder
				t.Errorf("Gone = %+v, want a wrong one", r.Gone)
			}
			return err
		}
		for i := range byte(3) {
			wantCause(t, ask(i), wire.CauseFetch, "wrong bytes")
		}
		dials := f.dials[bad]
		asked := b.Stats().Peers[bad].Asked
		wantCause(t, ask(3), wire.CauseFetch, "asked nothing")
		now = now.Add(blockedFor - time.Second)
		wantCause(t, ask(4), wire.CauseFetch, "asked nothing")
		if f.dials[bad] != dials || b.Stats().Peers[bad].Asked != asked {
			t.Error("a blocked peer was asked")
		}
		now = now.Add(2 * time.Second)
		wantCause(t, ask(5), wire.CauseFetch, "it sent wrong bytes")
		if b.Stats().Peers[bad].Asked != asked+1 {
			t.Error("a peer was not asked after its ten minutes")
		}
		f.close(b)
	})
}

// A holder that is busy now and not later is waited for.
func TestBusyIsNotTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(func(c *Config) { c.Limits.StreamsPerPeer = 2 }), f.node()
		release := make(chan struct{})
		for range 2 { // two streams that do nothing but take the room
			s, err := f.dialer(b.id).Open(context.Background(), a.id, wire.ProtocolBlob)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				<-release
				s.Close()
			}()
		}
		synctest.Wait()
		time.AfterFunc(3*time.Second, func() { close(release) })
		o := a.put(t, lab, noise(1, 100))
		if _, err := b.fetch(o, a.id); err != nil {
			t.Error(err)
		}
		f.close(a, b)
	})
}

// Hostile requesters get an answer or lose the stream; the server goes on.
func TestHostileRequesters(t *testing.T) {
	grant := func(x *node) []byte {
		return appendOpen(nil, wire.SignGrant(coordKey, lab, x.id, time.Now().Add(time.Hour)))
	}
	cases := []struct {
		name  string
		bytes func(me *node) []byte
		first byte // of the answer; 0 is none
	}{
		{"nothing", func(*node) []byte { return nil }, 0},
		{"huge grant", func(*node) []byte { return binary.AppendUvarint(nil, 1<<40) }, ansRefused},
		{"garbage grant", func(*node) []byte { return append([]byte{4}, "abcd"...) }, ansRefused},
		{"no ids", func(n *node) []byte { return append(grant(n), reqGet, 0) }, ansRefused},
		{"too many ids", func(n *node) []byte { return binary.AppendUvarint(append(grant(n), reqGet), maxIDs+1) }, ansRefused},
		{"half an id", func(n *node) []byte { return append(grant(n), reqGet, 1, 2, 3) }, 0},
		{"unknown request", func(n *node) []byte { return append(grant(n), 99, 1) }, ansRefused},
		{"huge probe", func(n *node) []byte { return appendProbe(grant(n), maxProbe+1) }, ansRefused},
		{"offset beyond the end", func(n *node) []byte {
			return appendGet(grant(n), []wish{{wire.Sum([]byte("here")), 5}})
		}, ansNotFound},
		{"offset at the end", func(n *node) []byte {
			return appendGet(grant(n), []wish{{wire.Sum([]byte("here")), 4}})
		}, ansFound},
		{"does not read the answer", func(n *node) []byte { return nil }, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t)
				a, b := f.node(), f.node()
				a.put(t, lab, []byte("here"))
				s, err := f.dialer(b.id).Open(context.Background(), a.id, wire.ProtocolBlob)
				if err != nil {
					t.Fatal(err)
				}
				go s.Write(c.bytes(b))
				s.SetReadDeadline(time.Now().Add(5 * time.Minute))
				var first [1]byte
				n, err := io.ReadFull(s, first[:])
				if n == 1 && first[0] != c.first || n == 0 && c.first != 0 {
					t.Errorf("answer %d, %v; want %d", first[0], err, c.first)
				}
				s.Close()
				f.close(a, b)
			})
		})
	}
}

// A requester that takes no bytes loses its stream.
func TestRequesterThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		o := a.put(t, lab, noise(1, 1<<20))
		s, err := f.dialer(b.id).Open(context.Background(), a.id, wire.ProtocolBlob)
		if err != nil {
			t.Fatal(err)
		}
		s.Write(appendGet(appendOpen(nil, b.grant(lab)), []wish{{o.Digest, 0}}))
		synctest.Wait()
		if n := a.served(); n != 1 {
			t.Fatalf("%d streams served, want 1", n)
		}
		time.Sleep(time.Minute)
		if n := a.served(); n != 0 {
			t.Errorf("%d streams served, want none", n)
		}
		f.close(a, b)
	})
}

func TestGrants(t *testing.T) {
	f := newFabric(t)
	a, b := f.node(), f.node()
	mine := a.put(t, lab, noise(1, 100))
	theirs := a.put(t, "other", noise(2, 100))
	free := a.put(t, wire.Public, noise(3, 100))
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	sign := wire.SignGrant
	cases := []struct {
		name  string
		grant *wire.Grant
		space wire.Space
		o     wire.Object
		says  string // "" is success
	}{
		{"good", sign(coordKey, lab, b.id, in(time.Hour)), lab, mine, ""},
		{"none for the space", nil, lab, mine, "no grant"},
		{"none for the public space", nil, wire.Public, free, ""},
		{"public does not show the rest", nil, wire.Public, mine, "does not have it"},
		{"expired", sign(coordKey, lab, b.id, in(-time.Hour)), lab, mine, "ran out"},
		{"of another peer", sign(coordKey, lab, a.id, in(time.Hour)), lab, mine, "used by"},
		{"signed by no coordinator", sign(detKey(77), lab, b.id, in(time.Hour)), lab, mine, "no coordinator"},
		{"of another space", sign(coordKey, lab, b.id, in(time.Hour)), lab, theirs, "does not have it"},
		{"changed", func() *wire.Grant {
			g := sign(coordKey, lab, b.id, in(time.Hour))
			g.Space = "other"
			return g
		}(), "other", theirs, "signature"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := b.cfg
			cfg.Store = blobstore.NewMemory()
			fresh := New(cfg)
			defer fresh.Close()
			if c.grant != nil {
				fresh.SetGrant(c.grant)
			}
			_, err := fresh.Fetch(context.Background(), c.space, held(c.o, a.id), nil)
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCause(t, err, wire.CauseFetch, c.says)
		})
	}
}

// A grant that runs out is replaced on streams that are in use.
func TestGrantIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		for i := range 300 { // five hours; grants last one
			if i%30 == 0 {
				b.SetGrant(wire.SignGrant(coordKey, lab, b.id, time.Now().Add(wire.GrantLife)))
			}
			o := a.put(t, lab, noise(uint64(i), 100))
			if _, err := b.fetch(o, a.id); err != nil {
				t.Fatalf("after %d minutes: %v", i, err)
			}
			time.Sleep(time.Minute)
		}
		f.close(a, b)
	})
}
