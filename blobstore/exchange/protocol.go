package exchange

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"gaggle/wire"
)

// Requests and answers, see the package comment.
const (
	reqGet      = 1
	reqProbe    = 2
	reqManifest = 3
	reqPieces   = 4
	reqSeek     = 5

	ansFound    = 1
	ansNotFound = 2
	ansBusy     = 3
	ansRefused  = 4
	ansLater    = 5
	ansPacked   = 6 // compressed
)

const (
	// maxIDs bounds the ids of one request: what a holder keeps of a stranger's wishes is 40 KiB.
	maxIDs = 1024
	// maxPieces bounds the pieces of one request.
	maxPieces = 8
	// maxProbe bounds the bytes of a probe.
	maxProbe = 1 << 20
	// chunk is read and written at once of a large object, and what a deadline is for.
	chunk = 64 << 10
)

// A wish is one id of a request.
type wish struct {
	digest wire.Digest
	offset uint64
}

// A request is what a requester asks at once.
type request struct {
	kind   byte
	wishes []wish // of reqGet and reqSeek
	probe  uint64 // of reqProbe: bytes
	blob   blobID // of reqManifest and reqPieces
	most   int    // of reqPieces: how many of those wanted
	want   []byte // of reqPieces: a bitmap, piece 0 in the lowest bit of the first byte
}

// A blobID names a blob and how long it is said to be.
type blobID struct {
	digest wire.Digest
	size   uint64
}

// bitmapLen returns how many bytes say of each piece whether.
func bitmapLen(size uint64) int { return (wire.Pieces(size) + 7) / 8 }

func bit(b []byte, i int) bool { return b[i/8]&(1<<(i%8)) != 0 }
func setBit(b []byte, i int)   { b[i/8] |= 1 << (i % 8) }

// appendOpen appends what opens a stream. A nil grant is for the public space.
func appendOpen(b []byte, g *wire.Grant) []byte {
	if g == nil {
		return binary.AppendUvarint(b, 0)
	}
	enc := g.Encode()
	return append(binary.AppendUvarint(b, uint64(len(enc))), enc...)
}

// readOpen reads what opens a stream; nil is for the public space.
func readOpen(r *bufio.Reader) (*wire.Grant, error) {
	b, err := readBytes(r, wire.MaxText)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	g, err := wire.DecodeGrant(b)
	if err != nil {
		return nil, malformed("grant: %v", err)
	}
	return g, nil
}

// appendGet appends a request for 1 to maxIDs objects.
func appendGet(b []byte, wishes []wish) []byte { return appendWishes(b, reqGet, wishes) }

// appendWishes appends a request of reqGet or reqSeek.
func appendWishes(b []byte, kind byte, wishes []wish) []byte {
	b = binary.AppendUvarint(append(b, kind), uint64(len(wishes)))
	for i := range wishes {
		b = binary.AppendUvarint(append(b, wishes[i].digest[:]...), wishes[i].offset)
	}
	return b
}

func appendProbe(b []byte, n uint64) []byte { return binary.AppendUvarint(append(b, reqProbe), n) }

func appendBlob(b []byte, kind byte, id blobID) []byte {
	return binary.AppendUvarint(append(append(b, kind), id.digest[:]...), id.size)
}

func appendManifest(b []byte, id blobID) []byte { return appendBlob(b, reqManifest, id) }

// appendPieces appends a request for up to most of the pieces in a bitmap.
func appendPieces(b []byte, id blobID, most int, want []byte) []byte {
	b = binary.AppendUvarint(appendBlob(b, reqPieces, id), uint64(most))
	return append(binary.AppendUvarint(b, uint64(len(want))), want...)
}

// readRequest reads one request. Wishes are appended to room[:0]. The error is io.EOF at the end of
// the stream between requests.
func readRequest(r *bufio.Reader, room []wish) (q request, err error) {
	if q.kind, err = r.ReadByte(); err != nil {
		return q, err
	}
	switch q.kind {
	case reqGet, reqSeek:
		q.wishes, err = readWishes(r, room)
	case reqProbe:
		if q.probe, err = readUvarint(r); err == nil && q.probe > maxProbe {
			err = malformed("probe of %d bytes", q.probe)
		}
	case reqManifest:
		q.blob, err = readBlob(r)
	case reqPieces:
		err = q.readPieces(r)
	default:
		err = malformed("request of kind %d", q.kind)
	}
	return q, err
}

func readBlob(r *bufio.Reader) (id blobID, err error) {
	if _, err = io.ReadFull(r, id.digest[:]); err != nil {
		return id, unexpected(err)
	}
	if id.size, err = readUvarint(r); err == nil && id.size > wire.MaxBlob {
		err = malformed("blob of %d bytes", id.size)
	}
	return id, err
}

func (q *request) readPieces(r *bufio.Reader) (err error) {
	if q.blob, err = readBlob(r); err != nil {
		return err
	}
	most, err := readUvarint(r)
	if err != nil {
		return err
	}
	if most > maxPieces {
		return malformed("request for %d pieces", most)
	}
	q.most = int(most)
	if q.want, err = readBytes(r, uint64(bitmapLen(q.blob.size))); err == nil && len(q.want) != bitmapLen(q.blob.size) {
		err = malformed("bitmap of %d bytes", len(q.want))
	}
	return err
}

func readWishes(r *bufio.Reader, room []wish) (wishes []wish, err error) {
	n, err := readUvarint(r)
	if err != nil {
		return nil, err
	}
	if n == 0 || n > maxIDs {
		return nil, malformed("request for %d objects", n)
	}
	wishes = room[:0]
	for range n {
		var w wish
		if _, err = io.ReadFull(r, w.digest[:]); err == nil {
			w.offset, err = readUvarint(r)
		}
		if err != nil {
			return nil, unexpected(err)
		}
		wishes = append(wishes, w)
	}
	return wishes, nil
}

// appendFound appends the head of an answer; size-offset bytes follow.
func appendFound(b []byte, size uint64) []byte {
	return binary.AppendUvarint(append(b, ansFound), size)
}

// appendPacked appends the head of a compressed answer; runs follow.
func appendPacked(b []byte, size uint64) []byte {
	return binary.AppendUvarint(append(b, ansPacked), size)
}

func appendRefused(b []byte, e *wire.Error) []byte {
	enc, err := wire.Marshal(e)
	if err != nil {
		panic(err) // a number and two strings
	}
	return append(binary.AppendUvarint(append(b, ansRefused), uint64(len(enc))), enc...)
}

// readAnswer reads the head of an answer: its kind, with the size if it is ansFound or ansPacked. A
// refusal is a *refusedError.
func readAnswer(r *bufio.Reader) (kind byte, size uint64, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, 0, unexpected(err)
	}
	switch kind {
	case ansNotFound, ansBusy, ansLater:
		return kind, 0, nil
	case ansFound, ansPacked:
		if size, err = readUvarint(r); err == nil && size > wire.MaxBlob {
			err = malformed("object of %d bytes", size)
		}
		return kind, size, err
	case ansRefused:
		b, err := readBytes(r, 2*wire.MaxText)
		if err != nil {
			return 0, 0, err
		}
		e := new(wire.Error)
		if err := wire.Unmarshal(b, e); err != nil {
			return 0, 0, malformed("refusal: %v", err)
		}
		return kind, 0, &refusedError{e}
	}
	return 0, 0, malformed("answer of kind %d", kind)
}

// A refusedError is a holder's own word on why it serves nothing.
type refusedError struct{ why *wire.Error }

func (e *refusedError) Error() string { return "refused: " + e.why.Error() }
func (e *refusedError) Unwrap() error { return e.why }

func malformed(format string, args ...any) error {
	return wire.Errorf(wire.CauseInvalid, "", "malformed "+format, args...)
}

// readBytes reads a uvarint length of at most limit and that many bytes.
func readBytes(r *bufio.Reader, limit uint64) ([]byte, error) {
	n, err := readUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, malformed("length %d", n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, unexpected(err)
}

func readUvarint(r *bufio.Reader) (uint64, error) {
	n, err := binary.ReadUvarint(r)
	return n, unexpected(err)
}

// unexpected makes the end of a stream within something an error of its own.
func unexpected(err error) error {
	if err == io.EOF {
		return fmt.Errorf("the stream ended early: %w", io.ErrUnexpectedEOF)
	}
	return err
}
