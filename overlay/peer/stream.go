package peer

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"gaggle/wire"
)

// A Stream is one conversation with a peer, in both directions, in order. Reading and writing may
// go on at once in two goroutines.
type Stream struct {
	link   *link
	s      network.Stream
	rw     io.ReadWriteCloser // s, or s behind the agreement on the protocol
	closed atomic.Bool        // Close or Reset was called
}

// closeFor bounds how long Close may wait for the other side to agree on the protocol.
const closeFor = 10 * time.Second

// stream dresses a libp2p stream of the link, which counts as use of it until closed.
func (l *link) stream(s network.Stream, rw io.ReadWriteCloser) *Stream {
	l.streams.Add(1)
	return &Stream{link: l, s: s, rw: rw}
}

// Read reads what the peer wrote; io.EOF after its CloseWrite.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.rw.Read(p)
	s.link.read.Add(int64(n))
	return n, err
}

// Write writes to the peer.
func (s *Stream) Write(p []byte) (int, error) {
	s.link.writing.Add(1)
	defer s.link.writing.Add(-1)
	return s.rw.Write(p)
}

// CloseWrite says that nothing more will be written. Reading goes on.
func (s *Stream) CloseWrite() error {
	// The agreement on the protocol goes out with the first bytes; here there may be none. If
	// that fails a Read will tell.
	if f, ok := s.rw.(interface{ Flush() error }); ok {
		_ = f.Flush()
	}
	return s.s.CloseWrite()
}

// Close ends both directions in good order: what was written still arrives.
func (s *Stream) Close() error {
	if !s.release() {
		return nil
	}
	if s.rw != io.ReadWriteCloser(s.s) {
		_ = s.s.SetReadDeadline(time.Now().Add(closeFor))
	}
	return s.rw.Close()
}

// Reset ends both directions at once; both sides' reads and writes fail. After Close it cuts
// what is still on the way.
func (s *Stream) Reset() {
	s.release()
	_ = s.s.Reset()
}

// finish resets the stream unless it was closed.
func (s *Stream) finish() {
	if !s.closed.Load() {
		s.Reset()
	}
}

// release gives back the use of the link, once.
func (s *Stream) release() bool {
	if s.closed.Swap(true) {
		return false
	}
	s.link.used.Store(time.Now().UnixNano())
	s.link.streams.Add(-1)
	return true
}

// SetDeadline bounds reads and writes. The zero time takes the bound away.
func (s *Stream) SetDeadline(t time.Time) error { return s.s.SetDeadline(t) }

// SetReadDeadline bounds reads.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.s.SetReadDeadline(t) }

// SetWriteDeadline bounds writes.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.s.SetWriteDeadline(t) }

// Peer returns who is at the other end.
func (s *Stream) Peer() wire.PeerID { return s.link.peer }

// Superseded reports whether the stream is on a relayed connection though there is a direct one to
// the same peer: a new stream would be on that.
func (s *Stream) Superseded() bool {
	if !s.link.relayed {
		return false
	}
	best := s.link.host.certified(s.link.peer)
	return best != nil && !best.relayed
}

// Inflates reports whether the peer reads compressed answers of wire.ProtocolBlob, as it said with its
// certificate. Older versions say nothing and do not.
func (s *Stream) Inflates() bool { return s.link.zstd.Load() }

// Cert returns the certificate that the peer showed last on the connection.
func (s *Stream) Cert() *wire.Certificate { return s.link.shown() }
