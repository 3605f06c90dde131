package scan

import (
	"slices"
	"strconv"
	"strings"
)

// has decides __has_include( ) and its like. __COUNTER__ and others that come here have no value.
func (c *condition) has(t token) number {
	n := matching(c.ts)
	if c.skip == 0 && (n == 0 || t.text == "__has_embed") {
		c.fail(t.text + " in a condition")
		return number{}
	}
	rest := c.ts
	if c.ts = rest[n:]; c.skip > 0 {
		return number{}
	}
	operand := rest[1 : n-1]
	if !strings.HasPrefix(t.text, "__has_include") {
		v, ok := c.p.answer(t.text, operand)
		if !ok {
			c.fail("the compiler has no answer to " + clip(t.text+"("+spell(operand)+")"))
		}
		return number{v: v}
	}
	name, angle, ok := headerName(operand)
	if !ok {
		c.fail(t.text + " of what is no header's name")
		return number{}
	}
	return truth(c.p.hasInclude(name, angle, t.text == "__has_include_next"))
}

// headerName takes a header's name from expanded tokens: a string without a prefix, or what
// stands from < to >. Compilers disagree on blanks there, so those are no name.
func headerName(ts []token) (name string, angle, ok bool) {
	if len(ts) == 0 {
		return "", false, false
	}
	switch t := &ts[0]; {
	case t.kind == tokString:
		name, angle, ok = quotedName(t.text)
		return name, angle, ok && !angle && len(ts) == 1 && len(name) == len(t.text)-2
	case t.kind == tokHeader:
		return quotedName(t.text)
	case !t.is("<"):
		return "", false, false
	}
	var b strings.Builder
	for i := 1; i < len(ts); i++ {
		if ts[i].is(">") {
			return b.String(), true, b.Len() > 0
		}
		if ts[i].blank {
			return "", false, false
		}
		b.WriteString(ts[i].text)
	}
	return "", false, false
}

// builtinValue returns what __FILE__ and its like expand to here.
func (p *pass) builtinValue(kind builtin) (token, bool) {
	switch kind {
	case includeLevel:
		return token{kind: tokNumber, text: strconv.Itoa(max(0, p.depth-1))}, true
	case baseFile:
		return token{kind: tokString, text: strconv.Quote(p.unit.Source)}, true
	}
	mapped := slices.ContainsFunc(p.unit.Flags, func(f string) bool { return strings.Contains(f, "-prefix-map=") })
	if name, ok := p.at.spelled(p); ok && !mapped && !p.at.file.src.renumbers {
		return token{kind: tokString, text: strconv.Quote(name)}, true
	}
	p.refuse("__FILE__ in a directive")
	return token{}, false
}
