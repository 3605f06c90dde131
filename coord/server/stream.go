package server

import (
	"context"
	"io"
	"time"

	"gaggle/wire"
)

const (
	// firstTimeout bounds the wait for a peer's first frame, and for the next part of a job that
	// is being submitted.
	firstTimeout = 30 * time.Second
	// writeTimeout bounds writing one frame to a peer that does not read.
	writeTimeout = time.Minute
)

// begin enters a session whose stream ends with ctx and with the server. It reports false if the
// server is shutting down. The caller calls end when it is done.
func (s *Server) begin(ctx context.Context, rw io.Closer) (end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, false
	}
	s.sessions.Add(1)
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	stopLife := context.AfterFunc(s.life, func() { rw.Close() })
	return func() {
		stop()
		stopLife()
		rw.Close()
		s.sessions.Done()
	}, true
}

// readFrame reads a frame that must come within firstTimeout.
func readFrame(frames *wire.FrameReader, rw io.Closer, v any) error {
	late := time.AfterFunc(firstTimeout, func() { rw.Close() })
	defer late.Stop()
	return frames.Read(v)
}

// writeFrame writes a frame to a peer, who must take it within writeTimeout.
func writeFrame(w io.WriteCloser, v any) error {
	late := time.AfterFunc(writeTimeout, func() { w.Close() })
	defer late.Stop()
	return wire.WriteFrame(w, v)
}
