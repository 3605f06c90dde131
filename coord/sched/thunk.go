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
	v.command(&c)
	c.skip() // environment
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
		if c.b == nil {
			return false
		}
	}
	if !v.declared(&c) {
		return false
	}
	c.text() // stdin
	v.platform = c.text()
	v.abi = c.uint()
	if placed {
		c.text() // job directory
		c.text() // working directory
	}
	return c.b != nil && c.at == len(enc)
}

// readOutputs reads only what matches and output look at.
func (v *view) readOutputs(enc []byte) bool {
	c := cursor{b: enc}
	*v = view{inputs: v.inputs[:0], outputs: v.outputs[:0]}
	c.list()
	c.uint()
	v.command(&c)
	for range 3 { // environment, root, inputs
		c.skip()
	}
	return v.declared(&c)
}

func (v *view) command(c *cursor) {
	for i := range c.list() {
		if arg := c.text(); i == 0 {
			v.builtin = strings.HasPrefix(string(arg), "gaggle:")
		}
	}
}

func (v *view) declared(c *cursor) bool {
	for range c.list() {
		c.list()
		out := viewOutput{path: c.text(), kind: wire.Kind(c.uint())}
		out.graph = len(c.text()) > 0
		v.outputs = append(v.outputs, out)
		if c.b == nil {
			return false
		}
	}
	return c.b != nil
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

// A cursor reads canonical CBOR. After an error b is nil, and everything it reads is zero.
type cursor struct {
	b  []byte
	at int
}

// head reads the head of an item of the given major type. Most are of one byte.
func (c *cursor) head(major byte) uint64 {
	if c.at < len(c.b) && c.b[c.at]>>5 == major && c.b[c.at]&31 < 24 {
		c.at++
		return uint64(c.b[c.at-1] & 31)
	}
	return c.longHead(major)
}

func (c *cursor) longHead(major byte) uint64 {
	if c.at >= len(c.b) || c.b[c.at]>>5 != major {
		return c.fail()
	}
	low := c.b[c.at] & 31
	c.at++
	n := 1 << (low - 24)
	if low > 27 || len(c.b)-c.at < n {
		return c.fail()
	}
	var v [8]byte
	copy(v[8-n:], c.b[c.at:c.at+n])
	c.at += n
	return binary.BigEndian.Uint64(v[:])
}

func (c *cursor) fail() uint64 {
	c.b, c.at = nil, 0
	return 0
}

// skip passes over an item and all that is in it.
func (c *cursor) skip() {
	for left := uint64(1); left > 0 && c.at < len(c.b); left-- {
		switch major := c.b[c.at] >> 5; major {
		case 2, 3:
			c.bytes(major)
		case 4:
			left += c.head(major)
		case 6: // a tag stands before what it is of
			c.head(major)
			left++
		default:
			c.head(major)
		}
	}
}

func (c *cursor) uint() uint64 { return c.head(0) }

// list reads the head of an array, whose elements cannot be more than the bytes left.
func (c *cursor) list() int {
	n := c.head(4)
	if n > uint64(len(c.b)-c.at) {
		return int(c.fail())
	}
	return int(n)
}

func (c *cursor) bytes(major byte) []byte {
	n := c.head(major)
	if n > uint64(len(c.b)-c.at) {
		c.fail()
		return nil
	}
	c.at += int(n)
	return c.b[c.at-int(n) : c.at]
}

func (c *cursor) text() []byte { return c.bytes(3) }

// link reads tag 42 of a binary CID, of which only the digest matters here.
func (c *cursor) link() (d wire.Digest) {
	if c.head(6) != 42 {
		c.fail()
	}
	b := c.bytes(2)
	if len(b) != 5+len(d) {
		c.fail()
		return d
	}
	copy(d[:], b[5:])
	return d
}

func (c *cursor) object() (o wire.Object) {
	if c.list() != 3 {
		c.fail()
	}
	o.Kind = wire.Kind(c.uint())
	o.Digest = c.link()
	o.Size = c.uint()
	return o
}
