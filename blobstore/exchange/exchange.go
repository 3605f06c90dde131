// Package exchange fetches objects from the members that hold them, and serves those held here.
//
// The protocol, wire.ProtocolBlob, on a stream that the requester opens for one space:
//
//	requester                                     holder
//	uvarint n, n bytes: wire.Grant
//	  (n = 0: the public space)
//	then any number of requests:                  an answer to each id and probe, in order:
//	01 uvarint count, count x (32 bytes digest,   01 uvarint size, then size-offset bytes  found
//	   uvarint offset)                    get     02                                       not found
//	02 uvarint n                          probe   03                                       busy
//	03 32 bytes digest, uvarint size   manifest   04 uvarint n, n bytes: wire.Error        refused
//	04 32 bytes digest, uvarint size,             05                                       later
//	   uvarint most,                              06 uvarint size, then runs           compressed
//	   uvarint n, n bytes: wanted        pieces
//	05 as for get                          seek
//
// A probe is answered as found, with n bytes that do not compress. Not found is also the answer
// for what another space holds, and for an offset beyond the end. After busy (too many streams;
// try again, or elsewhere) and refused (the grant is not good, or a request malformed) the holder
// closes the stream. A holder that cannot go on within an object resets it: an answer is whole
// or broken off, and what it hashes to decides.
//
// A blob of two MiB and more goes in pieces (wire.Manifest), from all who have some (swarm.go). A
// manifest is answered as found, with the states, or later if it is being made. Pieces are answered
// with what is here, as found: a bitmap (HAVE), piece 0 in the lowest bit of the first byte, or no
// bytes for all; then at most so many of the pieces wanted, which the holder chooses, the one that it
// has sent least often first:
//
//	uvarint index+1, a run: the piece                   any number of times
//	00                                                  the end
//
// A run is so many bytes of an object as both sides know: a piece, or of a compressed answer each 256 KiB
// from the offset and what is left at the end.
//
//	uvarint n, n bytes     as they are if n is all of them; fewer are a frame of zstd (RFC 8878) which
//	                       makes all of them, with a window of 1 MiB at most
//
// Compressed are get's and seek's answers and pieces for a requester that has said, when certificates
// were exchanged, that it reads them (peer.Stream.Inflates), and where it pays (compress.go).
//
// A request for no pieces asks what is here; who has a part waits up to a second for news. No pieces
// where some were wanted and are here means that too many others are being sent some. A member of an
// older version refuses both requests as malformed, and is asked for the whole.
//
// Seek is get, asked of a member that fetches the same (borrow.go): what is on its way there is
// answered as later.
//
// The requester keeps a few streams to each holder while there is something to ask, and puts
// many small objects into one request. An object is published when all of it is there and
// hashes to its digest. Where a holder fails within a large object the next one goes on from the
// offset reached.
package exchange

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
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
	Manifest(ctx context.Context, space wire.Space, d wire.Digest) (*wire.Manifest, error)
	Receive(space wire.Space, m *wire.Manifest) (*blobstore.Partial, error)
	Resume(space wire.Space, d wire.Digest, size uint64) *blobstore.Partial
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
	// Relayed reports whether a peer is reached through a relay only; nil is that nobody is. Such a
	// one is asked for a large blob only if nobody else has it.
	Relayed func(wire.PeerID) bool
	// Doubt is told of a peer from which nothing came for too long: the connection may be dead where
	// another way would not be. nil tells nobody.
	Doubt func(wire.PeerID)
	// MaxUpload bounds what is sent to peers, in bytes per second of all together; 0 is no bound.
	MaxUpload int64
	Limits    Limits // zero fields are defaults
}

// Limits bound what peers may cost.
type Limits struct {
	StreamsPerPeer int           // served at once to one peer; more are told busy. Default 16
	Streams        int           // served at once in all. Default 512
	FirstByte      time.Duration // a holder may take until an answer begins. Default 10 s
	Stall          time.Duration // either side may take for each 64 KiB: a floor of 6.5 KB/s. Default 10 s
	Idle           time.Duration // a stream nobody uses is kept. Default 30 s
}

func (l *Limits) setDefaults() {
	setDefault(&l.StreamsPerPeer, 16)
	setDefault(&l.Streams, 512)
	setDefault(&l.FirstByte, 10*time.Second)
	setDefault(&l.Stall, 10*time.Second)
	setDefault(&l.Idle, 30*time.Second)
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// An Exchange is safe for concurrent use.
type Exchange struct {
	cfg    Config
	slow   atomic.Int64 // time that small files lately took from their holders
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // flights, workers and streams served
	stores chan struct{}  // capacity maxStores: held while publishing an object
	turns  chan struct{}  // capacity maxSwarms: held by each swarm under way

	meter   meter
	zstd    compressor
	uploads uploads
	tallies tallies

	mu      sync.Mutex // guards the fields below
	closed  bool
	grants  map[wire.Space]*wire.Grant
	flights map[flightKey]*flight

	byDigest map[lendKey]*flight // of blobs, one of those for each
	sources  map[sourceKey]*source
	members  map[wire.PeerID]*member
	swarms   map[lotKey]*swarm
	makings  map[lotKey]*making // at most maxMaking
	serving  int                // streams
}

// maxStores bounds how many objects are published at once: each may keep an operating system
// thread waiting for the disk, and one Fetch may have a thousand to publish.
const maxStores = 32

// New returns an exchange, which Close ends.
func New(cfg Config) *Exchange {
	cfg.Limits.setDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Relayed == nil {
		cfg.Relayed = func(wire.PeerID) bool { return false }
	}
	if cfg.Doubt == nil {
		cfg.Doubt = func(wire.PeerID) {}
	}
	x := &Exchange{
		cfg: cfg, log: cfg.Logger, stores: make(chan struct{}, maxStores),
		turns: make(chan struct{}, maxSwarms), makings: map[lotKey]*making{},
		grants:  map[wire.Space]*wire.Grant{},
		flights: map[flightKey]*flight{}, byDigest: map[lendKey]*flight{},
		sources: map[sourceKey]*source{},
		members: map[wire.PeerID]*member{},
		swarms:  map[lotKey]*swarm{},
	}
	x.meter.rate = cfg.MaxUpload
	x.zstd.init()
	x.uploads.slots = slotsAt(cfg.MaxUpload, cfg.Limits.Stall)
	x.ctx, x.cancel = context.WithCancel(context.Background())
	return x
}

// Close ends every fetch and every stream, and waits until all have returned.
func (x *Exchange) Close() error {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.cancel()
	x.work.Wait()
	return nil
}

// begin counts a piece of work that Close waits for. It returns false once Close has begun.
func (x *Exchange) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.beginLocked()
}

func (x *Exchange) beginLocked() bool {
	if x.closed {
		return false
	}
	x.work.Add(1)
	return true
}

// SetGrant gives us the right to read a space from other members. It replaces an earlier one of
// the same space, if it lasts longer.
func (x *Exchange) SetGrant(g *wire.Grant) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.grants[g.Space]; old == nil || g.Expires > old.Expires {
		x.grants[g.Space] = g
	}
}

// grant returns our grant of a space; nil if there is none.
func (x *Exchange) grant(space wire.Space) *wire.Grant {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.grants[space]
}

// Stats counts what was moved.
type Stats struct {
	Peers map[wire.PeerID]PeerStats
}

// PeerStats counts bytes of objects and probes, without the protocol's own.
type PeerStats struct {
	In, Out           int64 // bytes on the wire
	InSaved, OutSaved int64 // bytes that were not, since others were sent, compressed
	Asked, Served     int64 // objects and probes: answers found there, and found here for it
}

// Add adds the counts of another peer.
func (s *PeerStats) Add(o PeerStats) {
	s.In, s.Out = s.In+o.In, s.Out+o.Out
	s.InSaved, s.OutSaved = s.InSaved+o.InSaved, s.OutSaved+o.OutSaved
	s.Asked, s.Served = s.Asked+o.Asked, s.Served+o.Served
}

// Stats returns the counts since New.
func (x *Exchange) Stats() Stats {
	x.mu.Lock()
	ms := maps.Clone(x.members)
	x.mu.Unlock()
	s := Stats{Peers: make(map[wire.PeerID]PeerStats, len(ms))}
	for p, m := range ms {
		s.Peers[p] = PeerStats{m.in.Load(), m.out.Load(), m.inSaved.Load(), m.outSaved.Load(), m.asked.Load(), m.served.Load()}
	}
	return s
}
