package sandbox

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gaggle/wire"
)

// A stream that is stored needs a file only once its end alone is not all of it.
func TestStreamStoresAll(t *testing.T) {
	for _, size := range []int{0, 1, wire.MaxTail - 1, wire.MaxTail, wire.MaxTail + 1, 5 * wire.MaxTail} {
		files := 0
		s := stream{limit: 1 << 30, spool: func() (*os.File, error) {
			files++
			return os.Create(filepath.Join(t.TempDir(), "spool"))
		}}
		text := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		for chunk := range slices.Chunk(text, 10_000) {
			s.take(chunk)
		}
		got := s.tail
		if s.whole != nil {
			var err error
			if got, err = io.ReadAll(io.NewSectionReader(s.whole, 0, 1<<30)); err != nil {
				t.Fatal(err)
			}
			s.whole.Close()
		}
		if s.err != nil || s.full || !bytes.Equal(got, text) {
			t.Errorf("of %d bytes %d were stored, %v", size, len(got), s.err)
		}
		if want := min(1, size/(wire.MaxTail+1)); files != want {
			t.Errorf("%d files for %d bytes, want %d", files, size, want)
		}
	}
}

func TestStreamStoresUpToItsBound(t *testing.T) {
	s := stream{limit: 10, spool: func() (*os.File, error) { return nil, io.ErrUnexpectedEOF }}
	for chunk := range slices.Chunk([]byte("0123456789"), 3) {
		s.take(chunk)
	}
	if s.full {
		t.Error("full at its bound")
	}
	s.take([]byte("x"))
	if !s.full {
		t.Error("not full beyond its bound")
	}
}
