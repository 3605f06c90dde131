package graph

import (
	"strconv"
	"strings"
)

// An instance is one of the thunks of a task.
type instance struct {
	key  string  // "" for the only one, and for the root of a reduce
	vals []value // of the task's variables
}

// A run is what a for variable runs over: some variables, and their values with keys.
type run struct {
	names []string
	rows  []instance
}

// instances returns the variables of t and its instances, but for a reduce: those depend on the
// task it reduces. ok is false if a problem was noted.
func (x *expander) instances(t *xtask) (ok bool) {
	switch {
	case t.count.set():
		return x.counted(t)
	case len(t.loops) == 0:
		t.insts = []instance{{}}
		return true
	}
	runs := make([]run, len(t.loops))
	total := 1
	for i := range t.loops {
		l := &t.loops[i]
		if runs[i], ok = x.source(l); !ok {
			return false
		}
		if runs[i].names[0] != l.key {
			panic("a run's first variable is its own")
		}
		for _, n := range runs[i].names {
			if !x.freeVariable(t, l.pos, n) {
				return false
			}
			t.names = append(t.names, n)
		}
		total *= len(runs[i].rows)
		if total > x.maxThunks {
			x.ps.add(t.pos, "fewer or larger chunks", "%d instances or more exceed the bound of %d", total, x.maxThunks)
			return false
		}
	}
	t.many = true
	t.insts = cross(runs, total)
	return x.uniqueKeys(t)
}

// cross is every combination of the rows, the last run varying fastest.
func cross(runs []run, total int) []instance {
	if len(runs) == 1 {
		return runs[0].rows
	}
	out := make([]instance, 0, total)
	idx := make([]int, len(runs))
	for range total {
		var in instance
		for i := range runs {
			r := runs[i].rows[idx[i]]
			if i > 0 {
				in.key += ","
			}
			in.key += keyEscaper.Replace(r.key)
			in.vals = append(in.vals, r.vals...)
		}
		out = append(out, in)
		for i := len(runs) - 1; i >= 0; i-- {
			if idx[i]++; idx[i] < len(runs[i].rows) {
				break
			}
			idx[i] = 0
		}
	}
	return out
}

// keyEscaper keeps the keys of several variables apart.
var keyEscaper = strings.NewReplacer("%", "%25", ",", "%2C")

func (x *expander) counted(t *xtask) bool {
	n, ok := x.number(&t.count, x.global(), 1, maxInstances)
	if !ok {
		return false
	}
	t.many = true
	t.names = []string{gaggleTask, gaggleIndex, gaggleCount}
	name, count := one(t.name), one(strconv.Itoa(n))
	t.insts = make([]instance, n)
	for i := range t.insts {
		key := strconv.Itoa(i)
		t.insts[i] = instance{key, []value{name, one(key), count}}
	}
	return true
}

// reserved reports whether the sandbox or gaggle gives a variable its meaning.
func reserved(name string) bool {
	switch name {
	case "PATH", "HOME", "TMPDIR", "TZ", "LC_ALL", "SOURCE_DATE_EPOCH", "IFS", "ENV", "BASH_ENV", "PWD", "SHELL", "USER", "LOGNAME", "HOSTNAME":
		return true
	}
	return strings.HasPrefix(name, "GAGGLE_") || strings.HasPrefix(name, "LD_")
}

// freeVariable checks that a for variable is nothing else already.
func (x *expander) freeVariable(t *xtask, p pos, name string) bool {
	_, isParam := x.params[name]
	switch {
	case reserved(name):
		x.ps.add(p, "call it something else", "variable %q has a meaning of its own: it would be in the environment", name)
	case isParam:
		x.ps.add(p, "call one of them something else", "%q is a parameter and a variable", name)
	case contains(t.names, name):
		x.ps.add(p, "call one of them something else", "there are two variables %q", name)
	case hasPair(t.env, name) || hasPair(x.f.defaults.env, name):
		x.ps.add(p, "call one of them something else", "%q is a variable, which is in the environment, and in env", name)
	default:
		return true
	}
	return false
}

func (x *expander) uniqueKeys(t *xtask) bool {
	seen := make(map[string]bool, len(t.insts))
	for i := range t.insts {
		k := t.insts[i].key
		if seen[k] {
			x.ps.add(t.pos, "every instance needs values of its own; of a csv the first column names the row",
				"two instances have the key %q", clip(k))
			return false
		}
		seen[k] = true
	}
	return true
}

// number fills in t and reads a whole number.
func (x *expander) number(t *tmpl, sc *scope, lo, hi int) (int, bool) {
	if !x.known(t, sc) {
		return 0, false
	}
	n, wrong := wholeNumber(sc.text(t), lo, hi)
	if wrong != "" {
		x.ps.add(t.pos, "", "%s", wrong)
		return 0, false
	}
	return n, true
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
