package wire

import (
	"bytes"
	"fmt"

	"github.com/ipfs/go-cid"
)

// A Kind says what an Object is. The zero Kind stands for no object, as in a receipt without
// output.
type Kind uint8

// The kinds of objects. File, Exec and Dir are final; Symlink occurs only in trees; Pending only
// in the inputs of an unresolved thunk, where it stands for another thunk's output; Graph only in
// the raw value of a thunk, for a graph file whose one target is to become the output.
const (
	File    Kind = 1 // a blob
	Exec    Kind = 2 // a blob with the executable bit
	Dir     Kind = 3 // a tree
	Symlink Kind = 4
	Pending Kind = 5
	Graph   Kind = 6
)

var kindNames = [...]string{File: "file", Exec: "executable", Dir: "directory", Symlink: "symlink", Pending: "pending", Graph: "graph"}

func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// An Object names a file or a directory by content: the input of a resolved thunk, an entry of a
// tree, an output of a value. Encoded as [kind, link, size].
type Object struct {
	Kind Kind
	// Digest is of the blob for File, Exec and Graph, of the encoded tree for Dir, of the encoded
	// unresolved thunk for Pending, and zero for Symlink.
	Digest Digest
	// Size is the blob's length in bytes; for Dir that of all files below, a file counted as
	// often as it occurs; 0 for Symlink and Pending. It steers placement, and who fetches
	// checks it.
	Size uint64
}

// FileObject returns the object for a blob.
func FileObject(id BlobID, size uint64, executable bool) Object {
	if executable {
		return Object{Exec, Digest(id), size}
	}
	return Object{File, Digest(id), size}
}

// DirObject returns the object for a tree with files of size bytes in all.
func DirObject(id TreeID, size uint64) Object { return Object{Dir, Digest(id), size} }

// Final reports whether o names content: File, Exec or Dir.
func (o Object) Final() bool { return o.Kind == File || o.Kind == Exec || o.Kind == Dir }

// CID returns the CIDv1 of what o names, as text; "" for Symlink and the zero Object.
func (o Object) CID() string {
	switch o.Kind {
	case File, Exec, Graph:
		return BlobID(o.Digest).String()
	case Dir:
		return TreeID(o.Digest).String()
	case Pending:
		return ThunkID(o.Digest).String()
	}
	return ""
}

// MarshalCBOR writes [kind, link or null, size].
func (o Object) MarshalCBOR() ([]byte, error) { return o.append(make([]byte, 0, 64)), nil }

func (o Object) append(b []byte) []byte {
	b = append(b, 0x83, byte(o.Kind))
	switch o.Kind {
	case File, Exec, Graph:
		b = appendLink(b, cid.Raw, o.Digest)
	case Dir, Pending:
		b = appendLink(b, cid.DagCBOR, o.Digest)
	default:
		b = append(b, 0xf6)
	}
	return appendUint(b, o.Size)
}

// appendUint writes the shortest CBOR unsigned integer.
func appendUint(b []byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, byte(n))
	case n < 1<<8:
		return append(b, 24, byte(n))
	case n < 1<<16:
		return append(b, 25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(b, 26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, 27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
		byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// UnmarshalCBOR reads what MarshalCBOR writes, and nothing else.
func (o *Object) UnmarshalCBOR(b []byte) error {
	*o = Object{}
	if len(b) < 4 || b[0] != 0x83 || b[1] > byte(Graph) {
		return fmt.Errorf("not an object: %x", b[:min(len(b), 4)])
	}
	kind, rest := Kind(b[1]), b[2:]
	if kind == 0 || kind == Symlink {
		if rest[0] != 0xf6 || rest[1] != 0 || len(rest) != 2 {
			return fmt.Errorf("%s with a link to content or a size", kind)
		}
		o.Kind = kind
		return nil
	}
	want := byte(cid.DagCBOR)
	if kind == File || kind == Exec || kind == Graph {
		want = cid.Raw
	}
	if len(rest) <= linkSize {
		return fmt.Errorf("%s without a link and a size", kind)
	}
	digest, err := readLinkOf(rest[:linkSize], want)
	if err != nil {
		return err
	}
	size, ok := readUint(rest[linkSize:])
	if !ok {
		return fmt.Errorf("%w: size of %s", ErrNotCanonical, kind)
	}
	if size > MaxBlob {
		return fmt.Errorf("object of %d bytes exceeds the bound of %d", size, uint64(MaxBlob))
	}
	*o = Object{kind, digest, size}
	return nil
}

// readUint reads b as one CBOR unsigned integer in its shortest form.
func readUint(b []byte) (n uint64, ok bool) {
	if len(b) == 1 && b[0] < 24 {
		return uint64(b[0]), true
	}
	if len(b) < 2 || b[0] < 24 || b[0] > 27 || len(b) != 1+1<<(b[0]-24) {
		return 0, false
	}
	for _, c := range b[1:] {
		n = n<<8 | uint64(c)
	}
	return n, bytes.Equal(appendUint(make([]byte, 0, 9), n), b)
}
