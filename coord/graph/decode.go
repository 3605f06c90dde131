package graph

import (
	"fmt"
	"strconv"
	"strings"

	"gaggle/wire"
)

// A codec reads a value of the file and describes it in the schema, so that the two agree.
type codec[V any] struct {
	shape shape
	read  func(d *decoder, n *node) (V, bool) // false: a problem was noted
}

// A field is a key of an object that is read into a T.
type field[T any] struct {
	name, doc string
	shape     shape
	required  bool
	read      func(d *decoder, n *node, t *T) bool
}

// attr makes a field of a codec and the place its value goes to.
func attr[T, V any](name, doc string, c codec[V], at func(*T) *V) field[T] {
	return field[T]{name: name, doc: doc, shape: c.shape, read: func(d *decoder, n *node, t *T) bool {
		v, ok := c.read(d, n)
		if ok {
			*at(t) = v
		}
		return ok
	}}
}

// must makes a field required.
func must[T any](f field[T]) field[T] {
	f.required = true
	return f
}

// A decoder walks nodes and remembers where it is.
type decoder struct {
	ps   *problems
	path []byte // of the node at hand: "tasks.count.outputs[0]"
}

func (d *decoder) at(n *node) pos { return pos{n.line, string(d.path)} }

func (d *decoder) wrong(n *node, hint, format string, args ...any) bool {
	d.ps.add(d.at(n), hint, format, args...)
	return false
}

// in calls f with the path lengthened by a key, and enter by an index.
func (d *decoder) in(name string, f func() bool) bool {
	old := len(d.path)
	d.path = appendKey(d.path, name)
	defer func() { d.path = d.path[:old] }()
	return f()
}

func (d *decoder) index(i int, f func() bool) bool {
	old := len(d.path)
	d.path = append(strconv.AppendInt(append(d.path, '['), int64(i), 10), ']')
	defer func() { d.path = d.path[:old] }()
	return f()
}

// appendKey writes ".name", quoted in brackets if a reader could mistake it.
func appendKey(b []byte, name string) []byte {
	if name == "" || strings.ContainsAny(name, ".[]\" \n\t\r") {
		return fmt.Appendf(b, "[%q]", clip(name))
	}
	if len(b) > 0 {
		b = append(b, '.')
	}
	return append(b, clip(name)...)
}

// decode reads a whole graph file.
func decode(data []byte, name string) (*File, error) {
	n, err := parse(data, name)
	if err != nil {
		return nil, err
	}
	d := &decoder{ps: newProblems(name)}
	f, _ := fileCodec.read(d, n)
	if !d.ps.any() {
		f.check(d.ps)
	}
	if d.ps.any() {
		return nil, d.ps.err()
	}
	f.Name = name
	for _, t := range f.tasks {
		t.val.inherit(&f.defaults)
	}
	return &f, nil
}

// objectOf reads an object whose keys are the fields; check, if not nil, sees the result.
func objectOf[T any](fields []field[T], start func(d *decoder, n *node) T, check func(d *decoder, n *node, t *T) bool) codec[T] {
	byName := make(map[string]*field[T], len(fields))
	known := make([]string, len(fields))
	for i := range fields {
		byName[fields[i].name], known[i] = &fields[i], fields[i].name
	}
	return codec[T]{shape: objectShape(fields), read: func(d *decoder, n *node) (t T, ok bool) {
		if n.kind != object {
			return t, d.wrong(n, "", "is %s, want an object with %s", n.kind, strings.Join(known, ", "))
		}
		if start != nil {
			t = start(d, n)
		}
		ok = true
		for i := range n.kids {
			k, v := n.keys[i], &n.kids[i]
			ok = d.in(k.name, func() bool {
				f := byName[k.name]
				switch {
				case f == nil:
					d.ps.add(pos{k.line, string(d.path)}, Nearest(k.name, known), "unknown key %q", clip(k.name))
					return false
				case v.kind == null:
					return d.wrong(v, "give it a value or leave it out", "is empty")
				}
				return f.read(d, v, &t)
			}) && ok
		}
		for i := range fields {
			if fields[i].required && !n.has(fields[i].name) {
				ok = d.wrong(n, fields[i].doc, "%q is missing", fields[i].name)
			}
		}
		if ok && check != nil {
			ok = check(d, n, &t)
		}
		return t, ok
	}}
}

func (n *node) has(name string) bool {
	for _, k := range n.keys {
		if k.name == name {
			return true
		}
	}
	return false
}

// listOf reads a list of at most most elements.
func listOf[V any](c codec[V]) codec[[]V] {
	return codec[[]V]{shape: shape{"type": "array", "items": c.shape}, read: func(d *decoder, n *node) ([]V, bool) {
		if n.kind != list {
			return nil, d.wrong(n, "write it in brackets: [..]", "is %s, want a list", n.kind)
		}
		vs, ok := make([]V, len(n.kids)), true
		for i := range n.kids {
			ok = d.index(i, func() (ok bool) {
				vs[i], ok = c.read(d, &n.kids[i])
				return ok
			}) && ok
		}
		return vs, ok
	}}
}

// A pair is an entry of an object whose keys are the user's.
type pair[V any] struct {
	key string
	val V
	pos // of the key
}

// mapOf reads an object with keys of the user's choice; name says of a bad one what it must be,
// and pattern, if not empty, says so in the schema.
func mapOf[V any](c codec[V], pattern string, name func(string) string) codec[[]pair[V]] {
	sh := shape{"type": "object", "additionalProperties": c.shape}
	if pattern != "" {
		sh["propertyNames"] = shape{"pattern": pattern}
	}
	return codec[[]pair[V]]{shape: sh, read: func(d *decoder, n *node) ([]pair[V], bool) {
		if n.kind != object {
			return nil, d.wrong(n, "", "is %s, want an object", n.kind)
		}
		ps, ok := make([]pair[V], len(n.kids)), true
		for i := range n.kids {
			k := n.keys[i]
			ok = d.in(k.name, func() (ok bool) {
				ps[i].key, ps[i].pos = k.name, pos{k.line, string(d.path)}
				if want := name(k.name); want != "" {
					d.ps.add(ps[i].pos, want, "%q is not a usable name", clip(k.name))
					return false
				}
				ps[i].val, ok = c.read(d, &n.kids[i])
				return ok
			}) && ok
		}
		return ps, ok
	}}
}

// either reads a value with the codec that is for its kind.
func either[V any](want string, codecs map[kind]codec[V], order ...kind) codec[V] {
	var shapes []shape
	for _, k := range order {
		shapes = append(shapes, codecs[k].shape)
	}
	return codec[V]{shape: shape{"anyOf": shapes}, read: func(d *decoder, n *node) (v V, ok bool) {
		c, ok := codecs[n.kind]
		if !ok {
			return v, d.wrong(n, "", "is %s, want %s", n.kind, want)
		}
		return c.read(d, n)
	}}
}

// convert makes a codec of another type from c.
func convert[A, B any](c codec[A], f func(d *decoder, n *node, a A) (B, bool)) codec[B] {
	return codec[B]{shape: c.shape, read: func(d *decoder, n *node) (b B, ok bool) {
		a, ok := c.read(d, n)
		if !ok {
			return b, false
		}
		return f(d, n, a)
	}}
}

// pointerTo reads into a variable of its own.
func pointerTo[V any](c codec[V]) codec[*V] {
	return convert(c, func(_ *decoder, _ *node, v V) (*V, bool) { return &v, true })
}

// template reads a string; scalar also numbers and true or false, as they are written.
var template = templateOf(shape{"type": "string"}, "a string", nil, str)

var scalar = templateOf(shape{"type": []string{"string", "number", "boolean"}}, "a string or number", nil, str, number, boolean)

// templateOf reads a template from the kinds given; check, if not nil, returns what is wrong with
// one that has no variables (see scope.text for the others), and a hint.
func templateOf(sh shape, want string, check func(string) (wrong, hint string), kinds ...kind) codec[tmpl] {
	return codec[tmpl]{shape: sh, read: func(d *decoder, n *node) (t tmpl, ok bool) {
		for _, k := range kinds {
			ok = ok || n.kind == k
		}
		if !ok {
			hint := ""
			if n.kind == number || n.kind == boolean {
				hint = "write it in quotes"
			}
			return t, d.wrong(n, hint, "is %s, want %s", n.kind, want)
		}
		t = compile(n.text, d.at(n))
		if check != nil && t.literal() {
			if wrong, hint := check(t.raw); wrong != "" {
				return t, d.wrong(n, hint, "%s", wrong)
			}
		}
		return t, true
	}}
}

// yesNo reads true or false.
var yesNo = codec[bool]{shape: shape{"type": "boolean"}, read: func(d *decoder, n *node) (bool, bool) {
	if n.kind != boolean {
		return false, d.wrong(n, "write true or false", "is %s", n.kind)
	}
	return strings.EqualFold(n.text, "true"), true
}}

func validName(s string) string {
	if wire.ValidName(s) {
		return ""
	}
	return fmt.Sprintf("use 1 to %d of the characters A-Z a-z 0-9 _ . -", wire.MaxName)
}

func validVariable(s string) string {
	if isVariable(s) {
		return ""
	}
	return "use letters, digits and _, not beginning with a digit"
}
