package capture

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"gaggle/wire"
)

// tarball makes a tar from lines: "path/" a directory, "path=content" a file, "path!=content" an
// executable one, "path -> target" a symbolic and "path => target" a hard link, "path |" a pipe.
func tarball(lines ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, l := range lines {
		h := &tar.Header{Mode: 0o644, Typeflag: tar.TypeReg, Uid: 123, Uname: "anna"}
		var content string
		if p, target, ok := strings.Cut(l, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = p, target, tar.TypeSymlink
		} else if p, target, ok := strings.Cut(l, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = p, target, tar.TypeLink
		} else if p, ok := strings.CutSuffix(l, " |"); ok {
			h.Name, h.Typeflag = p, tar.TypeFifo
		} else if p, c, ok := strings.Cut(l, "!="); ok {
			h.Name, content, h.Mode = p, c, 0o4755
		} else if p, c, ok := strings.Cut(l, "="); ok {
			h.Name, content = p, c
		} else {
			h.Name, h.Typeflag, h.Mode = l, tar.TypeDir, 0o755
		}
		h.Size = int64(len(content))
		if err := errors.Join(w.WriteHeader(h), second(w.Write([]byte(content)))); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func second(_ int, err error) error { return err }

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if err := errors.Join(second(w.Write(b)), w.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, nil)
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// dockerImage is what docker save wrote before version 25: layers named by their own files.
func dockerImage(layers ...[]byte) []byte {
	lines, names := []string{}, []string{}
	for i, l := range layers {
		name := fmt.Sprintf("layer%d/layer.tar", i)
		names = append(names, name)
		lines = append(lines, name+"="+string(l))
	}
	return tarball(append([]string{"manifest.json=" + toJSON([]any{map[string]any{"Config": "c.json", "Layers": names}})}, lines...)...)
}

type ociDescriptor map[string]any

// ociImage is an OCI layout with one image for each platform, all of the same layers.
func ociImage(platforms []string, layers ...[]byte) []byte {
	lines := []string{`oci-layout={"imageLayoutVersion":"1.0.0"}`}
	blob := func(b []byte) ociDescriptor {
		sum := sha256.Sum256(b)
		name := hex.EncodeToString(sum[:])
		lines = append(lines, "blobs/sha256/"+name+"="+string(b))
		return ociDescriptor{"digest": "sha256:" + name, "size": len(b)}
	}
	var ds, images []ociDescriptor
	for _, l := range layers {
		ds = append(ds, blob(l))
	}
	for i, p := range platforms {
		m := blob([]byte(toJSON(map[string]any{"layers": ds, "annotations": map[string]int{"n": i}})))
		if os, arch, ok := strings.Cut(p, "/"); ok {
			m["platform"] = map[string]string{"os": os, "architecture": arch}
		}
		images = append(images, m)
	}
	index := blob([]byte(toJSON(map[string]any{"manifests": images})))
	return tarball(append(lines, "index.json="+toJSON(map[string]any{"manifests": []ociDescriptor{index}}))...)
}

func unpackBytes(t testing.TB, b []byte) ([]string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	o, err := OCI(t.Context(), name, m)
	if err != nil {
		return nil, err
	}
	return bare(m.list(o.Object, "")), nil
}

func TestOCIForms(t *testing.T) {
	low := tarball("usr/", "usr/bin/", "usr/bin/sh!=shell", "bin -> usr/bin", "etc/conf=1", "old=x", "pipe |")
	high := tarball("bin/tool => usr/bin/sh", ".wh.old", "etc/conf=2", "./abs -> /etc/conf")
	want := []string{"/abs -> /etc/conf", "/bin -> usr/bin", `/etc/conf file "2"`, "/usr/", "/usr/bin/", `/usr/bin/sh executable "shell"`, `/usr/bin/tool executable "shell"`}
	here := "linux/" + runtime.GOARCH
	for _, c := range []struct {
		name  string
		image []byte
	}{
		{"docker save", dockerImage(low, high)},
		{"docker save, compressed as a whole", gzipped(dockerImage(low, high))},
		{"docker save with shared layers", tarball(
			"manifest.json="+toJSON([]any{map[string]any{"Layers": []string{"a/layer.tar", "b/layer.tar"}}}),
			"a/layer.tar -> ../x.tar", "x.tar="+string(low), "b/layer.tar="+string(high))},
		{"OCI layout, gzip", ociImage([]string{here}, gzipped(low), gzipped(high))},
		{"OCI layout, zstd", ociImage([]string{here}, zstded(low), zstded(high))},
		{"OCI layout, zstd around", zstded(ociImage([]string{""}, low, high))},
		{"OCI layout of several platforms", ociImage([]string{"linux/none", here, "unknown/unknown"}, low, high)},
		{"OCI layout of one other platform", ociImage([]string{"linux/none", "unknown/unknown"}, low, high)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := unpackBytes(t, c.image)
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, "root", got, want)
		})
	}
}

// What a root does not keep of an image is said once, and nothing if it keeps all.
func TestOCINotes(t *testing.T) {
	for _, c := range []struct {
		name  string
		image []byte
		want  []string
	}{
		{"owners, setuid and pipes", dockerImage(tarball("a=1", "b!=2", "d/"), tarball("p |", "c!=3")),
			[]string{"of image image.tar are not kept: owners of 5 files, setuid bits of 2, 1 devices and pipes; in a root all files are the sandbox's"}},
		{"nothing", rootOwned("a"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(name, c.image, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := OCI(t.Context(), name, newMemory())
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, "notes", r.Notes, c.want)
		})
	}
}

// rootOwned is a tar of an empty file of the superuser's.
func rootOwned(name string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}), w.Close()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestOCILayers(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][]string
		want   []string
	}{
		{"plain root with names in every style", [][]string{{"./", "./a/", "./a/b=1", "/c=2", "d/e/f=3"}},
			[]string{"/a/", `/a/b file "1"`, `/c file "2"`, "/d/", "/d/e/", `/d/e/f file "3"`}},
		{"whiteout of a file and a directory", [][]string{{"a=1", "d/x=1", "d/y=2"}, {".wh.a", ".wh.d", "d/z=3"}},
			[]string{"/d/", `/d/z file "3"`}},
		{"opaque directory, its own entries before and after", [][]string{{"d/low=1", "d/e/low=2"}, {"d/", "d/mine=3", "d/.wh..wh..opq", "d/e/later=4"}},
			[]string{"/d/", "/d/e/", `/d/e/later file "4"`, `/d/mine file "3"`}},
		{"whiteout of what the same layer adds", [][]string{{"a=1"}, {"a=2", ".wh.a"}}, []string{`/a file "2"`}},
		{"directory in the place of a file, and the reverse", [][]string{{"a=1", "b/c=2"}, {"a/", "a/x=3", "b=4"}},
			[]string{"/a/", `/a/x file "3"`, `/b file "4"`}},
		{"directory in the place of a link", [][]string{{"a/x=1", "b -> a"}, {"b/", "b/y=2"}}, []string{"/a/", `/a/x file "1"`, "/b/", `/b/y file "2"`}},
		{"a parent that is a link is followed inside", [][]string{{"real/", "up -> ../../../real", "abs -> /real"}, {"up/x=1", "abs/y=2"}},
			[]string{"/abs -> /real", "/real/", `/real/x file "1"`, `/real/y file "2"`, "/up -> ../../../real"}},
		{"hard link to a link and across layers", [][]string{{"a!=1", "l -> a"}, {"h => l", "g => ./a"}},
			[]string{`/a executable "1"`, `/g executable "1"`, "/h -> a", "/l -> a"}},
		{"mount points are directories", [][]string{{"tmp -> /etc", "proc=1", "bin -> usr/bin", "usr/bin/x=2"}},
			[]string{"/bin -> usr/bin", "/usr/", "/usr/bin/", `/usr/bin/x file "2"`}},
		{"its own passwd stays", [][]string{{"etc/passwd=mine", "etc/hosts -> ../run/hosts"}},
			[]string{"/etc/hosts -> ../run/hosts", `/etc/passwd file "mine"`, "/run/", `/run/hosts file 46 bytes`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := tarball(c.layers[0]...)
			if len(c.layers) > 1 {
				var layers [][]byte
				for _, l := range c.layers {
					layers = append(layers, tarball(l...))
				}
				image = dockerImage(layers...)
			}
			name := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(name, image, 0o600); err != nil {
				t.Fatal(err)
			}
			m := newMemory()
			o, err := OCI(t.Context(), name, m)
			if err != nil {
				t.Fatal(err)
			}
			got := m.list(o.Object, "")
			if c.name != "its own passwd stays" {
				got = bare(got)
			} else {
				got = []string{line(got, "/etc/hosts"), line(got, "/etc/passwd"), line(got, "/run/"), line(got, "/run/hosts")}
			}
			checkLines(t, "root", got, c.want)
		})
	}
}

func line(lines []string, p string) string {
	for _, l := range lines {
		if l == p || strings.HasPrefix(l, p+" ") {
			return l
		}
	}
	return ""
}

func TestOCIRefuses(t *testing.T) {
	root := tarball("a=1")
	flipped := bytes.Replace(ociImage([]string{""}, tarball("a=unique-text")), []byte("unique-text"), []byte("unique-tExt"), 1)
	bomb := dockerImage(zstded(tarball("a=" + strings.Repeat("\x00", freeRatio+1))))
	for _, c := range []struct {
		name  string
		image []byte
		cause wire.Cause
		want  string
	}{
		{"nothing", nil, wire.CauseInvalid, "it is empty"},
		{"no tar", []byte(strings.Repeat("hello ", 200)), wire.CauseInvalid, "reading it as a tar"},
		{"truncated", tarball("a=" + strings.Repeat("x", 5000))[:3000], wire.CauseInvalid, "unexpected EOF"},
		{"truncated gzip", gzipped(root)[:20], wire.CauseInvalid, "unexpected EOF"},
		{"xz", []byte("\xfd7zXZ\x00..."), wire.CauseInvalid, "xz -d"},
		{"path that leads out", tarball("x/../../a=1"), wire.CauseInvalid, "leads out of the root"},
		{"hard link that leads out", tarball("a => ../../etc/shadow"), wire.CauseInvalid, "leads out of the root"},
		{"hard link to nothing", tarball("a => b"), wire.CauseInvalid, `"b", which is not there`},
		{"hard link to a directory", tarball("d/", "a => d"), wire.CauseInvalid, "a directory"},
		{"links in a circle", tarball("a -> b", "b -> a", "a/x=1"), wire.CauseInvalid, "too many symbolic links"},
		{"name that is not text", tarball("a\xff=1"), wire.CauseInvalid, "not UTF-8"},
		{"endless depth", tarball(strings.Repeat("d/", 300)), wire.CauseInvalid, "deeper than"},
		{"docker without its layer", tarball(`manifest.json=[{"Layers":["gone.tar"]}]`), wire.CauseInvalid, "layer gone.tar is not in it"},
		{"several docker images", tarball(`manifest.json=[{"Layers":["a"]},{"Layers":["b"]}]`), wire.CauseInvalid, "2 images"},
		{"OCI without index", tarball("oci-layout={}"), wire.CauseInvalid, "index.json is not in it"},
		{"OCI index of itself", tarball("oci-layout={}", `index.json={"manifests":[{"digest":"../../index.json"}]}`), wire.CauseInvalid, "bad digest"},
		{"OCI index with a path", tarball("oci-layout={}", `index.json={"manifests":[{"digest":"sha256:../../../x"}]}`), wire.CauseInvalid, "bad digest"},
		{"OCI of strange platforms", ociImage([]string{"linux/none", "plan9/none"}, root), wire.CauseInvalid, "linux/none, plan9/none"},
		{"damaged OCI layer", flipped, wire.CauseInvalid, "is damaged: its sha256"},
		{"zip bomb", bomb, wire.CauseTooLarge, "unfolds to more"},
		{"zip bomb around", zstded(tarball("a=" + strings.Repeat("\x00", freeRatio+1))), wire.CauseTooLarge, "unfolds to more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := unpackBytes(t, c.image)
			if wire.CauseOf(err) != c.cause || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "image.tar") {
				t.Errorf("error %v (%v), want %v saying %q of image.tar", err, wire.CauseOf(err), c.cause, c.want)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		_, err := OCI(t.Context(), t.TempDir(), newMemory())
		if wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "it is a directory") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		if _, err := OCI(t.Context(), filepath.Join(t.TempDir(), "none.tar"), newMemory()); wire.CauseOf(err) != wire.CauseInvalid {
			t.Errorf("error %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		name := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(name, root, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OCI(ctx, name, newMemory()); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// An error of the sink is its own: the image is not to blame.
func TestOCISinkFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, tarball("a=1"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := wire.Errorf(wire.CauseDiskFull, "make room", "disk full")
	if _, err := OCI(t.Context(), name, failing{full}); wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("error %v", err)
	}
	if _, err := OCI(t.Context(), name, failing{errors.ErrUnsupported}); wire.CauseOf(err) != wire.CauseUnknown {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) PutFile(context.Context, *os.File, int64) (wire.BlobID, error) {
	return wire.BlobID{}, f.err
}

func (f failing) PutTree(context.Context, *wire.Tree) (wire.TreeID, error) {
	return wire.TreeID{}, f.err
}

// A root made on the spot by tar(1), with what this machine's tar writes.
func TestOCIOfTar(t *testing.T) {
	needTools(t, "tar")
	dir := files(t, "bin/tool=#!/bin/sh\n", "etc/name with space=1", "lib -> bin", "d/")
	name := filepath.Join(t.TempDir(), "root.tar.gz")
	if out, err := exec.Command("tar", "-C", dir, "-czf", name, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	m := newMemory()
	o, err := OCI(t.Context(), name, m)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, "root", bare(m.list(o.Object, "")), []string{`/bin/tool executable "#!/bin/sh\n"`, "/d/", `/etc/name with space file "1"`, "/lib -> bin"})

	same, err := Dir(t.Context(), dir, DirOptions{Root: true}, m)
	if err != nil || same != o.Object {
		t.Errorf("Dir of the same files = %v, %v, want %v", same.CID(), err, o.Object.CID())
	}
}

func FuzzOCI(f *testing.F) {
	low, high := tarball("usr/", "a!=x", "l -> usr", "l/b=2", "pipe |"), tarball(".wh.a", "usr/.wh..wh..opq", "h => l")
	for _, image := range [][]byte{
		low, gzipped(low), zstded(high), dockerImage(low, high), ociImage([]string{"linux/amd64", "linux/arm64"}, gzipped(low), zstded(high)),
		tarball("oci-layout={}", `index.json={"manifests":[{"digest":"a:b"}]}`, "blobs/a/b={}"),
	} {
		f.Add(image)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m := newMemory()
		o, err := OCI(t.Context(), name, m)
		if err == nil {
			m.list(o.Object, "") // every tree that is named was put
		} else if wire.CauseOf(err) == wire.CauseUnknown {
			t.Errorf("error without a cause: %v", err)
		}
	})
}
