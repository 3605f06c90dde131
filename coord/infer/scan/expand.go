package scan

// An expansion replaces macros in tokens as gcc's libcpp does (cpp_get_token_1 and
// enter_macro_context of macro.cc): a macro is off while its replacement is being read, and a name
// that is met while it is off is spent. That is what the standards ask for where they ask, and
// what libraries rely on where they do not: with hide sets, which tokens keep, deferred recursion
// would end too early.
type expansion struct {
	p     *pass
	cond  bool // operands of defined are left alone
	depth int  // expansions of arguments around this one
	stack []reading
	out   []token
}

// A reading is tokens yet to be read, and the macro that is off until they are.
type reading struct {
	ts      []token
	macro   nameID
	respace bool // the first token has the blank of the macro's name
	blank   bool
}

// expand returns in with its macros expanded. Nothing of in is written to.
func (p *pass) expand(in []token, cond bool, depth int) []token {
	if depth > maxNested {
		p.refuse("macros nested too deeply")
		return nil
	}
	if p.plain(in, cond) {
		return in[:len(in):len(in)]
	}
	x := expansion{p: p, cond: cond, depth: depth, stack: []reading{{ts: in}}, out: make([]token, 0, len(in)+8)}
	for p.refused == "" {
		t, ok := x.next()
		if !ok {
			return x.out
		}
		if len(x.out) > maxTokens || !p.step(1) {
			p.refuse("macros expand to too much")
			return nil
		}
		x.token(t)
	}
	return nil
}

// plain reports whether nothing in ts can be expanded, as in most conditions: there the operands
// of defined may be macros.
func (p *pass) plain(ts []token, cond bool) bool {
	for i := range ts {
		if ts[i].kind == tokHas || ts[i].kind == tokName && p.macro(ts[i].id) != nil && !(cond && p.afterDefined(ts, i)) {
			return false
		}
	}
	return true
}

func (p *pass) afterDefined(ts []token, i int) bool {
	return i > 0 && ts[i-1].id == p.c.defined && ts[i-1].kind == tokName ||
		i > 1 && ts[i-1].is("(") && ts[i-2].id == p.c.defined && ts[i-2].kind == tokName
}

// peek returns the token that next would return, or nil. Readings at their end are left, and
// their macros may be used again.
func (x *expansion) peek() *token {
	for n := len(x.stack); n > 0; n = len(x.stack) {
		top := &x.stack[n-1]
		if len(top.ts) > 0 {
			return &top.ts[0]
		}
		delete(x.p.off, top.macro)
		x.stack = x.stack[:n-1]
	}
	return nil
}

func (x *expansion) next() (token, bool) {
	o := x.peek()
	if o == nil {
		return token{}, false
	}
	t := *o
	top := &x.stack[len(x.stack)-1]
	if top.ts = top.ts[1:]; top.respace {
		t.blank, top.respace = top.blank, false
	}
	t.spent = t.spent || t.kind == tokName && x.p.off[t.id]
	return t, true
}

// read has the replacement of a macro read next.
func (x *expansion) read(ts []token, m *macro, name token) {
	x.p.off[m.id] = true
	x.stack = append(x.stack, reading{ts, m.id, true, name.blank})
}

// token handles one token of the input.
func (x *expansion) token(t token) {
	switch {
	case t.kind == tokHas:
		x.has(t, ordinary)
		return
	case t.kind != tokName:
		x.out = append(x.out, t)
		return
	case x.cond && t.id == x.p.c.defined:
		x.definedOperand(t)
		return
	}
	m := x.p.macro(t.id)
	if m == nil || t.spent {
		x.out = append(x.out, t)
		return
	}
	if m.bad != "" {
		x.p.refuse(m.bad)
		return
	}
	if m.builtin != ordinary {
		x.builtin(t, m)
		return
	}
	if !m.function {
		x.read(x.replace(m, nil), m, t)
		return
	}
	x.call(m, t)
}

// definedOperand passes on defined and its operand as they are.
func (x *expansion) definedOperand(t token) {
	x.out = append(x.out, t)
	n := 1
	if o := x.peek(); o != nil && o.is("(") {
		n = 3
	}
	for ; n > 0; n-- {
		if o, ok := x.next(); ok {
			x.out = append(x.out, o)
		}
	}
}

// call expands a function-like macro if an argument list follows, which may stand beyond the
// replacement that the name is in.
func (x *expansion) call(m *macro, t token) {
	if o := x.peek(); o == nil || !o.is("(") {
		x.out = append(x.out, t)
		return
	}
	list, _, ok := x.parenthesised()
	if !ok {
		x.p.refuse("unterminated arguments of macro " + m.name)
		return
	}
	args, ok := m.arguments(list)
	if !ok {
		x.p.refuse("wrong number of arguments of macro " + m.name)
		return
	}
	x.read(x.replace(m, args), m, t)
}

// parenthesised reads a list in parentheses, which begins with the next token, and returns what
// is within.
func (x *expansion) parenthesised() (list []token, closing token, ok bool) {
	depth := 0
	for x.p.step(1) {
		t, more := x.next()
		if !more {
			break
		}
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			if depth--; depth == 0 {
				return list[1:], t, true
			}
		}
		list = append(list, t)
	}
	return nil, token{}, false
}

// arguments parts a list at its commas. Of a variadic macro the last argument may be missing: it
// is then nil, where an empty one is not.
func (m *macro) arguments(list []token) (args [][]token, ok bool) {
	depth, begin := 0, 0
	for i := range list {
		switch t := &list[i]; {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.is(",") && depth == 0 && !(m.variadic && len(args) == len(m.params)-1):
			args, begin = append(args, list[begin:i:i]), i+1
		}
	}
	args = append(args, list[begin:len(list):len(list)])
	if m.variadic && len(args) == len(m.params)-1 {
		args = append(args, nil)
	}
	if len(m.params) == 0 {
		return nil, len(args) == 1 && len(args[0]) == 0
	}
	return args, len(args) == len(m.params)
}

// builtin expands what the compiler computes.
func (x *expansion) builtin(t token, m *macro) {
	switch m.builtin {
	case hasHeader, hasAnswer, hasRaw:
		x.has(t, m.builtin)
	case currentFile, baseFile, includeLevel:
		if b, ok := x.p.builtinValue(m.builtin); ok {
			b.blank = t.blank
			x.out = append(x.out, b)
		}
	default: // the condition may not come to evaluate it
		t.kind = tokHas
		x.out = append(x.out, t)
	}
}

// has passes on __has_include( ) and its like for the condition to decide, as it may not be
// asked at all. A tokHas went through here before. A header's name in <> or quotes is taken as it
// is, other operands of __has_include and those of __has_attribute are expanded.
func (x *expansion) has(t token, kind builtin) {
	t.kind = tokHas
	x.out = append(x.out, t)
	o := x.peek()
	if o == nil || !o.is("(") {
		return // in #ifdef and defined, else it is the condition's error
	}
	open := *o
	operand, closing, ok := x.parenthesised()
	if !ok {
		x.p.refuse("unterminated operand of " + t.text)
		return
	}
	switch {
	case kind == hasHeader && len(operand) > 0 && operand[0].kind != tokHeader && operand[0].kind != tokString, kind == hasAnswer:
		operand = x.p.expand(operand, false, x.depth+1)
	case kind == hasRaw && !x.p.plain(operand, false):
		x.p.refuse("a macro in the operand of " + t.text)
	}
	x.out = append(append(append(x.out, open), operand...), closing)
}
