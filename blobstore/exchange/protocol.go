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
	reqGet   = 1
	reqProbe = 2

	ansFound    = 1
	ansNotFound = 2
	ansBusy     = 3
	ansRefused  = 4
)

const (
	// maxIDs bounds the ids of one request: what a holder keeps of a stranger's wishes is 40 KiB.
	maxIDs = 1024
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
func appendGet(b []byte, wishes []wish) []byte {
	b = binary.AppendUvarint(append(b, reqGet), uint64(len(wishes)))
	for i := range wishes {
		b = binary.AppendUvarint(append(b, wishes[i].digest[:]...), wishes[i].offset)
	}
	return b
}

func appendProbe(b []byte, n uint64) []byte { return binary.AppendUvarint(append(b, reqProbe), n) }

// readRequest reads one request: wishes, or if there are none the size of a probe. They are
// appended to room[:0]. The error is io.EOF at the end of the stream between requests.
func readRequest(r *bufio.Reader, room []wish) (wishes []wish, probe uint64, err error) {
	kind, err := r.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	n, err := readUvarint(r)
	switch {
	case err != nil:
		return nil, 0, err
	case kind == reqProbe && n <= maxProbe:
		return nil, n, nil
	case kind != reqGet || n == 0 || n > maxIDs:
		return nil, 0, malformed("request of kind %d for %d", kind, n)
	}
	wishes = room[:0]
	for range n {
		var w wish
		if _, err = io.ReadFull(r, w.digest[:]); err == nil {
			w.offset, err = readUvarint(r)
		}
		if err != nil {
			return nil, 0, unexpected(err)
		}
		wishes = append(wishes, w)
	}
	return wishes, 0, nil
}

// appendFound appends the head of an answer; size-offset bytes follow.
func appendFound(b []byte, size uint64) []byte {
	return binary.AppendUvarint(append(b, ansFound), size)
}

func appendRefused(b []byte, e *wire.Error) []byte {
	enc, err := wire.Marshal(e)
	if err != nil {
		panic(err) // a number and two strings
	}
	return append(binary.AppendUvarint(append(b, ansRefused), uint64(len(enc))), enc...)
}

// readAnswer reads the head of an answer: its kind, with the size if it is ansFound. A refusal is
// a *refusedError.
func readAnswer(r *bufio.Reader) (kind byte, size uint64, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, 0, unexpected(err)
	}
	switch kind {
	case ansNotFound, ansBusy:
		return kind, 0, nil
	case ansFound:
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
