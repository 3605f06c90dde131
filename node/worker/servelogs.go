package worker

import (
	"errors"
	"fmt"
	"io"
	"time"

	"gaggle/wire"
)

// A LogStream is a stream of wire.ProtocolLogs opened by a certified peer; *peer.Stream is.
type LogStream interface {
	io.ReadWriteCloser
	Peer() wire.PeerID
}

const (
	// maxLogReaders bounds the streams served at once.
	maxLogReaders = 64
	// logRequestLimit bounds the wait for a request, logWriteLimit for a reader that does not read.
	logRequestLimit = 10 * time.Second
	logWriteLimit   = time.Minute
	// logIdle is when an empty chunk goes out, so that a reader that has gone is noticed.
	logIdle = 15 * time.Second
	// logChunk bounds the data of one chunk.
	logChunk = 32 << 10
)

// ServeLogs answers one wire.LogRequest and closes the stream.
func (w *Worker) ServeLogs(s LogStream) {
	defer s.Close()
	err := w.enterLogs()
	if err == nil {
		defer w.leaveLogs()
		err = w.serveLogs(s)
	}
	chunk := wire.LogChunk{End: true, Error: wire.AsError(err)}
	if err := writeChunk(s, &chunk); err != nil {
		w.log.Debug("a reader of logs has gone", "peer", s.Peer(), "error", err)
	}
}

func (w *Worker) enterLogs() error {
	w.logs.mu.Lock()
	defer w.logs.mu.Unlock()
	if w.logs.readers >= maxLogReaders {
		return wire.Errorf(wire.CauseBusy, "try again later",
			"%d logs are being read here already", w.logs.readers)
	}
	w.logs.readers++
	return nil
}

func (w *Worker) leaveLogs() {
	w.logs.mu.Lock()
	defer w.logs.mu.Unlock()
	w.logs.readers--
}

func (w *Worker) serveLogs(s LogStream) error {
	late := time.AfterFunc(logRequestLimit, func() { s.Close() })
	var req wire.LogRequest
	err := wire.NewFrameReader(s).Read(&req)
	late.Stop()
	if err != nil {
		return fmt.Errorf("reading a request for logs: %w", err)
	}
	if err := w.mayRead(&req, s.Peer()); err != nil {
		return err
	}
	l, ends, ok := w.logs.find(logKey{req.Space, req.Thunk})
	switch {
	case !ok:
		return wire.Errorf(wire.CauseNotFound, "its receipt may name the ends of its output",
			"no output of this thunk is kept here")
	case l != nil:
		return w.follow(s, l, req.Follow)
	}
	return errors.Join(w.sendEnd(s, req.Space, ends.stdout, false), w.sendEnd(s, req.Space,
		ends.stderr, true))
}

func (w *Worker) mayRead(req *wire.LogRequest, peer wire.PeerID) error {
	g, err := wire.DecodeGrant(req.Grant)
	if err != nil {
		return wire.Errorf(wire.CauseUnauthorized, "", "request for logs without a grant: %v", err)
	}
	trusted := func(p wire.PeerID) bool { return w.cfg.Trusted != nil && w.cfg.Trusted(p) }
	if err := g.Verify(peer, w.cfg.Clock.Now(), trusted); err != nil {
		return err
	}
	if g.Space != req.Space {
		return wire.Errorf(wire.CauseUnauthorized, "", "a grant for the space %q is none for %q",
			g.Space, req.Space)
	}
	return nil
}

// follow sends what a running thunk has written, and if asked to what it writes from now on.
func (w *Worker) follow(s LogStream, l *runLog, follow bool) error {
	var pos int64
	for {
		p, next, more := l.read(pos, logChunk)
		if next > pos {
			pos = next
			if err := writeChunk(s, &wire.LogChunk{Stderr: p.stderr, Data: p.data}); err != nil {
				return err
			}
			continue
		}
		if more == nil || !follow {
			return nil
		}
		select {
		case <-more:
		case <-w.ctx.Done():
			return wire.Errorf(wire.CauseNodeLost, "", "the node is shutting down")
		case <-time.After(logIdle):
			if err := writeChunk(s, new(wire.LogChunk)); err != nil {
				return err
			}
		}
	}
}

// sendEnd sends the kept end of a stream of a run that is over.
func (w *Worker) sendEnd(s LogStream, space wire.Space, o wire.Object, stderr bool) error {
	if o.Kind == 0 {
		return nil
	}
	b, err := w.cfg.Store.Open(space, o.Digest)
	if err != nil {
		return fmt.Errorf("opening the end of a thunk's output: %w", err)
	}
	defer b.Close()
	buf := make([]byte, logChunk)
	for {
		n, err := b.Read(buf)
		if n > 0 {
			if err := writeChunk(s, &wire.LogChunk{Stderr: stderr, Data: buf[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the end of a thunk's output: %w", err)
		}
	}
}

func writeChunk(s LogStream, c *wire.LogChunk) error {
	late := time.AfterFunc(logWriteLimit, func() { s.Close() })
	defer late.Stop()
	return wire.WriteFrame(s, c)
}
