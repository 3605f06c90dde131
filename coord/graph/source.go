package graph

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// source reads what the variable runs over.
func (x *expander) source(l *pair[source]) (run, bool) {
	s, sc := &l.val, x.global()
	for _, t := range s.templates() {
		if !x.known(t, sc) {
			return run{}, false
		}
	}
	r := run{names: []string{l.key}}
	if x.env.Parent != nil && (s.isGlob || s.lines.set() || s.csv.set()) {
		x.ps.add(s.pos, "a sub-graph has no local files: use a list, a range or count", "for over local files")
		return r, false
	}
	var vals []string
	ok := true
	switch {
	case s.isRange:
		vals, ok = x.span(s)
	case s.isGlob:
		vals, ok = x.globs(s.glob, s.optional)
	case s.lines.set():
		vals, ok = x.lines(&s.lines)
	case s.csv.set():
		return x.csv(l)
	default:
		for i := range s.items {
			vals = append(vals, x.global().text(&s.items[i]))
		}
		if len(vals) == 0 {
			x.ps.add(s.pos, "give it values, or leave the task out", "the list is empty")
			ok = false
		}
	}
	if !ok {
		return r, false
	}
	if s.chunk.set() {
		return x.chunks(l, vals)
	}
	r.rows = make([]instance, len(vals))
	for i, v := range vals {
		r.rows[i] = instance{v, []value{one(v)}}
	}
	return r, true
}

// templates returns the templates of s.
func (s *source) templates() []*tmpl {
	ts := []*tmpl{&s.lines, &s.csv, &s.chunk}
	for _, list := range [][]tmpl{s.items, s.glob, s.span} {
		for i := range list {
			ts = append(ts, &list[i])
		}
	}
	return ts
}

func (x *expander) chunks(l *pair[source], vals []string) (run, bool) {
	n, ok := x.number(&l.val.chunk, x.global(), 1, maxInstances)
	if !ok {
		return run{}, false
	}
	seen := make(map[string]bool, len(vals))
	for _, v := range vals {
		if seen[v] {
			x.ps.add(l.val.pos, "values in chunks must differ", "%q is there twice", clip(v))
			return run{}, false
		}
		seen[v] = true
	}
	groups := grouped(vals, chunkLimit(n))
	r := run{names: []string{l.key}, rows: make([]instance, len(groups))}
	for i, g := range groups {
		list := make([]string, len(g.members))
		for j, m := range g.members {
			list[j] = vals[m]
		}
		key := g.bits
		if key == "" {
			key = "all"
		}
		r.rows[i] = instance{key, []value{many(list)}}
	}
	return r, true
}

func (x *expander) span(s *source) ([]string, bool) {
	var n [3]int
	n[2] = 1
	for i := range s.span {
		var ok bool
		if n[i], ok = x.number(&s.span[i], x.global(), -maxSpan, maxSpan); !ok {
			return nil, false
		}
	}
	from, to, step := n[0], n[1], n[2]
	if step == 0 || step > 0 && from >= to || step < 0 && from <= to {
		x.ps.add(s.pos, "it runs from the first number to before the second, by the third", "range [%d, %d, %d] is empty", from, to, step)
		return nil, false
	}
	count := (to-from-1)/step + 1
	if step < 0 {
		count = (from-to-1)/-step + 1
	}
	if count > maxInstances {
		x.ps.add(s.pos, "make each instance do more", "range of %d numbers exceeds the bound of %d", count, maxInstances)
		return nil, false
	}
	vals := make([]string, count)
	for i := range vals {
		vals[i] = strconv.Itoa(from + i*step)
	}
	return vals, true
}

// globs returns what the patterns match, each file once.
func (x *expander) globs(patterns []tmpl, optional bool) ([]string, bool) {
	var out []string
	seen := make(map[string]bool)
	for i := range patterns {
		t := &patterns[i]
		found, ok := x.globOne(t.pos, x.global().text(t), optional)
		if !ok {
			return nil, false
		}
		for _, f := range found {
			if !seen[f] {
				seen[f] = true
				out = append(out, f)
			}
		}
	}
	return out, true
}

func (x *expander) globOne(p pos, pattern string, optional bool) ([]string, bool) {
	clean, wrong, hint := localPath(pattern)
	if wrong != "" {
		x.ps.add(p, hint, "%s", wrong)
		return nil, false
	}
	if strings.HasSuffix(pattern, "/") {
		clean += "/"
	}
	if found, ok := x.globbed[clean]; ok && (len(found) > 0 || optional) {
		return found, true
	}
	found, err := glob(x.ctx, x.fsys, clean, maxInstances)
	if err != nil {
		x.ps.add(p, "", "%v", err)
		return nil, false
	}
	if len(found) == 0 && !optional {
		x.ps.add(p, "it is relative to "+x.where()+"; ** is any directories; if it may be so, say optional: true",
			"nothing matches %q", clip(pattern))
		return nil, false
	}
	for i, f := range found {
		if _, wrong, hint := localPath(f); wrong != "" {
			x.ps.add(p, hint, "%s", wrong)
			return nil, false
		}
		if f[0] == '@' {
			found[i] = "./" + f // not a reference to a task
		}
	}
	x.globbed[clean] = found
	return found, true
}

func (x *expander) read(t *tmpl) ([]byte, bool) {
	clean, wrong, hint := localPath(x.global().text(t))
	if wrong != "" {
		x.ps.add(t.pos, hint, "%s", wrong)
		return nil, false
	}
	b, err := readFile(x.fsys, clean)
	if err != nil {
		x.fileProblem(t.pos, clean, err)
		return nil, false
	}
	if i := badUTF8(b); i >= 0 {
		x.ps.add(t.pos, "save it as UTF-8", "%s:%d: byte 0x%02x is not UTF-8", clip(clean), lineAt(b, i), b[i])
		return nil, false
	}
	return bytes.TrimPrefix(b, []byte("\ufeff")), true
}

// lines returns the lines of a file that are not empty, without spaces around them.
func (x *expander) lines(t *tmpl) ([]string, bool) {
	b, ok := x.read(t)
	if !ok {
		return nil, false
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		x.ps.add(t.pos, "put a value on each line", "%q has no lines", clip(x.global().text(t)))
		return nil, false
	}
	return out, true
}

// csv reads a table: RFC 4180, or separated by tabs if the name ends in .tsv. The loop's own
// variable is the first column, which is the key; every column is also a variable by its name.
func (x *expander) csv(l *pair[source]) (run, bool) {
	t := &l.val.csv
	r := run{names: []string{l.key}}
	b, ok := x.read(t)
	if !ok {
		return r, false
	}
	name := x.global().text(t)
	rd := csv.NewReader(bytes.NewReader(b))
	if strings.EqualFold(path.Ext(name), ".tsv") {
		rd.Comma, rd.LazyQuotes = '\t', true
	}
	header, err := rd.Read()
	if err != nil {
		x.ps.add(t.pos, "its first line names the columns", "%q: %v", clip(name), err)
		return r, false
	}
	keep := make([]bool, len(header))
	for i, h := range header {
		h = strings.TrimSpace(h)
		if !isVariable(h) {
			x.ps.add(t.pos, "columns are variables: "+validVariable(h), "%s: column %q", clip(name), clip(h))
			return r, false
		}
		if keep[i] = h != l.key; keep[i] {
			r.names = append(r.names, h)
		} else if i > 0 {
			x.ps.add(t.pos, "call the variable something else; it stands for the first column",
				"%s: column %d is called %q like the variable", clip(name), i+1, h)
			return r, false
		}
	}
	for {
		rec, err := rd.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			x.ps.add(t.pos, "", "%s: %v", clip(name), err)
			return r, false
		}
		in := instance{rec[0], []value{one(rec[0])}}
		for i, v := range rec {
			if keep[i] {
				in.vals = append(in.vals, one(v))
			}
		}
		r.rows = append(r.rows, in)
	}
	if len(r.rows) == 0 {
		x.ps.add(t.pos, "", "%s has no rows below its header", clip(name))
		return r, false
	}
	return r, true
}

// where names the directory of the graph for messages.
func (x *expander) where() string {
	if x.env.Dir == "" {
		return "the graph file"
	}
	return fmt.Sprintf("%q", clip(x.env.Dir))
}
