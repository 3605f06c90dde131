package exchange

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// Serve answers a peer on a stream of wire.ProtocolBlob until it ends. That the peer is a member
// has been checked.
func (x *Exchange) Serve(s Stream) {
	if !x.begin() {
		s.Reset()
		return
	}
	defer x.work.Done()
	stop := context.AfterFunc(x.ctx, s.Reset)
	defer stop()
	sv := &server{x: x, s: s, r: bufio.NewReaderSize(s, 4<<10)}
	sv.w = bufio.NewWriterSize(&writeBounded{sv}, chunk)
	m, ok := x.enterServing(s.Peer())
	if !ok {
		sv.last([]byte{ansBusy})
		return
	}
	defer x.leaveServing(m)
	sv.m = m
	if err := sv.run(); err != nil {
		x.log.Debug("a stream of the exchange broke off", "peer", s.Peer(), "error", err)
		s.Reset()
	}
}

func (x *Exchange) enterServing(p wire.PeerID) (*member, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.memberLocked(p)
	if m.serving >= x.cfg.Limits.StreamsPerPeer || x.serving >= x.cfg.Limits.Streams {
		return nil, false
	}
	m.serving++
	x.serving++
	return m, true
}

func (x *Exchange) leaveServing(m *member) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m.serving--
	x.serving--
}

// writeBounded gives every write a deadline: who does not take bytes must not hold them here.
// No more than the bound on uploads allows is sent.
type writeBounded struct {
	sv *server
}

func (w *writeBounded) Write(p []byte) (int, error) {
	x, s := w.sv.x, w.sv.s
	if m := w.sv.m; m != nil {
		m.outlet.begin()
		defer m.outlet.end(len(p))
	}
	if err := x.meter.wait(x.ctx, len(p)); err != nil {
		return 0, err
	}
	w.sv.turn.begin()
	defer w.sv.turn.end()
	if err := s.SetWriteDeadline(time.Now().Add(x.cfg.Limits.Stall)); err != nil {
		return 0, err
	}
	return s.Write(p)
}

// A server answers on one stream.
type server struct {
	x     *Exchange
	s     Stream
	m     *member
	r     *bufio.Reader
	w     *bufio.Writer
	space wire.Space
	grant *wire.Grant // nil for the public space
	told  int         // pieces of a partial blob that the peer was told of
	turn  *turn       // of the answer that is under way; nil if it needs none
	ended bool        // nothing more is answered
	buf   [chunk]byte
}

// run serves until the requester ends the stream, or breaks the rules.
func (sv *server) run() error {
	if err := sv.awaitRequest(sv.x.cfg.Limits.FirstByte); err != nil {
		return err
	}
	g, err := readOpen(sv.r)
	if wire.CauseOf(err) == wire.CauseInvalid {
		return sv.refuse(err)
	}
	if err != nil {
		return err
	}
	sv.grant, sv.space = g, wire.Public
	if g != nil {
		sv.space = g.Space
		if err := g.Verify(sv.s.Peer(), sv.x.cfg.Now(), sv.x.cfg.Trusted); err != nil {
			return sv.refuse(err)
		}
	}
	var q request
	for {
		// The requester closes an idle stream; this is for those that do not.
		if err := sv.awaitRequest(2 * sv.x.cfg.Limits.Idle); err != nil {
			return err
		}
		q, err = readRequest(sv.r, q.wishes)
		switch {
		case err == io.EOF:
			return sv.s.Close()
		case wire.CauseOf(err) == wire.CauseInvalid:
			return sv.refuse(err)
		case err != nil:
			return err
		}
		if g != nil && sv.x.cfg.Now().Add(-wire.MaxClockSkew).Unix() > g.Expires {
			return sv.refuse(wire.Errorf(wire.CauseExpired, "", "the grant of space %s ran out while in use", g.Space))
		}
		if err := sv.answer(&q); err != nil {
			return err
		}
		if sv.ended {
			return nil
		}
	}
}

// awaitRequest flushes answers before a read that may block.
func (sv *server) awaitRequest(wait time.Duration) error {
	if sv.r.Buffered() > 0 {
		return nil
	}
	if err := sv.w.Flush(); err != nil {
		return err
	}
	return sv.s.SetReadDeadline(time.Now().Add(wait))
}

// refuse says why, and ends the stream in good order.
func (sv *server) refuse(err error) error {
	sv.x.log.Info("a peer was refused", "peer", sv.s.Peer(), "error", err)
	return sv.last(appendRefused(nil, wire.AsError(err)))
}

// last writes the last answer of the stream.
func (sv *server) last(b []byte) error {
	if _, err := sv.w.Write(b); err != nil {
		return err
	}
	if err := sv.w.Flush(); err != nil {
		return err
	}
	return sv.s.Close()
}

func (sv *server) answer(q *request) error {
	switch q.kind {
	case reqManifest:
		return sv.manifest(q.blob)
	case reqPieces:
		return sv.pieces(q)
	}
	if sv.x.meter.rate == 0 {
		return sv.objects(q)
	}
	// With more answers at once each would get too little to be waited for.
	if !sv.enter() {
		sv.ended = true
		return sv.last([]byte{ansBusy})
	}
	err := sv.objects(q)
	if err == nil {
		err = sv.w.Flush()
	}
	sv.leave(err == nil)
	return err
}

// enter waits for an upload slot. It reports false if there is none to be had; else leave must be called.
func (sv *server) enter() bool {
	wait := turnWait
	if sv.x.meter.rate > 0 {
		wait = sv.x.cfg.Limits.FirstByte / 4
	}
	ctx, cancel := context.WithTimeout(sv.x.ctx, wait)
	defer cancel()
	sv.turn = sv.x.uploads.enter(ctx, sv.m)
	return sv.turn != nil
}

// leave gives the slot back. whole says that the answer was taken to its end.
func (sv *server) leave(whole bool) {
	sv.turn.leave(whole)
	sv.turn = nil
}

// objects answers with a probe or objects.
func (sv *server) objects(q *request) error {
	if q.kind == reqProbe {
		return sv.probe(q.probe)
	}
	for _, w := range q.wishes {
		err := error(nil)
		if q.kind == reqSeek && sv.x.fetching(sv.space, w.digest, sv.s.Peer()) {
			err = sv.w.WriteByte(ansLater)
		} else {
			err = sv.object(w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// object answers for one id.
func (sv *server) object(w wish) error {
	b, err := sv.x.cfg.Store.Open(sv.space, w.digest)
	if err != nil {
		return sv.absent(w, err)
	}
	defer b.Close()
	size := uint64(b.Size())
	if w.offset > size {
		return sv.absent(w, nil)
	}
	if w.offset > 0 {
		if _, err := b.Seek(int64(w.offset), io.SeekStart); err != nil {
			return sv.absent(w, err)
		}
	}
	left := int64(size - w.offset)
	if left <= chunk {
		// Read before the answer begins, so that bytes found corrupt are simply not there.
		p := sv.buf[:left]
		if _, err := io.ReadFull(b, p); err != nil {
			return sv.absent(w, err)
		}
		if n := sv.shrink(p); n < len(p) {
			return sv.packed(size, p, n)
		}
		return sv.found(size, p)
	}
	packed := sv.compresses()
	head := appendFound
	if packed {
		head = appendPacked
	}
	if err := sv.head(head(sv.w.AvailableBuffer(), size)); err != nil {
		return err
	}
	if err := sv.w.Flush(); err != nil {
		return err
	}
	return sv.send(b, left, packed)
}

// compresses reports whether what is sent should be compressed.
func (sv *server) compresses() bool {
	o, ok := sv.s.(interface{ Inflates() bool })
	return ok && o.Inflates() && sv.x.zstd.slow(sv.m.outlet.rate())
}

// shrink compresses a run in place if it pays, and returns how long it is then.
func (sv *server) shrink(p []byte) int {
	if !sv.compresses() {
		return len(p)
	}
	return sv.x.zstd.shrink(p, sv.m.outlet.rate())
}

// readAhead is how much of a large object is read and hashed at once, while what came before it is
// being sent: quic-go sends nothing between two writes. At the other end likewise.
const readAhead = 256 << 10

var aheads = sync.Pool{New: func() any { return new([readAhead]byte) }}

// A piece is bytes that were read ahead, or why there are none.
type piece struct {
	buf *[readAhead]byte
	n   int
	of  int // how many they were before they were compressed
	err error
}

// send writes n bytes of b to the stream, packed in runs. After an error the answer is broken off.
func (sv *server) send(b *blobstore.Blob, n int64, packed bool) error {
	pieces := make(chan piece) // one is read while one is written
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(pieces)
		for left := n; left > 0; {
			p := piece{buf: aheads.Get().(*[readAhead]byte)}
			p.n, p.err = io.ReadFull(b, p.buf[:min(left, readAhead)])
			left -= int64(p.n)
			if p.of = p.n; packed && p.err == nil {
				p.n = sv.x.zstd.shrink(p.buf[:p.n], sv.m.outlet.rate())
			}
			select {
			case pieces <- p:
			case <-stop:
				aheads.Put(p.buf)
				return
			}
			if p.err != nil {
				return
			}
		}
	})
	defer reader.Wait()
	defer close(stop)
	for p := range pieces {
		err := p.err
		if packed && err == nil {
			err = sv.uvarint(p.n)
		}
		if err == nil {
			err = sv.bytes(p.buf[:p.n], p.of)
		}
		aheads.Put(p.buf)
		if err != nil {
			return err
		}
	}
	return nil
}

// head writes the head of an answer that something was found.
func (sv *server) head(b []byte) error {
	sv.m.served.Add(1)
	_, err := sv.w.Write(b)
	return err
}

// found answers with an object.
func (sv *server) found(size uint64, p []byte) error {
	if err := sv.head(appendFound(sv.w.AvailableBuffer(), size)); err != nil {
		return err
	}
	return sv.bytes(p, len(p))
}

// packed answers with an object that is one run, of which the first n bytes of p are what it has become.
func (sv *server) packed(size uint64, p []byte, n int) error {
	if err := sv.head(appendPacked(sv.w.AvailableBuffer(), size)); err != nil {
		return err
	}
	if err := sv.uvarint(n); err != nil {
		return err
	}
	return sv.bytes(p[:n], len(p))
}

func (sv *server) uvarint(n int) error {
	_, err := sv.w.Write(binary.AppendUvarint(sv.w.AvailableBuffer(), uint64(n)))
	return err
}

// bytes writes those of an object, which stand for so many. Each chunk has its own deadline.
func (sv *server) bytes(p []byte, of int) error {
	sv.m.outSaved.Add(int64(of - len(p)))
	for len(p) > 0 {
		n := min(len(p), chunk)
		if _, err := sv.w.Write(p[:n]); err != nil {
			return err
		}
		sv.m.out.Add(int64(n))
		p = p[n:]
	}
	return nil
}

func (sv *server) absent(w wish, err error) error {
	if err != nil && !errors.Is(err, blobstore.ErrNotFound) {
		sv.x.log.Warn("an object cannot be served", "space", sv.space, "digest", w.digest, "error", err)
	}
	return sv.w.WriteByte(ansNotFound)
}

// probe answers with n bytes from a generator.
func (sv *server) probe(n uint64) error {
	if err := sv.found(n, nil); err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{'p', 'r', 'o', 'b', 'e'})
	for n > 0 {
		p := sv.buf[:min(n, chunk)]
		noise.Read(p)
		if err := sv.bytes(p, len(p)); err != nil {
			return err
		}
		n -= uint64(len(p))
	}
	return nil
}
