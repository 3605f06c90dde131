package infer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Bounds of a file of models. They are far above what a person writes.
const (
	maxUserFile  = 1 << 20
	maxUserNodes = 20000
)

// Decode reads a file of models, YAML or JSON:
//
//	gaggle-models: 1
//	tools:
//	  bin2c:                        # the plain name of the program
//	    positional: [input, output] # roles of the words that are no flags; "input..." as the last
//	                                # is for all that follow
//	    flags:                      # all that it may be given: others make a call local
//	      -q: {}                    # takes no operand
//	      -n: {operand: apart}      # -n WORD
//	      -o: {operand: [apart, joined], is: output} # -o FILE, -oFILE
//	      --map: {operand: equal, is: output}        # --map=FILE
//	      --watch: {local: it never ends}            # a call with it is never sent away
//	    stdout: true                # what it prints is its result
//	    env: [SOURCE_DATE_EPOCH]    # variables that it reads, besides PATH and the locale
//
// A role is pass (the default of a flag), input, output, update (read and written), or question.
// The tool must read and write nothing else, below the working directory or elsewhere. The file
// is decoded strictly; an error names it, the line and the key.
func Decode(file string, data []byte) (*Models, error) {
	d := &userDecoder{file: file}
	m := &Models{tools: map[string]*userTool{}}
	root, err := d.document(data)
	if err != nil {
		return nil, err
	}
	if err := d.models(root, m); err != nil {
		return nil, err
	}
	return m, nil
}

// A userDecoder walks the nodes of a file.
type userDecoder struct {
	file  string
	nodes int
}

func (d *userDecoder) wrong(n *yaml.Node, path, format string, args ...any) error {
	where := fmt.Sprintf("%s:%d", d.file, max(n.Line, 1))
	if path != "" {
		where += ": " + path
	}
	return fmt.Errorf("%s: "+format, append([]any{where}, args...)...)
}

// document parses the bytes, which hold one document without aliases.
func (d *userDecoder) document(data []byte) (*yaml.Node, error) {
	if len(data) > maxUserFile {
		return nil, fmt.Errorf("%s: has more than %d bytes", d.file, maxUserFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: the file is empty: the least is gaggle-models: 1", d.file)
	} else if err != nil {
		return nil, fmt.Errorf("%s: this is not YAML: %s", d.file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is more than one document, or something behind it", d.file)
	}
	if len(doc.Content) != 1 {
		return nil, fmt.Errorf("%s: the file is empty: the least is gaggle-models: 1", d.file)
	}
	return doc.Content[0], nil
}

// object calls f for each key of a mapping, in order.
func (d *userDecoder) object(n *yaml.Node, path string, f func(key string, k, v *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return d.wrong(n, path, "want an object")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if d.nodes++; d.nodes > maxUserNodes {
			return d.wrong(k, path, "the file has more than %d keys", maxUserNodes)
		}
		switch {
		case k.Kind != yaml.ScalarNode:
			return d.wrong(k, path, "a key must be a name")
		case v.Kind == yaml.AliasNode || v.Anchor != "":
			return d.wrong(k, path+"."+k.Value, "aliases and anchors are not known here: repeat what is common")
		case seen[k.Value]:
			return d.wrong(k, path, "key %q is there twice", k.Value)
		}
		seen[k.Value] = true
		if err := f(k.Value, k, v); err != nil {
			return err
		}
	}
	return nil
}

// list returns the texts of a sequence, or of one scalar.
func (d *userDecoder) list(n *yaml.Node, path string) ([]string, error) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	var all []string
	for _, c := range items {
		if c.Kind != yaml.ScalarNode || c.Value == "" || len(all) == maxUserNodes {
			return nil, d.wrong(c, path, "want a name, or a list of names")
		}
		all = append(all, c.Value)
	}
	return all, nil
}

func (d *userDecoder) models(n *yaml.Node, m *Models) error {
	version := false
	err := d.object(n, "", func(key string, k, v *yaml.Node) error {
		switch key {
		case "gaggle-models":
			if version = v.Value == "1"; !version {
				return d.wrong(v, key, "format %q is not known here: write gaggle-models: 1, or update gaggle", v.Value)
			}
			return nil
		case "tools":
			return d.object(v, key, func(name string, k, v *yaml.Node) error {
				if name == "" || strings.ContainsAny(name, "/ \t\n") {
					return d.wrong(k, key, "%q is no plain name of a program", name)
				}
				t, err := d.tool(v, key+"."+name)
				m.tools[name] = t
				return err
			})
		}
		return d.wrong(k, "", "unknown key %q: known here: gaggle-models, tools", key)
	})
	if err == nil && !version {
		return d.wrong(n, "", `"gaggle-models" is missing: the version of this format: 1`)
	}
	return err
}

func (d *userDecoder) tool(n *yaml.Node, path string) (*userTool, error) {
	t := &userTool{flags: table{}}
	err := d.object(n, path, func(key string, k, v *yaml.Node) (err error) {
		at := path + "." + key
		switch key {
		case "positional":
			return d.positional(v, at, t)
		case "flags":
			return d.object(v, at, func(name string, k, v *yaml.Node) error {
				if !strings.HasPrefix(name, "-") || len(name) < 2 || len(name) > longestJoined || strings.ContainsAny(name, "= \t\n") {
					return d.wrong(k, at, "%q is no flag: a dash and up to %d letters without =", name, longestJoined-1)
				}
				f, err := d.flag(v, at+"."+name)
				t.flags[name] = f
				return err
			})
		case "stdout":
			if v.Value != "true" && v.Value != "false" {
				return d.wrong(v, at, "want true or false")
			}
			t.prints = v.Value == "true"
		case "env":
			t.env, err = d.list(v, at)
			if err == nil && slices.ContainsFunc(t.env, func(s string) bool { return strings.ContainsAny(s, "= \x00") }) {
				err = d.wrong(v, at, "want names of variables")
			}
		default:
			err = d.wrong(k, path, "unknown key %q: known here: positional, flags, stdout, env", key)
		}
		return err
	})
	return t, err
}

func (d *userDecoder) positional(n *yaml.Node, path string, t *userTool) error {
	names, err := d.list(n, path)
	if err != nil {
		return err
	}
	for i, name := range names {
		plain, rest := strings.CutSuffix(name, "...")
		if rest && i < len(names)-1 {
			return d.wrong(n, path, "%q must be the last", name)
		}
		r, err := d.role(n, path, plain)
		if err != nil {
			return err
		}
		t.positional, t.rest = append(t.positional, r), rest
	}
	return nil
}

func (d *userDecoder) role(n *yaml.Node, path, name string) (role, error) {
	r, ok := userRoles[name]
	if !ok {
		return 0, d.wrong(n, path, "%q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(userRoles)), ", "))
	}
	return r, nil
}

// forms are the names of how an operand is written.
var forms = map[string]form{"apart": apart, "joined": joined, "equal": equal, "none": alone}

func (d *userDecoder) flag(n *yaml.Node, path string) (flag, error) {
	var f flag
	err := d.object(n, path, func(key string, k, v *yaml.Node) (err error) {
		at := path + "." + key
		switch key {
		case "operand":
			names, err := d.list(v, at)
			for _, name := range names {
				if forms[name] == 0 {
					return d.wrong(v, at, "%q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(forms)), ", "))
				}
				f.form |= forms[name]
			}
			return err
		case "is":
			if f.role == refuse {
				return d.wrong(k, path, "local is enough")
			}
			f.role, err = d.role(v, at, v.Value)
		case "local":
			if v.Kind != yaml.ScalarNode || v.Value == "" {
				return d.wrong(v, at, "want the reason")
			}
			f.role, f.why = refuse, v.Value
		default:
			err = d.wrong(k, path, "unknown key %q: known here: operand, is, local", key)
		}
		return err
	})
	if f.form == 0 {
		f.form = alone
	}
	if err == nil && f.form == alone && f.role != pass && f.role != refuse && f.role != question {
		err = d.wrong(n, path, "a flag that names a file has an operand: apart, joined or equal")
	}
	return f, err
}
