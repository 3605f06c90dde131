package peer

import (
	"time"

	"gaggle/wire"
)

// A Stream is one conversation with a peer, in both directions, in order. Reading and writing may
// go on at once in two goroutines.
type Stream struct{}

// Read reads what the peer wrote; io.EOF after its CloseWrite.
func (s *Stream) Read(p []byte) (int, error) { return 0, errNotBuilt }

// Write writes to the peer.
func (s *Stream) Write(p []byte) (int, error) { return 0, errNotBuilt }

// CloseWrite says that nothing more will be written. Reading goes on.
func (s *Stream) CloseWrite() error { return nil }

// Close ends both directions in good order: what was written still arrives.
func (s *Stream) Close() error { return nil }

// Reset ends both directions at once; both sides' reads and writes fail.
func (s *Stream) Reset() {}

// SetDeadline bounds reads and writes, SetReadDeadline reads, SetWriteDeadline writes. The zero
// time takes a bound away.
func (s *Stream) SetDeadline(t time.Time) error { return nil }

// SetReadDeadline bounds reads.
func (s *Stream) SetReadDeadline(t time.Time) error { return nil }

// SetWriteDeadline bounds writes.
func (s *Stream) SetWriteDeadline(t time.Time) error { return nil }

// Peer returns who is at the other end.
func (s *Stream) Peer() wire.PeerID { return wire.PeerID{} }

// Cert returns the certificate that the peer showed on the connection.
func (s *Stream) Cert() *wire.Certificate { return nil }
