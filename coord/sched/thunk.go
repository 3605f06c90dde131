package sched

import (
	"encoding/binary"
	"strings"

	"gaggle/wire"
)

// A view is what the scheduler needs to know of an encoded thunk, read straight from its bytes:
// decoding it whole costs twenty times as much, and the server has checked it. The form stands
// at wire.Thunk. Strings and slices share the encoding's memory or the view's.
type view struct {
	builtin  bool
	pending  bool        // some inputs are
	root     wire.Digest // zero for a builtin
	inputs   []viewInput
	outputs  []viewOutput
	platform []byte
	abi      uint64
}

type viewInput struct {
	object   wire.Object
	output   []byte // if pending: of which output
	from, to int    // where object and output stand in the encoding
}

type viewOutput struct {
	path  []byte
	kind  wire.Kind
	graph bool
}

// read takes enc apart. It reports false for what is not an encoded thunk.
func (v *view) read(enc []byte) bool {
	c := cursor{b: enc}
	*v = view{inputs: v.inputs[:0], outputs: v.outputs[:0]}
	fields, version := c.list(), c.uint()
	placed := fields == 11 && version == 2
	if !placed && (fields != 9 || version != 1) {
		return false
	}
	for i := range c.list() {
		if arg := c.text(); i == 0 {
			v.builtin = strings.HasPrefix(string(arg), "gaggle:")
		}
	}
	for range c.list() {
		c.list()
		c.text()
		c.text()
	}
	v.root = c.link()
	for range c.list() {
		c.list()
		c.text()
		in := viewInput{from: c.at}
		in.object = c.object()
		in.output = c.text()
		in.to = c.at
		v.pending = v.pending || in.object.Kind == wire.Pending
		v.inputs = append(v.inputs, in)
		if c.bad {
			return false
		}
	}
	for range c.list() {
		c.list()
		out := viewOutput{path: c.text(), kind: wire.Kind(c.uint())}
		out.graph = len(c.text()) > 0
		v.outputs = append(v.outputs, out)
		if c.bad {
			return false
		}
	}
	c.text() // stdin
	v.platform = c.text()
	v.abi = c.uint()
	if placed {
		c.text() // job directory
		c.text() // working directory
	}
	return !c.bad && c.at == len(enc)
}

// output returns the place of an output.
func (v *view) output(path string) (int, bool) {
	for i := range v.outputs {
		if string(v.outputs[i].path) == path {
			return i, true
		}
	}
	return 0, false
}

// matches reports whether outs can be the raw value of the thunk, see wire.Value.Matches.
func (v *view) matches(outs []wire.Object) bool {
	if len(outs) != len(v.outputs) {
		return false
	}
	for i, o := range outs {
		d := v.outputs[i]
		switch {
		case o.Kind == wire.Graph && d.graph, o.Kind == wire.Dir && d.kind == wire.Dir,
			(o.Kind == wire.File || o.Kind == wire.Exec) && d.kind == wire.File, v.builtin && o.Final():
		default:
			return false
		}
	}
	return true
}

// resolved returns enc with its pending inputs replaced by objects, one for each in the order of
// the inputs: what wire.Thunk.Resolve gives, encoded. Without pending inputs it is enc itself.
func (v *view) resolved(enc []byte, objects []wire.Object) []byte {
	return v.resolvedBut(enc, wire.Digest{}, objects)
}

// resolvedBut is resolved, but leaves the inputs pending that are outputs of the thunk but.
func (v *view) resolvedBut(enc []byte, but wire.Digest, objects []wire.Object) []byte {
	if len(objects) == 0 {
		return enc
	}
	r := make([]byte, 0, len(enc)+8*len(objects))
	done := 0
	for _, in := range v.inputs {
		if in.object.Kind != wire.Pending || in.object.Digest == but {
			continue
		}
		r = append(r, enc[done:in.from]...)
		b, err := objects[0].MarshalCBOR()
		if err != nil {
			panic(err) // an Object always has an encoding
		}
		r = append(append(r, b...), 0x60) // and no output
		objects, done = objects[1:], in.to
	}
	return append(r, enc[done:]...)
}

// A cursor reads canonical CBOR. After an error everything it reads is zero and bad is set.
type cursor struct {
	b   []byte
	at  int
	bad bool
}

// head reads the head of an item of the given major type.
func (c *cursor) head(major byte) uint64 {
	if c.bad || c.at >= len(c.b) || c.b[c.at]>>5 != major {
		c.bad = true
		return 0
	}
	low := c.b[c.at] & 31
	c.at++
	if low < 24 {
		return uint64(low)
	}
	n := 1 << (low - 24)
	if low > 27 || len(c.b)-c.at < n {
		c.bad = true
		return 0
	}
	var v [8]byte
	copy(v[8-n:], c.b[c.at:c.at+n])
	c.at += n
	return binary.BigEndian.Uint64(v[:])
}

func (c *cursor) uint() uint64 { return c.head(0) }

// list reads the head of an array, whose elements cannot be more than the bytes left.
func (c *cursor) list() int {
	n := c.head(4)
	if n > uint64(len(c.b)-c.at) {
		c.bad = true
		return 0
	}
	return int(n)
}

func (c *cursor) bytes(major byte) []byte {
	n := c.head(major)
	if n > uint64(len(c.b)-c.at) {
		c.bad = true
		return nil
	}
	c.at += int(n)
	return c.b[c.at-int(n) : c.at]
}

func (c *cursor) text() []byte { return c.bytes(3) }

// link reads tag 42 of a binary CID, of which only the digest matters here.
func (c *cursor) link() (d wire.Digest) {
	if c.head(6) != 42 {
		c.bad = true
	}
	b := c.bytes(2)
	if len(b) != 5+len(d) {
		c.bad = true
		return d
	}
	copy(d[:], b[5:])
	return d
}

func (c *cursor) object() (o wire.Object) {
	if c.list() != 3 {
		c.bad = true
	}
	o.Kind = wire.Kind(c.uint())
	o.Digest = c.link()
	o.Size = c.uint()
	return o
}
