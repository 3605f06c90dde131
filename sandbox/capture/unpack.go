package capture

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"gaggle/wire"
)

const (
	// maxUnpacked bounds the bytes an archive may unfold to: the largest public images (CUDA,
	// machine learning) have some 30 GiB.
	maxUnpacked = 128 << 30
	// maxRatio bounds how far an archive may unfold beyond freeRatio. Images reach 2 to 5; gzip
	// cannot exceed 1032 (zlib's documentation), zstd can, by far.
	maxRatio  = 200
	freeRatio = 256 << 20
	// maxWindow bounds the memory of a zstd frame: its format recommends to support 8 MiB
	// (RFC 8878, 3.1.1.1.2), zstd --ultra writes 128.
	maxWindow = 128 << 20
)

// unpackLimit returns how many bytes an archive of size bytes may unfold to.
func unpackLimit(size int64) int64 {
	return min(maxUnpacked, max(freeRatio, size*maxRatio))
}

func tooLarge(limit int64) error {
	return wire.Errorf(wire.CauseTooLarge, "", "it unfolds to more than %d bytes", limit)
}

// decompress returns a reader of what r unfolds to, and whether that is compressed at all.
func decompress(r io.Reader) (_ io.ReadCloser, compressed bool, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		return z, true, err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, true, err
		}
		return z.IOReadCloser(), true, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(br)), true, nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X'}):
		return nil, true, errors.New("it is compressed with xz; unfold it first: xz -d")
	}
	return io.NopCloser(br), false, nil
}

// A contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Seek lets a tar reader skip what it does not read, if the reader below can.
func (c *contextReader) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.r.(io.Seeker)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return s.Seek(offset, whence)
}

// An unpacker puts layers over each other.
type unpacker struct {
	layout *layout
	sink   Sink
	room   scratchFile
	raw    int64 // bytes of layers, unfolded, that may still come
	left   int64 // bytes of files that may still come
	failed error // of the sink: not the archive's fault

	dropped dropped
}

// layer unpacks one layer over those before it.
func (u *unpacker) layer(ctx context.Context, a *archive, ref layerRef) error {
	s := section{size: -1}
	if !ref.whole {
		s = a.members[ref.name]
		if s == (section{}) {
			return fmt.Errorf("layer %s is not in it", ref.name)
		}
	} else if fi, err := a.file.Stat(); err == nil {
		s.size = fi.Size()
	}
	raw := io.NewSectionReader(a.file, s.offset, s.size)
	hash := wire.NewHash()
	var in io.Reader = raw
	want, verified := strings.CutPrefix(ref.digest, "sha256:")
	if verified {
		in = io.TeeReader(raw, hash)
	}
	r, _, err := decompress(&contextReader{ctx, in})
	if err != nil {
		return fmt.Errorf("layer %s: %w", ref.name, err)
	}
	defer r.Close()
	u.layout.layer++
	if err := u.entries(ctx, tar.NewReader(&budgetReader{r, &u.raw})); err != nil {
		return fmt.Errorf("layer %s: %w", ref.name, err)
	}
	if verified {
		if _, err := io.Copy(io.Discard, in); err != nil { // what follows the end of the tar
			return fmt.Errorf("layer %s: %w", ref.name, err)
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != want {
			return fmt.Errorf("layer %s is damaged: its sha256 is %s", ref.name, got)
		}
	}
	return nil
}

// A budgetReader fails when more bytes come than may.
type budgetReader struct {
	r    io.Reader
	left *int64
}

func (b *budgetReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, wire.Errorf(wire.CauseTooLarge, "", "it unfolds to more than a file of its size may")
	}
	return n, err
}

func (u *unpacker) entries(ctx context.Context, tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.entry(ctx, h, tr); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

// entry puts one entry of a layer into the layout. Directories above it may be links, which
// lead where they do in the root.
func (u *unpacker) entry(ctx context.Context, h *tar.Header, r io.Reader) error {
	name := path.Clean("/" + h.Name)
	for _, element := range split(h.Name) {
		if element == ".." {
			return errors.New("it leads out of the root")
		}
	}
	if name == "/" {
		return nil
	}
	dir, _, err := u.layout.find(path.Dir(name), true)
	if err != nil {
		return err
	}
	base := path.Base(name)
	if base == ".wh..wh..opq" || strings.HasPrefix(base, ".wh.") {
		return u.whiteout(dir, base)
	}
	at := path.Join(dir, base)
	u.dropped.count(h)
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.layout.mkdir(at); err != nil {
			return err
		}
		_, n, err := u.layout.find(at, false)
		n.layer = u.layout.layer
		return err
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(ctx, at, h, r)
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > wire.MaxPath || strings.Contains(h.Linkname, "\x00") {
			return fmt.Errorf("bad link to %q", h.Linkname)
		}
		return u.layout.put(at, &node{kind: wire.Symlink, target: h.Linkname})
	case tar.TypeLink:
		return u.hardLink(at, h.Linkname)
	}
	return nil // devices and pipes: the sandbox has its own
}

func (u *unpacker) file(ctx context.Context, at string, h *tar.Header, r io.Reader) error {
	if u.left -= h.Size; u.left < 0 { // the holes of a sparse file take no bytes of the layer
		return wire.Errorf(wire.CauseTooLarge, "", "it unfolds to more than a file of its size may")
	}
	if err := u.room.fill(r, h.Size); err != nil {
		return err
	}
	o, err := u.room.put(ctx, h.Size, u.sink)
	if err != nil {
		u.failed = err
		return err
	}
	n := &node{kind: wire.File, object: o}
	if h.Mode&0o111 != 0 {
		n.kind = wire.Exec
	}
	return u.layout.put(at, n)
}

// hardLink makes at equal to what target is, as of now: nothing changes a file of an image later.
func (u *unpacker) hardLink(at, target string) error {
	for _, element := range split(target) {
		if element == ".." {
			return fmt.Errorf("its link to %q leads out of the root", target)
		}
	}
	_, n, err := u.layout.find("/"+target, false)
	switch {
	case err != nil:
		return err
	case n == nil:
		return fmt.Errorf("its hard link is to %q, which is not there", target)
	case n.kind == wire.Dir:
		return fmt.Errorf("its hard link is to %q, a directory", target)
	}
	same := *n
	return u.layout.put(at, &same)
}

// whiteout removes what lower layers have (image-spec, layer.md): of a name, or all in dir. What
// its own layer puts there stays, whichever comes first.
func (u *unpacker) whiteout(dir, base string) error {
	_, n, err := u.layout.find(dir, false)
	if err != nil || n == nil || n.kind != wire.Dir {
		return err
	}
	if base == ".wh..wh..opq" {
		for name, c := range n.children {
			if c.prune(u.layout.layer) {
				delete(n.children, name)
			}
		}
		return nil
	}
	name := strings.TrimPrefix(base, ".wh.")
	if strings.HasPrefix(name, ".wh.") {
		return nil // aufs keeps its own files so
	}
	if c := n.children[name]; c != nil && c.prune(u.layout.layer) {
		delete(n.children, name)
	}
	return nil
}
