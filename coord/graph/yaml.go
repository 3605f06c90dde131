package graph

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// parseYAML reads one YAML 1.2 document. Its data model is cut down to JSON's: keys are strings,
// tags other than the core schema's are refused, and an alias stands for a copy.
func parseYAML(data []byte, name string) (*node, error) {
	if len(data) > maxYAML {
		return nil, tooLarge(name, maxYAML, "a program should print JSON, which may be larger")
	}
	ps := newProblems(name)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		ps.notYAML(data, err.Error())
		return nil, ps.err()
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		ps.add(pos{line: int32(second.Line)}, "remove the line ---", "there is more than one document")
		return nil, ps.err()
	}
	y := &yamlParser{ps: ps}
	n, ok := y.value(&doc, 0)
	if !ok || ps.any() {
		return nil, ps.err()
	}
	return &n, nil
}

// notYAML notes what the parser says of a text, at its line, and what most often is the matter there.
func (ps *problems) notYAML(data []byte, said string) {
	said = strings.TrimPrefix(said, "yaml: ")
	at := pos{}
	if rest, ok := strings.CutPrefix(said, "line "); ok {
		number, text, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			at.line, said = int32(n), text
		}
	}
	hint := ""
	if lines := bytes.Split(data, []byte("\n")); at.line > 0 && int(at.line) <= len(lines) {
		line := lines[at.line-1]
		switch word := bareReference.Find(line); {
		case bytes.ContainsRune(line[:len(line)-len(bytes.TrimLeft(line, " \t"))], '\t'):
			hint = "indent with spaces, not with tabs"
		case word != nil:
			hint = fmt.Sprintf("put references in quotes: %q", bytes.TrimLeft(word, ":-[{, "))
		}
	}
	ps.add(at, hint, "this is not YAML: %s", said)
}

// bareReference is one to another task's output that no quotes are around.
var bareReference = regexp.MustCompile(`[:\-\[{,] *@[^\s,\]}"']+`)

type yamlParser struct {
	ps *problems
	tally
}

func (y *yamlParser) value(v *yaml.Node, depth int) (n node, ok bool) {
	switch v.Kind {
	case yaml.DocumentNode:
		return y.value(v.Content[0], 1)
	case yaml.AliasNode:
		return y.value(v.Alias, depth) // the depth bound ends an alias of what it stands in
	}
	n.line = int32(v.Line)
	if !y.add(y.ps, n.line, depth) {
		return n, false
	}
	switch v.Kind {
	case yaml.MappingNode:
		return y.object(v, n, depth)
	case yaml.SequenceNode:
		n.kind = list
		n.kids = make([]node, len(v.Content))
		for i, c := range v.Content {
			if n.kids[i], ok = y.value(c, depth+1); !ok {
				return n, false
			}
		}
		return n, true
	}
	n.text = v.Value
	switch tag := v.ShortTag(); tag {
	case "!!null":
		n.kind = null
	case "!!bool":
		n.kind = boolean
	case "!!int", "!!float":
		n.kind = number
	case "!!str", "!!timestamp", "!!merge":
		n.kind = str
	default:
		y.ps.add(pos{line: n.line}, "remove the tag", "tag %q is not known", clip(tag))
		return n, false
	}
	return n, true
}

func (y *yamlParser) object(v *yaml.Node, n node, depth int) (node, bool) {
	n.kind = object
	n.keys, n.kids = make([]key, len(v.Content)/2), make([]node, len(v.Content)/2)
	seen := make(map[string]int32, len(n.keys))
	for i := range n.keys {
		k, ok := y.value(v.Content[2*i], depth+1)
		switch {
		case !ok:
			return n, false
		case k.kind == list || k.kind == object || k.kind == null:
			y.ps.add(pos{line: k.line}, "write a name", "a key is %s", k.kind)
			return n, false
		case k.text == "<<" && v.Content[2*i].Style == 0:
			y.ps.add(pos{line: k.line}, "use defaults, or repeat what is common",
				"merge keys (<<) are not part of YAML 1.2")
			return n, false
		}
		if first, twice := seen[k.text]; twice {
			y.ps.add(pos{line: k.line}, "remove one", "key %q is there twice, first in line %d", clip(k.text), first)
		}
		seen[k.text] = k.line
		n.keys[i] = key{k.text, k.line}
		if n.kids[i], ok = y.value(v.Content[2*i+1], depth+1); !ok {
			return n, false
		}
	}
	return n, true
}
