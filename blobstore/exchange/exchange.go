// Package exchange fetches objects from the members that hold them, and serves those held here.
package exchange

import (
	"context"
	"io"
	"log/slog"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// A Store is where objects are; *blobstore.Store and *blobstore.Memory are.
type Store interface {
	Create(space wire.Space, want wire.Digest, size uint64) (*blobstore.Writer, error)
	Open(space wire.Space, d wire.Digest) (*blobstore.Blob, error)
	Stat(space wire.Space, d wire.Digest) (size int64, ok bool)
	Missing(space wire.Space, o wire.Object) ([]wire.Object, error)
}

// A Stream is one conversation with a peer; *peer.Stream is. Reset makes reads and writes that
// are under way return.
type Stream interface {
	io.ReadWriteCloser
	Reset()
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Peer() wire.PeerID
}

// A Dialer opens streams to members by their id.
type Dialer interface {
	Open(ctx context.Context, p wire.PeerID, protocol string) (Stream, error)
}

// A DialFunc is a Dialer.
type DialFunc func(ctx context.Context, p wire.PeerID, protocol string) (Stream, error)

// Open calls f.
func (f DialFunc) Open(ctx context.Context, p wire.PeerID, protocol string) (Stream, error) {
	return f(ctx, p, protocol)
}

// Config says what an Exchange works with. Store, Dialer, Trusted and Self must be set.
type Config struct {
	Store   Store
	Dialer  Dialer
	Trusted func(wire.PeerID) bool // whether a peer is a coordinator, whose grants count
	Self    wire.PeerID
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // the wall clock; nil is time.Now
	Limits  Limits           // zero fields are defaults
}

// Limits bound what peers may cost.
type Limits struct {
	StreamsPerPeer int           // served at once to one peer; more are told to wait. Default 16
	Streams        int           // served at once in all. Default 512
	FirstByte      time.Duration // a holder may take until an answer begins. Default 10 s
	Stall          time.Duration // it may take for each 64 KiB of an answer, ours to take them too. Default 10 s
	Idle           time.Duration // a stream nobody uses is kept. Default 30 s
}

// An Exchange is safe for concurrent use.
type Exchange struct{}

// New returns an exchange, which Close ends.
func New(cfg Config) *Exchange { return &Exchange{} }

// Close ends every fetch and every stream, and waits until all have returned.
func (x *Exchange) Close() error { return nil }

// Serve answers a peer on a stream of wire.ProtocolBlob until it ends.
func (x *Exchange) Serve(s Stream) {}

// SetGrant gives us the right to read a space from other members. It replaces an earlier one of
// the same space, if it lasts longer.
func (x *Exchange) SetGrant(g *wire.Grant) {}

// Progress tells how far a Fetch is. Bytes are of files, not of tree encodings.
type Progress struct {
	Done, Total int64
	From        wire.PeerID // who sent the last bytes
}

// A Report says what a Fetch found out about peers, also when it failed.
type Report struct {
	Bytes int64       // received by transfers that this call began; those joined count elsewhere
	Gone  []wire.Gone // holders that lacked an object or sent wrong bytes
	Links []wire.Link // as measured lately, of the peers that sent something
}

// Fetch brings every object of want whole into the store: for a Dir all below it too. What is here
// already, or is on its way for another call, is not asked for again. Holders are asked best
// first; one that lacks an object, sends wrong bytes or stalls is followed by the next.
//
// The error is of ctx, or a *wire.Error: CauseFetch names the object and the peers tried and why;
// CauseDiskFull; CauseUnauthorized without a grant for the space. What arrived whole stays.
// progress, which may be nil, is called one at a time, from any goroutine, about once a MiB.
func (x *Exchange) Fetch(ctx context.Context, space wire.Space, want []wire.Held, progress func(Progress)) (Report, error) {
	return Report{}, wire.Errorf(wire.CauseInternal, "", "not built")
}

// Probe measures the link from a peer with at most 1 MiB.
func (x *Exchange) Probe(ctx context.Context, from wire.PeerID) (wire.Link, error) {
	return wire.Link{}, wire.Errorf(wire.CauseInternal, "", "not built")
}

// Stats counts what was moved.
type Stats struct {
	Peers map[wire.PeerID]PeerStats
}

// PeerStats counts bytes of objects and probes, without the protocol's own.
type PeerStats struct {
	In, Out       int64 // bytes
	Asked, Served int64 // objects and probes asked of the peer; found here for it
}

// Stats returns the counts since New.
func (x *Exchange) Stats() Stats { return Stats{} }
