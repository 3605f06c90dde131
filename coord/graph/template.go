package graph

import (
	"strings"
)

// A tmpl is a string of the graph file in which {{name}} stands for a variable.
type tmpl struct {
	raw   string
	parts []part // nil if there is no variable in raw
	pos          // line 0: the key is not in the file
}

// A part of a template is text, or the name of a variable.
type part struct{ lit, name string }

// set reports whether the file has the key.
func (t *tmpl) set() bool { return t.line > 0 }

// literal reports whether no variable is in t.
func (t *tmpl) literal() bool { return t.parts == nil }

// compile splits s at its variables.
func compile(s string, p pos) tmpl {
	t := tmpl{raw: s, pos: p}
	from := 0 // of the text not yet in parts
	for i := 0; ; {
		j := strings.Index(s[i:], "{{")
		if j < 0 {
			break
		}
		i += j
		name, n := variable(s[i:])
		if n == 0 {
			i++
			continue
		}
		if i > from {
			t.parts = append(t.parts, part{lit: s[from:i]})
		}
		t.parts = append(t.parts, part{name: name})
		i += n
		from = i
	}
	if t.parts != nil && from < len(s) {
		t.parts = append(t.parts, part{lit: s[from:]})
	}
	return t
}

// variable reads "{{name}}" at the start of s, with or without spaces around the name, and
// returns the name and the length; 0 if something else stands there.
func variable(s string) (name string, n int) {
	end := strings.Index(s, "}}")
	if end < 0 {
		return "", 0
	}
	name = strings.Trim(s[2:end], " ")
	if !isVariable(name) {
		return "", 0
	}
	return name, end + 2
}

// isVariable reports whether s can name a variable: as in C and the shell.
func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != "" && len(s) <= 100
}

// A value is what a variable stands for: one string, or a list of them (a chunk).
type value struct {
	one    string
	many   []string
	isList bool
}

func one(s string) value       { return value{one: s} }
func many(list []string) value { return value{many: list, isList: true} }

// String returns the value as one string, the elements of a list separated by sep.
func (v value) join(sep string) string {
	if v.isList {
		return strings.Join(v.many, sep)
	}
	return v.one
}

// A scope is the variables that templates see.
type scope struct {
	names  []string // of the instance
	vals   []value  // of names
	params map[string]value
}

func (s *scope) lookup(name string) (value, bool) {
	for i, n := range s.names {
		if n == name {
			return s.vals[i], true
		}
	}
	v, ok := s.params[name]
	return v, ok
}

// known returns the names in s, for messages.
func (s *scope) known(params []string) []string {
	return append(append([]string(nil), s.names...), params...)
}

// text returns t with its variables filled in; check has seen that they exist.
func (s *scope) text(t *tmpl) string {
	if t.literal() {
		return t.raw
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.lit)
			continue
		}
		v, _ := s.lookup(p.name)
		b.WriteString(v.join(" "))
	}
	return b.String()
}

// words returns the strings that the list element t stands for: several if it is exactly one
// variable that is a list.
func (s *scope) words(t *tmpl) []string {
	if len(t.parts) == 1 && t.parts[0].name != "" {
		if v, _ := s.lookup(t.parts[0].name); v.isList {
			return v.many
		}
	}
	return []string{s.text(t)}
}
