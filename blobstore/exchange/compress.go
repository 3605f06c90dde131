package exchange

import (
	"bufio"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"gaggle/wire"
)

const (
	// runLen is how much of an object a run has in a compressed answer.
	runLen = readAhead
	// maxRun is the longest run, and the largest window that a frame may ask for.
	maxRun = wire.PieceSize
	// probeLen of a run are compressed first, at the fastest level, to see whether it is worth it.
	probeLen = 64 << 10
	// minRun is the length from which a run is compressed at all.
	minRun = 256
	// compressRate is taken for what one core compresses in a second until that was measured: 97-138 MB/s of
	// Go's sources (BenchmarkCompress, busy machine).
	compressRate = 100e6
	// compressMargin is how many times faster than a pair's link compressing must be. So the link stays the
	// slower of the two however much what is sent shrinks, costs an eighth of a core when it is busy, and a
	// pair on loopback that waits for a busy processor does not make it busier: with 4, a tenth of small
	// files were compressed there at a load of 14.
	compressMargin = 8
)

// A compressor compresses what is sent and inflates what comes. Of both few are at it at once, so that
// memory and processor time are bounded: an encoder and its room take some 4 MiB, a decoder 2.
type compressor struct {
	out, in            chan struct{} // held while compressing, and inflating
	encoders, decoders sync.Pool     // of *encoder and *decoder; not shared by exchanges, for synctest's sake

	mu    sync.Mutex // guards speed
	speed speed      // of compressing, as long as the machine is as busy as it is
}

type encoder struct {
	fastest, usual *zstd.Encoder
	room           []byte
}

type decoder struct {
	*zstd.Decoder
	room []byte
}

// errInflate says that what a peer has sent is no frame that makes the bytes it should. Only its sender
// can have made it so.
var errInflate = errors.New("it sent compressed bytes that are damaged")

func (c *compressor) init() {
	cores := runtime.GOMAXPROCS(0)
	c.out, c.in = make(chan struct{}, max(1, cores/4)), make(chan struct{}, cores)
}

// slow reports whether a link of so many bytes per second, 0 if that is not known, is slow enough for
// compressing to gain time.
func (c *compressor) slow(rate float64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ours := c.speed.rate()
	if ours == 0 {
		ours = compressRate
	}
	return rate > 0 && rate*compressMargin < ours
}

// shrink compresses p in place for a link of so many bytes per second, and returns the length of what it
// has become: that of p, which is then as it was, if there is little to gain, or others compress for half
// as long as it takes to send p.
func (c *compressor) shrink(p []byte, rate float64) int {
	if len(p) < minRun || len(p) > maxRun || !c.enter(time.Duration(float64(len(p))/rate/2*float64(time.Second))) {
		return len(p)
	}
	defer func() { <-c.out }()
	e, _ := c.encoders.Get().(*encoder)
	if e == nil {
		e = newEncoder()
	}
	defer c.encoders.Put(e)
	if len(p) > probeLen && !gains(len(e.fastest.EncodeAll(p[:probeLen], e.room[:0])), probeLen) {
		return len(p)
	}
	begun := time.Now()
	z := e.usual.EncodeAll(p, e.room[:0])
	c.took(len(p), time.Since(begun))
	if !gains(len(z), len(p)) {
		return len(p)
	}
	return copy(p, z)
}

// enter waits for a turn to compress, at most so long.
func (c *compressor) enter(most time.Duration) bool {
	select {
	case c.out <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case c.out <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// gains reports whether n bytes in place of so many are worth inflating them.
func gains(n, of int) bool { return n < of-of/8 }

func (c *compressor) took(n int, t time.Duration) {
	if n < probeLen {
		return // the clock would be measured
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.speed.add(int64(n), t)
}

func newEncoder() *encoder {
	make1 := func(level zstd.EncoderLevel) *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(maxRun), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // the options are good
		}
		return e
	}
	return &encoder{make1(zstd.SpeedFastest), make1(zstd.SpeedDefault), make([]byte, 0, maxRun+maxRun/64)}
}

func newDecoder() *decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxRun), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // the options are good
	}
	return &decoder{d, make([]byte, maxRun)}
}

// inflate makes p of the frame that its first n bytes are. No more than len(p) bytes are ever made. The
// error is errInflate.
func (c *compressor) inflate(p []byte, n int) error {
	c.in <- struct{}{}
	defer func() { <-c.in }()
	d, _ := c.decoders.Get().(*decoder)
	if d == nil {
		d = newDecoder()
	}
	defer c.decoders.Put(d)
	b, err := d.DecodeAll(p[:n], d.room[:0:len(p)])
	if err != nil || len(b) != len(p) {
		return errInflate
	}
	copy(p, b)
	return nil
}

// readRunLen reads how many bytes a run of so many has on the wire.
func readRunLen(r *bufio.Reader, of int) (int, error) {
	n, err := readUvarint(r)
	if err == nil && (n == 0 || n > uint64(of)) {
		err = malformed("run of %d bytes for %d", n, of)
	}
	return int(n), err
}
