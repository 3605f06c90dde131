package exchange

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/wire"
)

// A session is one stream to a holder. It is for one goroutine.
type session struct {
	x        *Exchange
	s        Stream
	m        *member
	r        *bufio.Reader
	stop     func() bool // no reset at the end of Exchange.ctx
	grant    *wire.Grant
	opened   bool // the grant was sent
	answered bool // something came back for the last request
	deadline time.Time
	buf      [chunk]byte
}

var (
	errBusy = errors.New("it serves too many others")
	// errGivenUp says that we broke off an answer, for which its holder is not to blame.
	errGivenUp = errors.New("given up")
)

// renewGrant is how long before its grant runs out a stream is replaced by one with a newer.
const renewGrant = time.Minute

// renewed reports whether a new session would be better: one with a grant in place of one that runs
// out, or on a direct connection in place of a relayed one.
func (x *Exchange) renewed(space wire.Space, st *session) bool {
	if o, ok := st.s.(interface{ Superseded() bool }); ok && o.Superseded() {
		return true
	}
	g := x.grant(space)
	return g != nil && st.grant != nil && g.Expires > st.grant.Expires &&
		x.cfg.Now().Add(renewGrant).Unix() > st.grant.Expires
}

// open begins a stream to a peer. The grant goes out with the first request.
func (x *Exchange) open(ctx context.Context, p wire.PeerID, space wire.Space, m *member) (*session, error) {
	// The dialer knows how long reaching a peer may take; this is for one that does not.
	ctx, cancel := context.WithTimeout(ctx, 3*x.cfg.Limits.FirstByte)
	defer cancel()
	s, err := x.cfg.Dialer.Open(ctx, p, wire.ProtocolBlob)
	if err != nil {
		return nil, err
	}
	return &session{
		x: x, s: s, m: m, r: bufio.NewReaderSize(s, chunk),
		stop: context.AfterFunc(x.ctx, s.Reset), grant: x.grant(space),
	}, nil
}

// close ends the stream, if there is one.
func (st *session) close() {
	if st == nil {
		return
	}
	if st.stop() {
		_ = st.s.Close()
	}
}

// send writes a request.
func (st *session) send(req []byte) error {
	if !st.opened {
		req = append(appendOpen(nil, st.grant), req...)
		st.opened = true
	}
	st.answered = false
	if err := st.s.SetWriteDeadline(time.Now().Add(st.x.cfg.Limits.Stall)); err != nil {
		return err
	}
	_, err := st.s.Write(req)
	return err
}

// ask asks for a batch and hands what comes to the flights. It returns how many of the asks have
// ended, and the error after which the stream is of no use.
func (st *session) ask(batch []*ask) (int, error) {
	wishes := make([]wish, len(batch))
	for i, a := range batch {
		wishes[i] = wish{a.flight.digest, a.offset}
	}
	begun := time.Now()
	kind := byte(reqGet)
	if batch[0].seek {
		kind = reqSeek
	}
	sent := st.send(appendWishes(nil, kind, wishes))
	for i, a := range batch {
		v, why, err := st.receive(a)
		if err == errGivenUp {
			a.end(v, why)
			return i + 1, err
		}
		if err != nil {
			if sent != nil && !st.answered {
				err = sent // a refusal read in spite of it says more
			}
			return i, err
		}
		if i == 0 && !a.flight.bulk() {
			st.m.answered(time.Since(begun))
		}
		a.end(v, why)
	}
	return len(batch), nil
}

// within sets a deadline for what is read next. It is moved only by steps: setting one costs as
// much as reading a small object.
func (st *session) within(d time.Duration) error {
	t := time.Now().Add(d)
	if t.Sub(st.deadline) < d/8 && st.deadline.Before(t) {
		return nil
	}
	st.deadline = t
	return st.s.SetReadDeadline(t)
}

// receive reads the answer to one ask, and returns what to end it with. After another error than
// errGivenUp it has not ended.
func (st *session) receive(a *ask) (v verdict, why, err error) {
	size, v, err := st.head()
	if err != nil || v != found && v != packed {
		return v, nil, err
	}
	fill := st.read
	if v == packed {
		v, fill = found, st.run
	}
	f := a.flight
	if why := f.fits(size); why != nil {
		return unfit, why, st.skip(size-min(size, a.offset), fill)
	}
	st.m.asked.Add(1)
	if why := f.ready(size); why != nil {
		return local, why, st.skip(size-a.offset, fill)
	}
	err = st.body(size-a.offset, fill, func(p []byte) bool {
		why = f.take(p, st.s.Peer())
		return why == nil
	})
	switch {
	case why != nil:
		v = local
	case err == errInflate:
		return broken, err, errGivenUp // the other answers are not to suffer for it
	}
	return v, why, err
}

// head reads the head of an answer.
func (st *session) head() (size uint64, v verdict, err error) {
	if err := st.within(st.x.cfg.Limits.FirstByte); err != nil {
		return 0, broken, err
	}
	kind, size, err := readAnswer(st.r)
	st.answered = st.answered || err == nil || kind == ansRefused
	switch {
	case err != nil:
		return 0, broken, err
	case kind == ansBusy:
		return 0, busy, errBusy
	case kind == ansNotFound:
		return 0, notFound, nil
	case kind == ansLater:
		return 0, later, nil
	case kind == ansPacked:
		return size, packed, nil
	}
	return size, found, nil
}

// body reads n bytes of an answer, by read or by run, and hands them on. Where take does not want more the
// error is errGivenUp.
func (st *session) body(n uint64, fill func([]byte) (int, error), take func([]byte) bool) error {
	if n > chunk {
		return st.stream(n, fill, take)
	}
	p := st.buf[:n]
	if _, err := fill(p); err != nil {
		return err
	}
	if n > 0 && !take(p) {
		return errGivenUp
	}
	return nil
}

// stream is body for many bytes: while some are hashed and stored others are read. Of one
// connection QUIC lets half a MiB be on the way, growing only on long links; if nobody reads
// meanwhile the holder waits.
func (st *session) stream(n uint64, fill func([]byte) (int, error), take func([]byte) bool) error {
	pieces := make(chan piece, 1)
	var stopped atomic.Bool // take wants no more
	var taker sync.WaitGroup
	taker.Go(func() {
		for p := range pieces {
			if !stopped.Load() && !take(p.buf[:p.n]) {
				stopped.Store(true)
			}
			aheads.Put(p.buf)
		}
	})
	var err error
	for n > 0 && err == nil && !stopped.Load() {
		p := piece{buf: aheads.Get().(*[readAhead]byte)}
		p.n, err = fill(p.buf[:min(n, readAhead)])
		n -= uint64(p.n)
		if p.n == 0 {
			aheads.Put(p.buf)
			break
		}
		pieces <- p // after an error too: the next holder goes on from there
	}
	close(pieces)
	taker.Wait()
	if stopped.Load() {
		return errGivenUp
	}
	return err
}

// read fills p, a chunk within each deadline, and returns how much of it is filled.
func (st *session) read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if err = st.within(st.x.cfg.Limits.Stall); err != nil {
			break
		}
		var k int
		k, err = io.ReadFull(st.r, p[n:min(n+chunk, len(p))])
		st.m.received(k)
		n += k
	}
	return n, unexpected(err)
}

// run fills p by a run of a compressed answer, or returns 0.
func (st *session) run(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := st.within(st.x.cfg.Limits.FirstByte); err != nil {
		return 0, err
	}
	n, err := readRunLen(st.r, len(p))
	if err != nil {
		return 0, err
	}
	if _, err := st.read(p[:n]); err != nil {
		return 0, err
	}
	if err := st.inflate(p, n); err != nil {
		return 0, err
	}
	return len(p), nil
}

// inflate makes p of the first n bytes of it, unless these are all.
func (st *session) inflate(p []byte, n int) error {
	if n == len(p) {
		return nil
	}
	st.m.inSaved.Add(int64(len(p) - n))
	return st.x.zstd.inflate(p, n)
}

// plain reads n bytes that are of no object, a chunk within each deadline.
func (st *session) plain(n int) ([]byte, error) {
	if err := st.within(st.x.cfg.Limits.FirstByte); err != nil {
		return nil, err
	}
	p := make([]byte, n)
	for b := p; len(b) > 0; {
		k, err := io.ReadFull(st.r, b[:min(len(b), chunk)])
		if err != nil {
			return nil, unexpected(err)
		}
		b = b[k:]
		if err := st.within(st.x.cfg.Limits.Stall); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// skip passes over n bytes of an answer that is of no use, or gives up the stream if they are many.
func (st *session) skip(n uint64, fill func([]byte) (int, error)) error {
	if n > bulkSize {
		return errGivenUp
	}
	return st.body(n, fill, func([]byte) bool { return true })
}
