package worker

import (
	"crypto/ed25519"
	"testing"

	"gaggle/wire"
)

func testKey(seed byte) ed25519.PrivateKey {
	b := make([]byte, ed25519.SeedSize)
	b[0] = seed
	return ed25519.NewKeyFromSeed(b)
}

func failure(id wire.LeaseID, size int) *outcome {
	return &outcome{
		attempt: &wire.Attempt{Lease: id, Space: "t", Failure: wire.Failure{Cause: wire.CauseExit, Stderr: make([]byte, size)}},
		receipt: wire.Receipt{Space: "t", Cause: wire.CauseExit},
	}
}

func TestOutboxJoinsSmallThings(t *testing.T) {
	o := newOutbox(testKey(1))
	o.started(1)
	o.outcome(failure(2, 10))
	o.have("t", []wire.Object{file("a"), file("b")})
	o.have("u", []wire.Object{file("a")})
	frames, _ := o.take()
	if len(frames) != 1 {
		t.Fatalf("%d frames, want 1", len(frames))
	}
	f := frames[0]
	if len(f.Started) != 1 || len(f.Failures) != 1 || len(f.Have) != 2 || len(f.Have[0].Objects) != 2 {
		t.Errorf("frame = %+v", f.FromNode)
	}
	b, err := wire.DecodeReceiptBatch(f.Receipts)
	if err != nil || len(b.Receipts) != 1 || b.Signer != wire.PeerOf(testKey(1)) {
		t.Errorf("receipts = %+v, %v", b, err)
	}
}

func TestOutboxBounds(t *testing.T) {
	t.Run("items", func(t *testing.T) {
		o := newOutbox(testKey(1))
		objs := make([]wire.Object, 3*wire.MaxBatch)
		for i := range objs {
			objs[i] = file(string(rune('a' + i)))
		}
		o.have("t", objs)
		var ds []wire.Digest
		for _, obj := range objs {
			ds = append(ds, obj.Digest)
		}
		o.lost("t", ds)
		frames, _ := o.take()
		if len(frames) != 6 {
			t.Errorf("%d frames, want 6", len(frames))
		}
	})
	t.Run("bytes", func(t *testing.T) {
		o := newOutbox(testKey(1))
		for i := range 400 {
			o.outcome(failure(wire.LeaseID(i), 2*wire.MaxTail))
		}
		frames, _ := o.take()
		for _, f := range frames {
			if b, err := wire.Marshal(&f.FromNode); err != nil || len(b) > 2*frameBytes {
				t.Fatalf("frame of %d bytes, %v", len(b), err)
			}
		}
	})
	t.Run("frames", func(t *testing.T) {
		o := newOutbox(testKey(1))
		for range maxFrames + 1 {
			o.lost("t", []wire.Digest{{}})
		}
		if _, overflow := o.take(); !overflow {
			t.Error("no overflow")
		}
	})
}

// The coordinator reads Have before Lost of one frame.
func TestOutboxKeepsLostAndHaveInOrder(t *testing.T) {
	o := newOutbox(testKey(1))
	a := file("a")
	o.have("t", []wire.Object{a})
	o.lost("t", []wire.Digest{a.Digest})
	o.have("t", []wire.Object{a})
	held := false
	frames, _ := o.take()
	for _, f := range frames {
		for _, s := range f.Have {
			held = held || s.Objects[0].Digest == a.Digest
		}
		for _, s := range f.Lost {
			held = held && s.Objects[0].Digest != a.Digest
		}
	}
	if !held {
		t.Errorf("after having, losing and having again the coordinator thinks it lost")
	}
}

func TestOutboxDrained(t *testing.T) {
	o := newOutbox(testKey(1))
	<-o.drained()
	o.started(1)
	c := o.drained()
	o.take()
	select {
	case <-c:
		t.Fatal("drained while it is being written")
	default:
	}
	o.wrote()
	<-c
	o.started(1)
	c = o.drained()
	o.close()
	<-c
}
