package exchange

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// A player holds a blob, or says so, and answers as its fields please.
type player struct {
	manifest *wire.Manifest
	data     []byte
	have     []byte              // the bitmap told; nil is all
	piece    func(i int) []byte  // nil is what data has
	pieces   func(s Stream) bool // instead of an answer to a request for pieces, if it returns true
	states   func(s Stream) bool // instead of a manifest
	lends    bool                // whether it sends any piece
	late     time.Duration       // before it answers anything
	mu       sync.Mutex          // guards sent
	sent     int                 // pieces
}

func playerOf(data []byte) *player {
	h := wire.NewPieceHash()
	h.Write(data)
	return &player{manifest: h.Manifest(), data: data, lends: true}
}

func (p *player) serve(s Stream) {
	r := bufio.NewReader(s)
	if _, err := readOpen(r); err != nil {
		return
	}
	time.Sleep(p.late)
	for {
		q, err := readRequest(r, nil)
		if err != nil {
			return
		}
		switch q.kind {
		case reqManifest:
			if p.states != nil && p.states(s) {
				return
			}
			_, err = s.Write(append(appendFound(nil, uint64(len(p.manifest.States))), p.manifest.States...))
		case reqPieces:
			if p.pieces != nil && q.most > 0 && p.pieces(s) {
				return
			}
			err = p.lend(s, &q)
		}
		if err != nil {
			return
		}
	}
}

func (p *player) lend(s Stream, q *request) error {
	if p.have != nil && q.most == 0 {
		time.Sleep(newsEach)
	}
	b := append(appendFound(nil, uint64(len(p.have))), p.have...)
	for i := 0; i < wire.Pieces(q.blob.size) && q.most > 0 && p.lends; i++ {
		if !bit(q.want, i) {
			continue
		}
		q.most--
		b = append(b, onePiece(i, p.at(i))...)
		p.mu.Lock()
		p.sent++
		p.mu.Unlock()
	}
	_, err := s.Write(append(b, 0))
	return err
}

func (p *player) at(i int) []byte {
	if p.piece != nil {
		return p.piece(i)
	}
	return p.data[i*wire.PieceSize:][:p.manifest.PieceLen(i)]
}

func onePiece(i int, b []byte) []byte {
	head := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(i)+1), uint64(len(b)))
	return append(head, b...)
}

const playSize = 4*wire.PieceSize + 1000

// Hostile lenders beside an honest one, which is asked later: the blob arrives, soon, and who can be
// shown to have lied is named.
func TestHostileLenders(t *testing.T) {
	data := noise(1, playSize)
	flip := func(at int) []byte {
		b := bytes.Clone(data)
		b[at] ^= 1
		return b
	}
	right := playerOf(data).manifest
	answers := func(b []byte) func(Stream) bool {
		return func(s Stream) bool {
			s.Write(b)
			io.Copy(io.Discard, s)
			return true
		}
	}
	head := appendFound(nil, 0)
	cases := []struct {
		name  string
		make  func() *player
		named bool // as a liar
	}{
		{"wrong pieces under the true manifest", func() *player {
			p := playerOf(data)
			p.piece = func(i int) []byte { return flip(i * wire.PieceSize)[i*wire.PieceSize:][:p.manifest.PieceLen(i)] }
			return p
		}, true},
		{"another blob with a manifest of its own", func() *player {
			p := playerOf(flip(wire.PieceSize + 5))
			p.manifest.Digest = right.Digest
			return p
		}, true},
		{"a manifest that is wrong in one place", func() *player {
			p := playerOf(data)
			p.manifest = &wire.Manifest{Digest: right.Digest, Size: right.Size, States: bytes.Clone(right.States)}
			p.manifest.States[70] ^= 1
			return p
		}, true},
		{"a manifest and no pieces", func() *player {
			p := playerOf(flip(wire.PieceSize + 5))
			p.lends = false
			return p
		}, true},
		{"says that it has all and sends nothing", func() *player { p := playerOf(data); p.lends = false; return p }, false},
		{"a short piece", func() *player {
			p := playerOf(data)
			p.piece = func(i int) []byte { return data[i*wire.PieceSize:][:p.manifest.PieceLen(i)-1] }
			return p
		}, false},
		{"a piece that is too long", func() *player {
			p := playerOf(data)
			p.piece = func(i int) []byte { return make([]byte, wire.PieceSize+1) }
			return p
		}, false},
		{"a piece that goes on for ever", func() *player {
			p := playerOf(data)
			p.pieces = func(s Stream) bool {
				s.Write(binary.AppendUvarint(append(bytes.Clone(head), 1), 1<<62))
				for {
					if _, err := s.Write(make([]byte, 1<<20)); err != nil {
						return true
					}
				}
			}
			return p
		}, false},
		{"pieces that nobody asked for", func() *player {
			p := playerOf(data)
			p.pieces = func(s Stream) bool {
				s.Write(head)
				for {
					if _, err := s.Write(onePiece(0, data[:wire.PieceSize])); err != nil {
						return true
					}
				}
			}
			return p
		}, false},
		{"a piece beyond the end", func() *player {
			p := playerOf(data)
			p.pieces = answers(append(bytes.Clone(head), onePiece(77, []byte{1})...))
			return p
		}, false},
		{"a large bitmap", func() *player {
			p := playerOf(data)
			p.pieces = answers(append(appendFound(nil, wire.MaxBlob), 1))
			return p
		}, false},
		{"a manifest of another size", func() *player {
			p := playerOf(data)
			p.states = answers(append(appendFound(nil, wire.MaxBlob), 1))
			return p
		}, false},
		{"a manifest that does not come", func() *player {
			p := playerOf(data)
			p.states = answers(appendFound(nil, uint64(len(right.States))))
			return p
		}, false},
		{"silent", func() *player { p := playerOf(data); p.late = time.Hour; return p }, false},
		{"silent within a piece", func() *player {
			p := playerOf(data)
			p.pieces = answers(append(bytes.Clone(head), onePiece(0, data[:wire.PieceSize])[:5000]...))
			return p
		}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t)
				honest, b := f.node(), f.node()
				liar := c.make()
				bad := f.hostile(liar.serve)
				f.mu.Lock()
				f.handlers[honest.id] = func(s Stream) { time.Sleep(1500 * time.Millisecond); honest.Serve(s) }
				f.mu.Unlock()
				o := honest.put(t, lab, data)
				begun := time.Now()
				var last Progress
				r, err := b.Fetch(context.Background(), lab, held(o, bad, honest.id), func(p Progress) { last = p })
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b.read(t, o), data) {
					t.Error("other bytes")
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				if last.Done != playSize || last.Total != playSize {
					t.Errorf("last progress %+v", last)
				}
				for _, g := range r.Gone {
					if g.Peer != bad || !g.Wrong {
						t.Errorf("Gone = %+v", g)
					}
				}
				if c.named && len(r.Gone) == 0 {
					t.Error("the liar is not named")
				}
				if b.served() != 0 || len(b.swarms) != 0 {
					t.Error("something is left under way")
				}
				f.close(honest, b)
			})
		})
	}
}

// Alone they get nothing into the store, and the error says who was tried.
func TestHostileLendersAlone(t *testing.T) {
	data := noise(1, playSize)
	lie := bytes.Clone(data)
	lie[wire.PieceSize+7] ^= 1
	o := wire.FileObject(wire.BlobID(wire.Sum(data)), playSize, false)
	for name, p := range map[string]*player{
		"another blob":  playerOf(lie),
		"sends nothing": {manifest: playerOf(data).manifest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t)
				b := f.node()
				bad := f.hostile(p.serve)
				begun := time.Now()
				_, err := b.fetch(o, bad)
				wantCause(t, err, wire.CauseFetch, o.CID(), bad.String())
				if took := time.Since(begun); took > queuedFor+stuckFor {
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

// Two who tell the same lie first, and one honest: what was taken from them is taken back.
func TestLendersThatConspire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		data := noise(1, playSize)
		lie := bytes.Clone(data)
		lie[2*wire.PieceSize] ^= 1
		honest, b := f.node(), f.node()
		var liars []wire.PeerID
		for range 2 {
			liars = append(liars, f.hostile(playerOf(lie).serve))
		}
		f.mu.Lock()
		f.handlers[honest.id] = func(s Stream) { time.Sleep(1500 * time.Millisecond); honest.Serve(s) }
		f.mu.Unlock()
		o := honest.put(t, lab, data)
		r, err := b.fetch(o, liars[0], liars[1], honest.id)
		if err != nil || !bytes.Equal(b.read(t, o), data) {
			t.Fatalf("Fetch = %v", err)
		}
		for _, g := range r.Gone {
			if g.Peer == honest.id {
				t.Error("the honest one is blamed")
			}
		}
		f.close(honest, b)
	})
}

// Members that flood the holder with streams, send wrong pieces, say that they have all and send nothing,
// or say nothing at all do not keep the others from a blob for long.
func TestHonestThroughput(t *testing.T) {
	data := noise(1, 8<<20)
	run := func(hostile bool) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			f.slow(2<<20, nil)
			seed := f.node()
			var ns []*node
			for range 4 {
				ns = append(ns, f.node())
			}
			o := seed.put(t, lab, data)
			want := held(o, seed.id)
			for _, n := range ns {
				want[0].Coming = append(want[0].Coming, n.id)
			}
			over := make(chan struct{})
			var floods sync.WaitGroup
			if hostile {
				wrong, empty := playerOf(data), playerOf(data)
				wrong.piece = func(i int) []byte { return make([]byte, wrong.manifest.PieceLen(i)) }
				empty.lends = false
				silent := playerOf(data)
				silent.late = 24 * time.Hour
				liars := []wire.PeerID{f.hostile(wrong.serve), f.hostile(empty.serve)}
				want[0].Peers = append(liars, seed.id, f.hostile(silent.serve))
				flooder := f.hostile(func(Stream) {})
				for range 64 {
					floods.Go(func() { flood(f, flooder, seed.id, blobID{o.Digest, o.Size}, over) })
				}
			}
			begun := time.Now()
			var all sync.WaitGroup
			for _, n := range ns {
				all.Go(func() {
					if _, err := n.Fetch(context.Background(), lab, want, nil); err != nil {
						t.Error(err)
					}
					if !bytes.Equal(n.read(t, o), data) {
						t.Error("other bytes")
					}
				})
			}
			all.Wait()
			took = time.Since(begun)
			close(over)
			f.close(append(ns, seed)...)
			floods.Wait()
		})
		return took
	}
	calm, attacked := run(false), run(true)
	t.Logf("%v among honest members, %v beside hostile ones: %.0f %%", calm, attacked, 100*calm.Seconds()/attacked.Seconds())
	if attacked > 4*calm {
		t.Errorf("%v beside hostile members, want at most four times %v", attacked, calm)
	}
}

// flood opens streams to a holder, asks for pieces and reads none, until over.
func flood(f *fabric, self, holder wire.PeerID, id blobID, over chan struct{}) {
	grant := wire.SignGrant(coordKey, lab, self, time.Now().Add(time.Hour))
	want := bytes.Repeat([]byte{0xff}, bitmapLen(id.size))
	for {
		s, err := f.dialer(self).Open(context.Background(), holder, wire.ProtocolBlob)
		if err == nil {
			go func() {
				<-over
				s.Reset()
			}()
			s.Write(appendPieces(appendOpen(nil, grant), id, maxPieces, want))
		}
		select {
		case <-over:
			return
		case <-time.After(time.Second):
		}
	}
}

// What came of a blob before the process ended is not fetched again.
func TestPiecesOutliveTheProcess(t *testing.T) {
	data := noise(1, playSize)
	f := newFabric(t)
	honest := f.node()
	o := honest.put(t, lab, data)
	dir := t.TempDir()
	open := func() *blobstore.Store {
		s, err := blobstore.Open(dir, blobstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	store := open()
	b := f.node(func(c *Config) { c.Store = store })
	half := playerOf(data)
	half.pieces = func(s Stream) bool {
		half.mu.Lock()
		enough := half.sent >= 4 // one of which may be the short last one
		half.mu.Unlock()
		if enough {
			io.Copy(io.Discard, s)
		}
		return enough
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var came int64
	_, err := b.Fetch(ctx, lab, held(o, f.hostile(half.serve)), func(p Progress) {
		if came = p.Done; came >= 3*wire.PieceSize {
			cancel()
		}
	})
	if err != context.Canceled {
		t.Fatalf("Fetch = %v", err)
	}
	b.Close()
	store.Close()
	store = open()
	defer store.Close()
	b = f.node(func(c *Config) { c.Store = store })
	defer b.Close()
	if _, err := b.fetch(o, honest.id); err != nil {
		t.Fatal(err)
	}
	if in := b.Stats().Peers[honest.id].In; in > playSize-3*wire.PieceSize {
		t.Errorf("%d bytes came of %d, of which %d were here", in, playSize, came)
	}
	if _, ok := store.Stat(lab, o.Digest); !ok {
		t.Error("it is not there")
	}
}
