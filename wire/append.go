package wire

import "github.com/ipfs/go-cid"

// The encoders of what is hashed by the million: thunks, trees and values. They write what
// hashedEnc would by reflection, in less than half the time; a test holds them equal.

// CBOR's major types (RFC 8949, 3.1), in the upper three bits of an item's first byte.
const (
	majorText  = 3 << 5
	majorArray = 4 << 5
)

// appendHead writes the shortest head of a major type with its argument.
func appendHead(b []byte, major byte, n uint64) []byte {
	at := len(b)
	b = appendUint(b, n)
	b[at] |= major
	return b
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendList[T any](b []byte, list []T, item func([]byte, *T) []byte) []byte {
	b = appendHead(b, majorArray, uint64(len(list)))
	for i := range list {
		b = item(b, &list[i])
	}
	return b
}

func (t *Thunk) append(b []byte) []byte {
	fields := byte(9)
	if t.Placed() {
		fields = 11
	}
	b = appendUint(append(b, majorArray|fields), t.Version)
	b = appendList(b, t.Command, func(b []byte, s *string) []byte { return appendText(b, *s) })
	b = appendList(b, t.Env, func(b []byte, v *EnvVar) []byte {
		return appendText(appendText(append(b, majorArray|2), v.Name), v.Value)
	})
	b = appendLink(b, cid.DagCBOR, Digest(t.Root))
	b = appendList(b, t.Inputs, func(b []byte, in *Input) []byte {
		b = appendText(append(b, majorArray|3), in.Path)
		return appendText(in.Object.append(b), in.Output)
	})
	b = appendList(b, t.Outputs, func(b []byte, o *Output) []byte {
		b = appendText(append(b, majorArray|3), o.Path)
		return appendText(appendUint(b, uint64(o.Kind)), o.Graph)
	})
	b = appendUint(appendText(appendText(b, t.Stdin), t.Platform), t.ABI)
	if t.Placed() {
		b = appendText(appendText(b, t.JobDir), t.WorkDir)
	}
	return b
}

func (t *Tree) append(b []byte) []byte {
	b = appendUint(append(b, majorArray|2), t.Version)
	return appendList(b, t.Entries, func(b []byte, e *Entry) []byte {
		b = appendText(append(b, majorArray|3), e.Name)
		return appendText(e.Object.append(b), e.Target)
	})
}

func (v *Value) append(b []byte) []byte {
	b = appendUint(append(b, majorArray|2), v.Version)
	return appendList(b, v.Outputs, func(b []byte, o *Object) []byte { return o.append(b) })
}
