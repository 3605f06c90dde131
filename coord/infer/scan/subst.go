package scan

import (
	"slices"
	"strings"
)

// A call is one use of a macro: its arguments as given, and expanded where they are needed so.
type call struct {
	x        *expansion
	m        *macro
	args     [][]token
	expanded [][]token
}

// replace returns what a use of m comes to before it is read again.
func (x *expansion) replace(m *macro, args [][]token) []token {
	body := m.tokens(x.p.c.names)
	if !m.function && !m.special {
		return body
	}
	c := call{x: x, m: m, args: args, expanded: make([][]token, len(args))}
	if !m.special {
		return c.simple(body)
	}
	return slices.DeleteFunc(c.substitute(body), func(t token) bool { return t.kind == tokPlace })
}

// simple is substitute for a body without #, ## and __VA_OPT__, as most are.
func (c *call) simple(body []token) []token {
	out := make([]token, 0, len(body)+8)
	for i := range body {
		if n := body[i].param; n > 0 {
			out = append(out, c.arg(int(n)-1)...)
		} else {
			out = append(out, body[i])
		}
		if !c.x.p.step(1) || len(out) > maxTokens {
			c.x.p.refuse("macros expand to too much")
			return nil
		}
	}
	return out
}

// substitute puts the arguments in place of the parameters.
func (c *call) substitute(body []token) (out []token) {
	for i := 0; i < len(body) && c.x.p.step(1); {
		left, n := c.element(body[i:], c.pasteAt(body, i))
		i += n
		for i+1 < len(body) && body[i].kind == tokPaste {
			right, n := c.element(body[i+1:], true)
			left = c.join(left, right, &body[i+1])
			i += 1 + n
		}
		if len(out)+len(left) > maxTokens {
			c.x.p.refuse("macros expand to too much")
			return nil
		}
		out = append(out, left...)
	}
	return out
}

// pasteAt reports whether ## follows the element at body[i].
func (c *call) pasteAt(body []token, i int) bool {
	_, n := c.extent(body[i:])
	return i+n < len(body) && body[i+n].kind == tokPaste
}

// extent returns what the element at the front of body is and how many tokens it takes.
func (c *call) extent(body []token) (kind elementKind, n int) {
	t := &body[0]
	switch {
	case c.m.function && t.is("#") && len(body) > 1 && body[1].param > 0:
		return elementString, 2
	case c.m.function && t.is("#") && len(body) > 1 && body[1].text == "__VA_OPT__":
		return elementUnknown, 1
	case t.param > 0:
		return elementParam, 1
	case c.m.variadic && t.kind == tokName && t.text == "__VA_OPT__":
		if n := matching(body[1:]); n > 0 {
			return elementOpt, 1 + n
		}
		return elementUnknown, 1
	}
	return elementToken, 1
}

type elementKind uint8

const (
	elementToken   elementKind = iota
	elementParam               // a parameter
	elementString              // # and a parameter
	elementOpt                 // __VA_OPT__( ... ), C23 6.10.4.1
	elementUnknown             // what is not done here
)

// matching returns how many tokens the parenthesised list at the front takes, or 0.
func matching(body []token) int {
	if len(body) == 0 || !body[0].is("(") {
		return 0
	}
	depth := 0
	for i := range body {
		if body[i].is("(") {
			depth++
		} else if body[i].is(")") {
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// element returns what the element at the front of body stands for, and its length. An operand of
// ## is not expanded, and tokPlace stands for an empty one.
func (c *call) element(body []token, pasted bool) ([]token, int) {
	kind, n := c.extent(body)
	switch kind {
	case elementString:
		arg := c.args[body[1].param-1]
		c.refuseHas(arg)
		s := token{kind: tokString, blank: body[0].blank, text: quote(arg)}
		return []token{s}, n
	case elementParam:
		return c.argument(&body[0], pasted), n
	case elementOpt:
		var inner []token
		if len(c.arg(len(c.args)-1)) > 0 {
			inner = c.substitute(body[2 : n-1])
		}
		return orPlace(inner, pasted, body[0].blank), n
	case elementUnknown:
		c.x.p.refuse("unusual __VA_OPT__ in macro " + c.m.name)
	}
	return []token{body[0]}, n
}

// argument returns a copy of the argument that a parameter stands for.
func (c *call) argument(param *token, pasted bool) []token {
	from := c.args[param.param-1]
	if !pasted {
		from = c.arg(int(param.param) - 1)
	}
	return orPlace(append(make([]token, 0, len(from)+1), from...), pasted, param.blank)
}

func orPlace(ts []token, pasted, blank bool) []token {
	if len(ts) == 0 && pasted {
		return []token{{kind: tokPlace, blank: blank}}
	}
	return ts
}

// arg returns an expanded argument.
func (c *call) arg(i int) []token {
	if c.expanded[i] == nil {
		if e := c.x.p.expand(c.args[i], false, c.x.depth+1); e != nil {
			c.expanded[i] = e
		} else {
			c.expanded[i] = []token{}
		}
	}
	return c.expanded[i]
}

// join carries out ##. A comma before a variadic argument is GNU's: it goes if that is missing,
// and is not pasted. gcc lets it go also if the only parameter is empty, but not with -std=c99
// and its like.
func (c *call) join(left, right []token, operand *token) []token {
	last := len(left) - 1
	if last >= 0 && left[last].is(",") && c.m.variadic && int(operand.param) == len(c.m.params) {
		missing := c.args[len(c.args)-1] == nil || len(c.args) == 1 && len(c.args[0]) == 0 && !c.x.p.probe.strict
		if missing {
			return left[:last]
		}
		return append(left, right...)
	}
	if last < 0 || len(right) == 0 {
		return append(left, right...)
	}
	return append(append(left[:last:last], c.paste(left[last], right[0])...), right[1:]...)
}

// paste makes one token of two. gcc and clang call it an error if the text is more than one,
// but not in assembly.
func (c *call) paste(l, r token) []token {
	switch {
	case l.kind == tokPlace:
		r.blank = l.blank
		return []token{r}
	case r.kind == tokPlace:
		return []token{l}
	}
	c.refuseHas([]token{l, r})
	ts := tokenise(l.text+r.text, c.x.p.c.names, c.m.mode, false)
	if len(ts) != 1 && !c.x.p.probe.assembly {
		c.x.p.refuse("## makes no token in macro " + c.m.name)
	}
	if len(ts) > 0 {
		ts[0].blank = l.blank
	}
	return ts
}

// refuseHas refuses operands of # and ## whose values are not known before the condition is
// evaluated.
func (c *call) refuseHas(ts []token) {
	for i := range ts {
		if ts[i].kind == tokHas {
			c.x.p.refuse(ts[i].text + " as an operand of # or ##")
		}
	}
}

// quote carries out #, C11 6.10.3.2: only within literals are quotes and backslashes escaped.
func quote(ts []token) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range ts {
		if ts[i].blank && i > 0 {
			b.WriteByte(' ')
		}
		if k := ts[i].kind; k == tokString || k == tokChar {
			b.WriteString(escaper.Replace(ts[i].text))
		} else {
			b.WriteString(ts[i].text)
		}
	}
	b.WriteByte('"')
	return b.String()
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
