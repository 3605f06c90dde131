package scan

import (
	"math/bits"
	"strconv"
	"strings"
)

// A number is a value of a condition: of intmax_t, or uintmax_t if unsigned, C11 6.10.1.
type number struct {
	v        int64
	unsigned bool
}

func truth(b bool) number {
	if b {
		return number{v: 1}
	}
	return number{}
}

// A condition is evaluated by precedence climbing over its expanded tokens.
type condition struct {
	p     *pass
	ts    []token
	skip  int // within operands that are not evaluated: && || ?:
	depth int
	bad   string // why it has no value
}

// holds evaluates the condition of #if or #elif. A condition that a compiler would not take
// refuses the unit: the compiler's message is wanted then.
func (p *pass) holds(e *expression) bool {
	c := condition{p: p, ts: p.expand(e.tokens(p.c.names), true, 0)}
	if p.refused != "" {
		return false
	}
	v := c.comma()
	if len(c.ts) > 0 {
		c.fail("something is left over")
	}
	if c.bad != "" {
		p.refuse("#if " + clip(e.text) + ": " + c.bad)
		return false
	}
	return v.v != 0
}

func clip(s string) string {
	const longest = 80
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "?") + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

func (c *condition) fail(why string) {
	if c.bad == "" {
		c.bad = why
	}
	c.ts = nil
}

// alternatives are operators of C++ that are spelled as names.
var alternatives = map[string]string{"and": "&&", "or": "||", "not": "!", "compl": "~", "bitand": "&", "bitor": "|", "xor": "^", "not_eq": "!="}

// op returns the operator or parenthesis at the front, or "".
func (c *condition) op() string {
	if len(c.ts) == 0 {
		return ""
	}
	switch t := &c.ts[0]; {
	case t.kind == tokPunct:
		return t.text
	case t.kind == tokName && c.p.probe.cplus:
		return alternatives[t.text]
	}
	return ""
}

func (c *condition) take(op string) bool {
	if c.op() != op {
		return false
	}
	c.ts = c.ts[1:]
	return true
}

func (c *condition) comma() number {
	v := c.ternary()
	for c.take(",") {
		v = c.ternary()
	}
	return v
}

func (c *condition) ternary() number {
	cond := c.binary(1)
	if !c.take("?") {
		return cond
	}
	if c.depth++; c.depth > maxNested {
		c.fail("nested too deeply")
		return cond
	}
	defer func() { c.depth-- }()
	yes := c.unevaluated(cond.v == 0, c.comma)
	if !c.take(":") {
		c.fail("? without :")
	}
	no := c.unevaluated(cond.v != 0, c.ternary)
	v := no
	if cond.v != 0 {
		v = yes
	}
	v.unsigned = yes.unsigned || no.unsigned
	return v
}

// unevaluated parses an operand; if not, its value does not matter, nor what it would ask.
func (c *condition) unevaluated(not bool, parse func() number) number {
	if not {
		c.skip++
		defer func() { c.skip-- }()
	}
	return parse()
}

var precedence = map[string]int{
	"||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7,
	"<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}

func (c *condition) binary(lowest int) number {
	l, ok := c.counters(lowest)
	if !ok {
		l = c.unary()
	}
	for {
		op := c.op()
		prec := precedence[op]
		if prec < lowest || prec == 0 {
			return l
		}
		c.ts = c.ts[1:]
		short := op == "||" && l.v != 0 || op == "&&" && l.v == 0
		r := c.unevaluated(short, func() number { return c.binary(prec + 1) })
		l = c.apply(op, l, r)
	}
}

// counters takes __COUNTER__ != __COUNTER__, by which gnulib asks whether it counts: no value is known,
// but two are never the same.
func (c *condition) counters(lowest int) (number, bool) {
	const equality = "!="
	counts := func(t token) bool { return t.kind == tokHas && t.text == "__COUNTER__" }
	if len(c.ts) < 3 || lowest > precedence[equality] || !counts(c.ts[0]) || !counts(c.ts[2]) {
		return number{}, false
	}
	op := c.ts[1].text
	if op != equality && op != "==" || len(c.ts) > 3 && precedence[c.ts[3].text] > precedence[equality] {
		return number{}, false
	}
	c.ts = c.ts[3:]
	return truth(op == equality), true
}

func (c *condition) apply(op string, l, r number) number {
	switch op {
	case "||":
		return truth(l.v != 0 || r.v != 0)
	case "&&":
		return truth(l.v != 0 && r.v != 0)
	case "<<":
		return shift(l, r, false)
	case ">>":
		return shift(l, r, true)
	}
	unsigned := l.unsigned || r.unsigned
	switch op {
	case "==":
		return truth(l.v == r.v)
	case "!=":
		return truth(l.v != r.v)
	case "<":
		return truth(less(l.v, r.v, unsigned))
	case ">":
		return truth(less(r.v, l.v, unsigned))
	case "<=":
		return truth(!less(r.v, l.v, unsigned))
	case ">=":
		return truth(!less(l.v, r.v, unsigned))
	case "/", "%":
		return c.divide(op, l.v, r.v, unsigned)
	}
	return number{arithmetic(op, l.v, r.v), unsigned}
}

func arithmetic(op string, l, r int64) int64 {
	switch op {
	case "|":
		return l | r
	case "^":
		return l ^ r
	case "&":
		return l & r
	case "+":
		return l + r
	case "-":
		return l - r
	}
	return l * r
}

func less(l, r int64, unsigned bool) bool {
	if unsigned {
		return uint64(l) < uint64(r)
	}
	return l < r
}

func (c *condition) divide(op string, l, r int64, unsigned bool) number {
	switch {
	case r == 0:
		if c.skip == 0 {
			c.fail("division by zero")
		}
		return number{0, unsigned}
	case unsigned:
		q, rem := bits.Div64(0, uint64(l), uint64(r))
		if op == "/" {
			return number{int64(q), true}
		}
		return number{int64(rem), true}
	case op == "/":
		return number{v: l / r}
	}
	return number{v: l % r}
}

// shift shifts as gcc's libcpp: by a negative number the other way.
func shift(l, r number, right bool) number {
	n := uint64(r.v)
	if !r.unsigned && r.v < 0 {
		right, n = !right, -n
	}
	switch {
	case !right:
		return number{int64(uint64(l.v) << n), l.unsigned}
	case l.unsigned:
		return number{int64(uint64(l.v) >> n), true}
	}
	return number{l.v >> n, false}
}

func (c *condition) unary() number {
	if len(c.ts) == 0 {
		c.fail("an operand is missing")
		return number{}
	}
	if c.depth++; c.depth > maxNested {
		c.fail("nested too deeply")
		return number{}
	}
	defer func() { c.depth-- }()
	op, t := c.op(), c.ts[0]
	c.ts = c.ts[1:]
	switch op {
	case "(":
		v := c.comma()
		if !c.take(")") {
			c.fail("a ) is missing")
		}
		return v
	case "!":
		return truth(c.unary().v == 0)
	case "-":
		v := c.unary()
		return number{-v.v, v.unsigned}
	case "~":
		v := c.unary()
		return number{^v.v, v.unsigned}
	case "+":
		return c.unary()
	}
	return c.operand(t)
}

func (c *condition) operand(t token) number {
	switch t.kind {
	case tokNumber:
		return c.integer(t.text)
	case tokChar:
		return c.character(t.text)
	case tokHas:
		return c.has(t)
	case tokName:
		if t.id == c.p.c.defined {
			return c.defined()
		}
		return truth(t.text == "true" && c.p.probe.trueKnown)
	}
	c.fail("unexpected " + strconv.Quote(clip(t.text)))
	return number{}
}

func (c *condition) defined() number {
	paren := c.take("(")
	if len(c.ts) == 0 || c.ts[0].kind != tokName && c.ts[0].kind != tokHas {
		c.fail("defined without a name")
		return number{}
	}
	id := c.ts[0].id
	c.ts = c.ts[1:]
	if paren && !c.take(")") {
		c.fail("a ) is missing")
	}
	return truth(c.p.macro(id) != nil)
}

// integer reads a number, C11 6.4.4.1, with C++14's separators and GNU's binary digits.
func (c *condition) integer(text string) number {
	s := strings.ToLower(strings.ReplaceAll(text, "'", ""))
	digits := strings.TrimRight(s, "ulz")
	suffix := s[len(digits):]
	unsigned := strings.Contains(suffix, "u")
	if strings.ContainsAny(digits, "_.o") || strings.Count(suffix, "u") > 1 || len(suffix) > 3 {
		c.fail("not an integer: " + clip(text))
		return number{}
	}
	v, err := strconv.ParseUint(digits, 0, 64)
	if err != nil {
		c.fail("not an integer: " + clip(text))
	}
	return number{int64(v), unsigned || int64(v) < 0}
}
