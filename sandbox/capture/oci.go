package capture

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"gaggle/wire"
)

// OCI captures the file system of an image archive, compressed or not: what docker save or
// podman save wrote, an OCI image layout as a tar (image-spec 1.1), or a plain tar of a root
// file system. Of an image for several platforms the one of this machine's architecture is taken.
//
// Layers are put over each other with their whiteouts. Hard links become equal files. Owners,
// times, devices and modes but for the executable bit are dropped, and a note says so once. A name that leads out of the
// root is refused, as is an archive that unfolds beyond maxNodes, maxUnpacked or maxRatio. The
// error is a *wire.Error of CauseInvalid or CauseTooLarge, or what the sink or ctx gave.
func OCI(ctx context.Context, tarPath string, sink Sink) (*Root, error) {
	a, err := openArchive(ctx, tarPath)
	if err != nil {
		return nil, imageError(tarPath, err)
	}
	defer a.Close()
	layers, err := a.layers()
	if err != nil {
		return nil, imageError(tarPath, err)
	}
	room, err := scratch()
	if err != nil {
		return nil, err
	}
	defer room.Close()
	limit := unpackLimit(a.size)
	u := &unpacker{layout: newLayout(), sink: sink, room: room, raw: limit, left: limit}
	for _, layer := range layers {
		err := u.layer(ctx, a, layer)
		if u.failed != nil {
			return nil, fmt.Errorf("storing image %s: %w", tarPath, u.failed)
		}
		if err != nil {
			return nil, imageError(tarPath, err)
		}
	}
	if err := u.layout.complete(); err != nil {
		return nil, imageError(tarPath, err)
	}
	o, err := u.layout.store(ctx, sink)
	if err != nil {
		return nil, err
	}
	return &Root{Object: o, Seen: a.seen.settled(time.Now()), Notes: u.dropped.notes(filepath.Base(tarPath))}, nil
}

// dropped counts what of an image's files a root does not keep.
type dropped struct{ owners, setuid, devices int }

func (d *dropped) count(h *tar.Header) {
	if h.Uid != 0 || h.Gid != 0 {
		d.owners++
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Mode&0o6000 != 0 {
			d.setuid++
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		d.devices++
	}
}

// notes says it in one sentence, or not at all if nothing was dropped.
func (d *dropped) notes(image string) []string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{d.owners, "owners of %d files"}, {d.setuid, "setuid bits of %d"}, {d.devices, "%d devices and pipes"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf(p.what, p.n))
		}
	}
	if parts == nil {
		return nil
	}
	return []string{"of image " + image + " are not kept: " + strings.Join(parts, ", ") + "; in a root all files are the sandbox's"}
}

// imageError gives err the archive's name, and a cause if it has none: what is wrong is then the
// archive. Errors of ctx stay what they are.
func imageError(tarPath string, err error) error {
	var e *wire.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &e):
		return fmt.Errorf("image %s: %w", tarPath, err)
	}
	return wire.Errorf(wire.CauseInvalid, "give what docker save, an OCI layout in a tar, or a tar of a root file system is",
		"image %s: %v", tarPath, err)
}

// An archive is an image archive with the positions of what is in it.
type archive struct {
	file    *os.File
	size    int64 // of what was given, compressed as it was
	seen    record
	remove  bool // file is our own
	members map[string]section
	links   map[string]string // by which docker before 25 and podman share layers
}

// A section is part of an archive. The zero one is none.
type section struct{ offset, size int64 }

// openArchive lists an archive. A compressed one is unfolded into a temporary file.
func openArchive(ctx context.Context, name string) (*archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
	case fi.IsDir():
		err = wire.Errorf(wire.CauseInvalid, "make it one file: tar -C "+name+" -cf image.tar .", "it is a directory")
	case !fi.Mode().IsRegular():
		err = errors.New("not a file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	a := &archive{file: f, size: fi.Size(), seen: record{}}
	a.seen.saw(name, fi, nil)
	if err := a.unfold(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if err := a.list(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *archive) Close() error {
	err := a.file.Close()
	if a.remove {
		err = errors.Join(err, os.Remove(a.file.Name()))
	}
	return err
}

// unfold replaces a compressed file by its content.
func (a *archive) unfold(ctx context.Context) error {
	r, compressed, err := decompress(a.file)
	if err != nil || !compressed {
		return err
	}
	defer r.Close()
	room, err := scratch()
	if err != nil {
		return err
	}
	limit := unpackLimit(a.size)
	n, err := io.Copy(room.File, &contextReader{ctx, io.LimitReader(r, limit+1)})
	if err == nil && n > limit {
		err = tooLarge(limit)
	}
	if err != nil {
		return errors.Join(err, room.Close())
	}
	err = a.file.Close()
	a.file, a.remove = room.File, true
	return err
}

// list notes where every file of the archive is. Blobs of an image are found by name.
func (a *archive) list(ctx context.Context) error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	a.members, a.links = map[string]section{}, map[string]string{}
	tr := tar.NewReader(&contextReader{ctx, a.file})
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			if n == 0 {
				return errors.New("it is empty")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading it as a tar: %w", err)
		}
		if n > maxNodes {
			return wire.Errorf(wire.CauseTooLarge, "", "more than %d entries", maxNodes)
		}
		name := path.Clean(h.Name)
		switch {
		case len(name) > wire.MaxPath: // found out when it is unpacked, if it is
			continue
		case h.Typeflag == tar.TypeSymlink && path.Base(name) == "layer.tar":
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
			continue
		case h.Typeflag != tar.TypeReg:
			continue
		}
		at, err := a.file.Seek(0, io.SeekCurrent) // the tar reader reads no further than the header
		if err != nil {
			return err
		}
		a.members[name] = section{at, h.Size}
	}
}

// maxManifest bounds the JSON files of an image; real ones have some kilobytes (the distribution
// spec recommends 4 MiB at most).
const maxManifest = 4 << 20

// json decodes a member.
func (a *archive) json(name string, v any) error {
	s, ok := a.members[name]
	if !ok {
		return fmt.Errorf("%s is not in it", name)
	}
	if s.size > maxManifest {
		return wire.Errorf(wire.CauseTooLarge, "", "%s of %d bytes", name, s.size)
	}
	b := make([]byte, s.size)
	if _, err := a.file.ReadAt(b, s.offset); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// A layerRef is one layer: part of the archive, or all of it if the archive is a root itself.
type layerRef struct {
	name   string
	digest string // "sha256:..." of its bytes, or ""
	whole  bool
}

// layers returns the layers of the image, the lowest first.
func (a *archive) layers() ([]layerRef, error) {
	if _, ok := a.members["oci-layout"]; ok {
		return a.ociLayers()
	}
	if _, ok := a.members["manifest.json"]; ok {
		var images []struct{ Layers []string }
		if err := a.json("manifest.json", &images); err == nil && len(images) > 0 && len(images[0].Layers) > 0 {
			return a.dockerLayers(len(images), images[0].Layers)
		}
	}
	return []layerRef{{name: "the archive", whole: true}}, nil
}

func (a *archive) dockerLayers(images int, names []string) (layers []layerRef, err error) {
	if images > 1 {
		return nil, fmt.Errorf("it holds %d images; save one", images)
	}
	for _, name := range names {
		name = path.Clean(name)
		if target, ok := a.links[name]; ok {
			name = target
		}
		layers = append(layers, layerRef{name: name})
	}
	return layers, nil
}

// A descriptor points to a member of an OCI layout (image-spec, descriptor.md).
type descriptor struct {
	MediaType string
	Digest    string
	Platform  *struct{ OS, Architecture string }
}

// member returns the name of what d points to.
func (d descriptor) member() (string, error) {
	algorithm, hex, ok := strings.Cut(d.Digest, ":")
	if !ok || wire.CheckName(algorithm) != nil || wire.CheckName(hex) != nil {
		return "", fmt.Errorf("bad digest %q", d.Digest)
	}
	return path.Join("blobs", algorithm, hex), nil
}

// ociLayers walks from index.json to a manifest, at most through a few indexes.
func (a *archive) ociLayers() ([]layerRef, error) {
	name := "index.json"
	for range 4 {
		var doc struct {
			Manifests []descriptor
			Layers    []descriptor
		}
		if err := a.json(name, &doc); err != nil {
			return nil, err
		}
		if len(doc.Manifests) == 0 {
			return layerRefs(doc.Layers)
		}
		d, err := choose(doc.Manifests)
		if err != nil {
			return nil, err
		}
		if name, err = d.member(); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("its indexes lead nowhere")
}

func layerRefs(ds []descriptor) ([]layerRef, error) {
	layers := make([]layerRef, 0, len(ds))
	for _, d := range ds {
		name, err := d.member()
		if err != nil {
			return nil, err
		}
		layers = append(layers, layerRef{name: name, digest: d.Digest})
	}
	if len(layers) == 0 {
		return nil, errors.New("the image has no layers")
	}
	return layers, nil
}

// choose picks the image for Linux on this architecture, or the only one there is.
func choose(ds []descriptor) (descriptor, error) {
	var images []descriptor
	var platforms []string
	for _, d := range ds {
		p := d.Platform
		switch {
		case p == nil:
			images = append(images, d)
		case p.OS == "unknown": // an attestation beside the images (BuildKit)
		case p.OS == "linux" && p.Architecture == runtime.GOARCH:
			return d, nil
		default:
			images = append(images, d)
			platforms = append(platforms, p.OS+"/"+p.Architecture)
		}
	}
	if len(images) != 1 {
		return descriptor{}, fmt.Errorf("it holds %d images and none marked linux/%s (%s); save one", len(images), runtime.GOARCH, strings.Join(platforms, ", "))
	}
	return images[0], nil
}
