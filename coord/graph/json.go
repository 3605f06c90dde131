package graph

import (
	"encoding/json"
	"errors"
)

// parseJSON reads JSON exactly as encoding/json takes it, which checks it first; the walk below
// then adds what that package does not tell: the order of keys, keys that are there twice, and
// lines.
func parseJSON(data []byte, name string) (*node, error) {
	ps := newProblems(name)
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		line := int32(0)
		if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
			line = lineAt(data, int(se.Offset)-1)
		}
		ps.add(pos{line: line}, "", "this is not JSON: %v", err)
		return nil, ps.err()
	}
	p := &jsonParser{data: data, line: 1, ps: ps}
	n, ok := p.value(1)
	if !ok || ps.any() {
		return nil, ps.err()
	}
	return &n, nil
}

// A jsonParser walks text that is known to be valid JSON.
type jsonParser struct {
	data []byte
	i    int
	line int32
	ps   *problems
	tally
}

// peek skips space and returns the next byte.
func (p *jsonParser) peek() byte {
	for {
		switch c := p.data[p.i]; c {
		case '\n':
			p.line++
			p.i++
		case ' ', '\t', '\r':
			p.i++
		default:
			return c
		}
	}
}

func (p *jsonParser) value(depth int) (n node, ok bool) {
	c := p.peek()
	n.line = p.line
	if !p.add(p.ps, p.line, depth) {
		return n, false
	}
	switch c {
	case '{':
		return p.object(n, depth)
	case '[':
		return p.list(n, depth)
	case '"':
		n.kind, n.text = str, p.str()
		return n, true
	}
	start := p.i
	for p.i < len(p.data) && !endsScalar(p.data[p.i]) {
		p.i++
	}
	n.text = string(p.data[start:p.i])
	switch c {
	case 'n':
		n.kind = null
	case 't', 'f':
		n.kind = boolean
	default:
		n.kind = number
	}
	return n, true
}

func endsScalar(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

func (p *jsonParser) object(n node, depth int) (node, bool) {
	n.kind = object
	p.i++
	seen := make(map[string]int32)
	for p.peek() != '}' {
		if p.data[p.i] == ',' {
			p.i++
			p.peek()
		}
		k := key{line: p.line}
		k.name = p.str()
		if first, twice := seen[k.name]; twice {
			p.ps.add(pos{line: k.line}, "remove one", "key %q is there twice, first in line %d", clip(k.name), first)
		}
		seen[k.name] = k.line
		p.peek()
		p.i++ // the colon
		v, ok := p.value(depth + 1)
		if !ok {
			return n, false
		}
		n.keys, n.kids = append(n.keys, k), append(n.kids, v)
	}
	p.i++
	return n, true
}

func (p *jsonParser) list(n node, depth int) (node, bool) {
	n.kind = list
	p.i++
	for p.peek() != ']' {
		if p.data[p.i] == ',' {
			p.i++
		}
		v, ok := p.value(depth + 1)
		if !ok {
			return n, false
		}
		n.kids = append(n.kids, v)
	}
	p.i++
	return n, true
}

// str reads the string that begins here.
func (p *jsonParser) str() string {
	start, escaped := p.i, false
	for p.i++; p.data[p.i] != '"'; p.i++ {
		if p.data[p.i] == '\\' {
			escaped = true
			p.i++
		}
	}
	p.i++
	if !escaped {
		return string(p.data[start+1 : p.i-1])
	}
	var s string
	if err := json.Unmarshal(p.data[start:p.i], &s); err != nil {
		panic(err) // the whole text was checked
	}
	return s
}
