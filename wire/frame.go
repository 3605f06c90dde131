package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// A frame is a uvarint length and that many bytes of one CBOR message, at most MaxFrame.

// WriteFrame encodes v and writes it as one frame in one call to w.Write.
func WriteFrame(w io.Writer, v any) error {
	b, err := Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %T: %w", v, err)
	}
	if len(b) > MaxFrame {
		return fmt.Errorf("frame %T of %d bytes exceeds the bound of %d", v, len(b), MaxFrame)
	}
	head := binary.AppendUvarint(make([]byte, 0, len(b)+binary.MaxVarintLen32), uint64(len(b)))
	_, err = w.Write(append(head, b...))
	return err
}

// A FrameReader reads frames from a stream. It is for one goroutine.
type FrameReader struct {
	r   *bufio.Reader
	buf []byte
}

// NewFrameReader returns a reader of the frames in r.
func NewFrameReader(r io.Reader) *FrameReader { return &FrameReader{r: bufio.NewReader(r)} }

// Read reads the next frame into v. At the end of the stream between frames the error is
// io.EOF, inside one io.ErrUnexpectedEOF.
func (f *FrameReader) Read(v any) error {
	n, err := binary.ReadUvarint(f.r)
	if err != nil {
		return err
	}
	if n > MaxFrame {
		return Errorf(CauseTooLarge, "", "peer announces a frame of %d bytes; the bound is %d", n, MaxFrame)
	}
	// Grow as bytes arrive: an announced length costs the sender nothing, so it gets nothing.
	f.buf = f.buf[:0]
	for len(f.buf) < int(n) {
		have := len(f.buf)
		f.buf = append(f.buf, make([]byte, min(int(n)-have, max(have, 64<<10)))...)
		if _, err := io.ReadFull(f.r, f.buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	err = Unmarshal(f.buf, v)
	if cap(f.buf) > 1<<20 {
		f.buf = nil // do not keep the room of a rare large frame for ever
	}
	return err
}

// Buffered returns the bytes read from the stream after the last frame, for a protocol that goes
// on in raw bytes.
func (f *FrameReader) Buffered() *bufio.Reader { return f.r }

// A FrameWriter writes frames from any number of goroutines.
type FrameWriter struct {
	mu sync.Mutex // held while writing, so that frames do not mix
	w  io.Writer
}

// NewFrameWriter returns a writer of frames to w.
func NewFrameWriter(w io.Writer) *FrameWriter { return &FrameWriter{w: w} }

// Write writes v as one frame.
func (f *FrameWriter) Write(v any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return WriteFrame(f.w, v)
}
