package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func frames(t testing.TB, vs ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, v := range vs {
		if err := WriteFrame(&b, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestFrames(t *testing.T) {
	sent := []FromNode{
		{Beat: &Beat{FreeSlots: 3}},
		{},
		{Started: []LeaseID{1, 1 << 40}},
		{Receipts: bytes.Repeat([]byte{7}, 3<<20)}, // longer than any buffer
	}
	stream := frames(t, sent[0], sent[1], sent[2], sent[3])
	for name, r := range map[string]io.Reader{
		"at once":               bytes.NewReader(stream),
		"a byte at a time":      iotest.OneByteReader(bytes.NewReader(stream)),
		"data with end":         iotest.DataErrReader(bytes.NewReader(stream)),
		"half of what is asked": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			f := NewFrameReader(r)
			for i, want := range sent {
				var got FromNode
				if err := f.Read(&got); err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if !bytes.Equal(frames(t, got), frames(t, want)) {
					t.Errorf("frame %d is another one", i)
				}
			}
			if err := f.Read(new(FromNode)); err != io.EOF {
				t.Errorf("after the last frame the error is %v, want EOF", err)
			}
		})
	}
}

func TestFrameTruncated(t *testing.T) {
	stream := frames(t, FromNode{Started: []LeaseID{1, 2, 3}, Receipts: make([]byte, 200)})
	for n := 1; n < len(stream); n++ {
		if err := NewFrameReader(bytes.NewReader(stream[:n])).Read(new(FromNode)); err != io.ErrUnexpectedEOF {
			t.Fatalf("%d of %d bytes: error %v, want unexpected EOF", n, len(stream), err)
		}
	}
}

func TestFrameBounds(t *testing.T) {
	t.Run("an announced length costs nothing", func(t *testing.T) {
		f := NewFrameReader(bytes.NewReader(binary.AppendUvarint(nil, MaxFrame)))
		if err := f.Read(new(FromNode)); err != io.ErrUnexpectedEOF {
			t.Errorf("error %v, want unexpected EOF", err)
		}
		if cap(f.buf) > 128<<10 {
			t.Errorf("%d bytes were set aside for bytes that never came", cap(f.buf))
		}
	})
	t.Run("too long to read", func(t *testing.T) {
		for _, n := range []uint64{MaxFrame + 1, 1 << 62, 1<<64 - 1} {
			err := NewFrameReader(bytes.NewReader(binary.AppendUvarint(nil, n))).Read(new(FromNode))
			if CauseOf(err) != CauseTooLarge {
				t.Errorf("a frame of %d bytes: error %v, want cause too large", n, err)
			}
		}
	})
	t.Run("a length that never ends", func(t *testing.T) {
		if err := NewFrameReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 20))).Read(new(FromNode)); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("too long to write", func(t *testing.T) {
		var w bytes.Buffer
		if err := WriteFrame(&w, FromNode{Receipts: make([]byte, MaxFrame)}); err == nil || w.Len() > 0 {
			t.Errorf("error %v with %d bytes written, want one and none", err, w.Len())
		}
	})
	t.Run("a list of empty elements", func(t *testing.T) {
		b := append([]byte{0xa1, 0x68}, "failures"...)
		b = appendHead(b, majorArray, MaxList+1)
		b = append(b, bytes.Repeat([]byte{0xa0}, MaxList+1)...)
		if err := Unmarshal(b, new(FromNode)); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("a message too long", func(t *testing.T) {
		if err := Unmarshal(make([]byte, MaxFrame+1), new(FromNode)); err == nil || !strings.Contains(err.Error(), "exceeds") {
			t.Errorf("error %v", err)
		}
	})
}

// Frames of several writers do not mix.
func TestFrameWriterConcurrent(t *testing.T) {
	r, w := io.Pipe()
	fw := NewFrameWriter(w)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				if err := fw.Write(FromNode{Receipts: bytes.Repeat([]byte{byte(i)}, 100*i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { wg.Wait(); w.Close() }()
	f, n := NewFrameReader(r), 0
	for ; ; n++ {
		var m FromNode
		err := f.Read(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Receipts) > 0 && len(m.Receipts) != 100*int(m.Receipts[0]) {
			t.Fatalf("a frame of %d bytes of writer %d", len(m.Receipts), m.Receipts[0])
		}
	}
	if n != 8*50 {
		t.Errorf("read %d frames, want %d", n, 8*50)
	}
}

// What follows a frame in raw bytes is not lost in the reader's buffer.
func TestFrameThenBytes(t *testing.T) {
	f := NewFrameReader(strings.NewReader(string(frames(t, Beat{FreeSlots: 1})) + "raw bytes"))
	if err := f.Read(new(Beat)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(f.Buffered()); err != nil || string(rest) != "raw bytes" {
		t.Errorf("after the frame come %q, %v", rest, err)
	}
}
