package blobstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gaggle/wire"
)

func BenchmarkPut(b *testing.B) {
	b.Run("4 KiB", func(b *testing.B) {
		s := openStore(b, b.TempDir(), Options{})
		data := noise(1, 4096)
		b.SetBytes(int64(len(data)))
		for i := 0; b.Loop(); i++ {
			binary.LittleEndian.PutUint64(data, uint64(i))
			if _, _, err := s.Put(context.Background(), anna, bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
	big := noise(1, 64<<20)
	b.Run("64 MiB", func(b *testing.B) {
		s := openStore(b, b.TempDir(), Options{MaxBytes: 256 << 20})
		b.SetBytes(int64(len(big)))
		for i := 0; b.Loop(); i++ {
			binary.LittleEndian.PutUint64(big, uint64(i))
			if _, _, err := s.Put(context.Background(), anna, bytes.NewReader(big)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64 MiB sha256 alone", func(b *testing.B) {
		b.SetBytes(int64(len(big)))
		for b.Loop() {
			wire.Sum(big)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	o := mustPut(b, s, anna, noise(1, 4096))
	b.SetBytes(4096)
	for b.Loop() {
		if _, err := read(b, s, anna, o.Digest); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFile(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	o := mustPut(b, s, anna, noise(1, 4096))
	for b.Loop() {
		_, release, err := s.File(anna, o.Digest, false)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}

func BenchmarkSync(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	for i := 0; b.Loop(); i++ {
		o := mustPut(b, s, anna, noise(uint64(i), 4096))
		if err := s.Sync(context.Background(), anna, []wire.Object{o}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAddPathUnchanged(b *testing.B) {
	const files = 10_000
	dir := b.TempDir()
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprint(i/50))
		os.Mkdir(sub, 0o755)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), noise(uint64(i), 200), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	s := openStore(b, b.TempDir(), Options{})
	believe(b, s, dir)
	for b.Loop() {
		if _, err := s.AddPath(context.Background(), anna, dir, AddOptions{Progress: func(p AddProgress) {
			if p.Hashed > 0 {
				b.Fatalf("%d files were hashed", p.Hashed)
			}
		}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/files, "ns/file")
}
