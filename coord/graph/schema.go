package graph

import "encoding/json"

// A shape is a part of the JSON Schema.
type shape map[string]any

// Schema returns the JSON Schema (draft 2020-12) of the graph file. It is made from the tables
// that Decode reads with. It says what stands where; that names refer to something, only Decode
// and Expand can tell.
func Schema() []byte {
	s := shape{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gaggle graph file"}
	for k, v := range fileCodec.shape {
		s[k] = v
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // shapes are maps, lists and strings
	}
	return append(b, '\n')
}

func objectShape[T any](fields []field[T]) shape {
	props, required := shape{}, []string{}
	for _, f := range fields {
		p := shape{"description": f.doc}
		for k, v := range f.shape {
			p[k] = v
		}
		props[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	s := shape{"type": "object", "properties": props, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// with returns c with more in its schema.
func with[V any](c codec[V], more shape) codec[V] {
	s := shape{}
	for k, v := range c.shape {
		s[k] = v
	}
	for k, v := range more {
		s[k] = v
	}
	c.shape = s
	return c
}

// oneOf says in a schema that exactly one of the keys is there.
func oneOf(names ...string) shape {
	return shape{"oneOf": required(names...)}
}

// required is a shape for each name that wants it to be there.
func required(names ...string) []shape {
	var alts []shape
	for _, n := range names {
		alts = append(alts, shape{"required": []string{n}})
	}
	return alts
}
