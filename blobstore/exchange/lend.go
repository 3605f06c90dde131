package exchange

import (
	"context"
	"errors"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// A lotKey names a blob that goes round in pieces.
type lotKey struct {
	space wire.Space
	blobID
}

const (
	// newsWait is how long a holder of a part, asked for nothing, waits for news of itself.
	newsWait = time.Second
	// newsEach is how far apart such answers are at least.
	newsEach = 100 * time.Millisecond
	// turnWait is how long a request waits for an upload slot; where --max-upload makes slots rare it is
	// a part of what its requester waits for an answer.
	turnWait = time.Second
	// maxMaking bounds the manifests that are being made for peers.
	maxMaking = 16
)

// pieceBufs are for pieces on their way out and in.
var pieceBufs = sync.Pool{New: func() any { return new([wire.PieceSize]byte) }}

// A lot is a blob of which pieces are here.
type lot struct {
	manifest *wire.Manifest
	read     func(i int, p []byte) (int, error)
	have     []bool // nil is all
	swarm    *swarm // nil if all
	close    func()
}

var errLater = errors.New("not yet")

// lot opens what is here of a blob. The error wraps blobstore.ErrNotFound, or is errLater if the
// manifest is being made.
func (x *Exchange) lot(k lotKey) (*lot, error) {
	if size, ok := x.cfg.Store.Stat(k.space, k.digest); !ok || uint64(size) != k.size {
		return x.partialLot(k)
	}
	m, err := x.manifest(k)
	if err != nil {
		return nil, err
	}
	b, err := x.cfg.Store.Open(k.space, k.digest)
	if err != nil {
		return nil, err
	}
	read := func(i int, p []byte) (int, error) { return m.PieceLen(i), b.ReadPiece(m, i, p) }
	return &lot{manifest: m, read: read, close: func() { b.Close() }}, nil
}

func (x *Exchange) partialLot(k lotKey) (*lot, error) {
	x.mu.Lock()
	sw := x.swarms[k]
	x.mu.Unlock()
	if sw == nil {
		return nil, blobstore.ErrNotFound
	}
	part, leave := sw.enter()
	if part == nil {
		return nil, errLater
	}
	defer leave()
	read := func(i int, p []byte) (int, error) {
		part, leave := sw.enter()
		if part == nil {
			return 0, blobstore.ErrNotFound
		}
		defer leave()
		return part.Read(i, p)
	}
	return &lot{manifest: part.Manifest(), read: read, have: part.Have(), swarm: sw, close: func() {}}, nil
}

// A making is a manifest that is being made for peers.
type making struct {
	done chan struct{} // closed when the fields below are set
	m    *wire.Manifest
	err  error
}

var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// manifest returns that of an object that is here. One that is not remembered is made in the background,
// which reads the whole object, once for all who ask: errLater if that takes long.
func (x *Exchange) manifest(k lotKey) (*wire.Manifest, error) {
	if m, err := x.cfg.Store.Manifest(ended, k.space, k.digest); !errors.Is(err, context.Canceled) {
		return m, err
	}
	mk := x.make(k)
	if mk == nil {
		return nil, errLater
	}
	timer := time.NewTimer(x.cfg.Limits.FirstByte / 4)
	defer timer.Stop()
	select {
	case <-mk.done:
		return mk.m, mk.err
	case <-timer.C:
		return nil, errLater
	}
}

// make returns the making of a manifest, which is begun if need be; nil if there are too many.
func (x *Exchange) make(k lotKey) *making {
	x.mu.Lock()
	defer x.mu.Unlock()
	if mk := x.makings[k]; mk != nil {
		return mk
	}
	if len(x.makings) >= maxMaking || !x.beginLocked() {
		return nil
	}
	mk := &making{done: make(chan struct{})}
	x.makings[k] = mk
	go func() {
		defer x.work.Done()
		mk.m, mk.err = x.cfg.Store.Manifest(x.ctx, k.space, k.digest)
		x.mu.Lock()
		delete(x.makings, k)
		x.mu.Unlock()
		close(mk.done)
	}()
	return mk
}

// manifest answers with the manifest of a blob.
func (sv *server) manifest(id blobID) error {
	l, err := sv.x.lot(lotKey{sv.space, id})
	if err == errLater {
		return sv.w.WriteByte(ansLater)
	}
	if err != nil {
		return sv.absent(wish{digest: id.digest}, err)
	}
	defer l.close()
	return sv.plain(l.manifest.States)
}

// pieces answers with what is here of a blob, and some of the pieces wanted.
func (sv *server) pieces(q *request) error {
	k := lotKey{sv.space, q.blob}
	l, err := sv.x.lot(k)
	if err == errLater {
		return sv.w.WriteByte(ansLater)
	}
	if err != nil {
		return sv.absent(wish{digest: q.blob.digest}, err)
	}
	if l.swarm != nil {
		l.swarm.meet(sv.s.Peer())
		if q.most == 0 {
			sv.awaitNews(l)
		}
	}
	defer l.close()
	if q.most == 0 {
		return sv.last0(l)
	}
	if !sv.enter() {
		return sv.last0(l)
	}
	whole := false
	defer func() { sv.leave(whole) }()
	if l.swarm != nil { // it may have got further while we waited
		l.have = l.swarm.have()
	}
	if err := sv.lend(k, l, q); err != nil {
		return err
	}
	err = sv.w.Flush()
	whole = err == nil
	return err
}

// last0 tells what is here, and sends no piece.
func (sv *server) last0(l *lot) error {
	if err := sv.tellHave(l); err != nil {
		return err
	}
	return sv.w.WriteByte(0)
}

// awaitNews waits until there is more of a partial blob than this peer was told of.
func (sv *server) awaitNews(l *lot) {
	count := func() (n int) {
		for _, h := range l.have {
			if h {
				n++
			}
		}
		return n
	}
	late := time.NewTimer(newsWait)
	defer late.Stop()
	soon := time.NewTimer(newsEach)
	defer soon.Stop()
	for {
		changed := l.swarm.news()
		l.have = l.swarm.have()
		if n := count(); n != sv.told {
			sv.told = n
			break
		}
		select {
		case <-changed:
		case <-late.C:
			return
		case <-sv.x.ctx.Done():
			return
		}
	}
	select {
	case <-soon.C:
	case <-sv.x.ctx.Done():
	}
	l.have = l.swarm.have()
	sv.told = count()
}

// tellHave writes the head of an answer: a bitmap of what is here, nothing for all.
func (sv *server) tellHave(l *lot) error {
	if l.have == nil {
		return sv.plain(nil)
	}
	b := make([]byte, bitmapLen(l.manifest.Size))
	for i, h := range l.have {
		if h {
			setBit(b, i)
		}
	}
	return sv.plain(b)
}

// plain writes an answer that is of no object.
func (sv *server) plain(b []byte) error {
	if _, err := sv.w.Write(appendFound(sv.w.AvailableBuffer(), uint64(len(b)))); err != nil {
		return err
	}
	for len(b) > 0 { // each has its own deadline
		n := min(len(b), chunk)
		if _, err := sv.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// lend sends pieces, of those wanted that which was sent least often.
func (sv *server) lend(k lotKey, l *lot, q *request) error {
	if err := sv.tellHave(l); err != nil {
		return err
	}
	buf := pieceBufs.Get().(*[wire.PieceSize]byte)
	defer pieceBufs.Put(buf)
	for range q.most {
		i, ok := sv.x.tallies.choose(k, l, q.want)
		if !ok {
			break
		}
		q.want[i/8] &^= 1 << (i % 8)
		n, err := l.read(i, buf[:])
		if errors.Is(err, blobstore.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if err := sv.piece(i, buf[:n], sv.shrink(buf[:n])); err != nil {
			return err
		}
	}
	return sv.w.WriteByte(0)
}

// piece writes one piece, of which the first n bytes of p are what it has become.
func (sv *server) piece(i int, p []byte, n int) error {
	if err := sv.uvarint(i + 1); err != nil {
		return err
	}
	if err := sv.uvarint(n); err != nil {
		return err
	}
	if err := sv.bytes(p[:n], len(p)); err != nil {
		return err
	}
	sv.m.served.Add(1)
	return nil
}
