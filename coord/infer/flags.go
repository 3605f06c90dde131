package infer

import "strings"

// A form is how a flag and its operand are written; a flag may have several.
type form uint8

const (
	alone  form = 1 << iota // -c
	joined                  // -ofile
	apart                   // -o file
	equal                   // --output=file
)

// A role is what a flag means to us. Each tool has its own besides those here.
type role uint8

const (
	pass     role = iota // nothing: it and its operand pass through
	question             // the tool answers and does not work
	refuse               // what it reads or writes cannot be said
	reads                // its operand is a file that is read
	own                  // the first role of a tool's own
)

// A flag is a row of a table.
type flag struct {
	form form
	role role
	why  string // with refuse, the reason
}

// A table has the flags of a tool that are parsed.
type table map[string]flag

// add enters the names, which are separated by spaces. A name may come again with another form.
func (t table) add(form form, role role, names string) table {
	for name := range strings.FieldsSeq(names) {
		t[name] = flag{form: form | t[name].form, role: role}
	}
	return t
}

// refuse enters names of flags that make a call local, with the reason.
func (t table) refuse(form form, why, names string) table {
	for name := range strings.FieldsSeq(names) {
		t[name] = flag{form: form, role: refuse, why: why}
	}
	return t
}

// with returns a table of the rows of both.
func (t table) with(other table) table {
	all := make(table, len(t)+len(other))
	for name, f := range t {
		all[name] = f
	}
	for name, f := range other {
		all[name] = f
	}
	return all
}

// A use is a flag as it stands in a command line.
type use struct {
	flag
	name  string   // of the table's row
	words []string // the one or two that it takes
	value string   // its operand, "" without one
}

// find looks a flag up. Unknown ones are not ok. A flag whose operand is missing at the end of
// the line has the role refuse.
func (t table) find(words []string) (use, bool) {
	w := words[0]
	if f, ok := t[w]; ok && f.form&apart != 0 {
		if len(words) < 2 {
			if f.form&alone != 0 {
				return use{f, w, words[:1], ""}, true
			}
			return use{flag{f.form, refuse, w + " lacks its operand"}, w, words[:1], ""}, true
		}
		return use{f, w, words[:2], words[1]}, true
	} else if ok && f.form&alone != 0 {
		return use{f, w, words[:1], ""}, true
	}
	if name, value, ok := strings.Cut(w, "="); ok {
		if f, known := t[name]; known && f.form&equal != 0 {
			return use{f, name, words[:1], value}, true
		}
	}
	for n := min(len(w)-1, longestJoined); n > 1; n-- {
		if f, ok := t[w[:n]]; ok && f.form&joined != 0 {
			return use{f, w[:n], words[:1], w[n:]}, true
		}
	}
	return use{}, false
}

// longestJoined bounds the search for flags that are written in one word with their operand:
// -iwithprefixbefore is the longest.
const longestJoined = 20
