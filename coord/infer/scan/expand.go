package scan

// An expansion replaces macros in tokens by Prosser's algorithm with hide sets
// (https://www.spinellis.gr/blog/20060626/cpp.algo.pdf), which gives what gcc and clang give
// wherever the standards say what that is. Its stack holds what is yet to be read: the last
// element first.
type expansion struct {
	p     *pass
	cond  bool // operands of defined are left alone
	depth int  // expansions of arguments around this one
	stack [][]token
	out   []token
}

// expand returns in with its macros expanded. The slices it returns share nothing that it writes.
func (p *pass) expand(in []token, cond bool, depth int) []token {
	if depth > maxNested {
		p.refuse("macros nested too deeply")
		return nil
	}
	if p.plain(in) {
		return in[:len(in):len(in)]
	}
	x := expansion{p: p, cond: cond, depth: depth, stack: [][]token{in}, out: make([]token, 0, len(in)+8)}
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

// plain reports whether nothing in ts can be expanded, as in most conditions. Names after
// defined need no look: they may be macros, but then the slow way leaves them alone.
func (p *pass) plain(ts []token) bool {
	for i := range ts {
		if ts[i].kind == tokName && p.macro(ts[i].id) != nil && !p.afterDefined(ts, i) || ts[i].kind == tokHas {
			return false
		}
	}
	return true
}

func (p *pass) afterDefined(ts []token, i int) bool {
	return i > 0 && ts[i-1].id == p.c.defined && ts[i-1].kind == tokName ||
		i > 1 && ts[i-1].is("(") && ts[i-2].id == p.c.defined && ts[i-2].kind == tokName
}

func (x *expansion) next() (token, bool) {
	for n := len(x.stack); n > 0; n = len(x.stack) {
		top := x.stack[n-1]
		if len(top) > 0 {
			x.stack[n-1] = top[1:]
			return top[0], true
		}
		x.stack = x.stack[:n-1]
	}
	return token{}, false
}

// peek returns the token that next would return, or nil.
func (x *expansion) peek() *token {
	for i := len(x.stack) - 1; i >= 0; i-- {
		if len(x.stack[i]) > 0 {
			return &x.stack[i][0]
		}
	}
	return nil
}

func (x *expansion) push(ts []token) {
	if len(ts) > 0 {
		x.stack = append(x.stack, ts)
	}
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
	if m == nil || !x.p.step(t.hidden.len()) || t.hidden.has(t.id) {
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
		x.push(x.replace(m, t, nil, t.hidden.with(t.id)))
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

// call expands a function-like macro if an argument list follows. What hides the name alone does
// not hide the result: only what hides the closing parenthesis too, since a name made by one
// macro may take its arguments from outside of it (Boost.Preprocessor needs this).
func (x *expansion) call(m *macro, t token) {
	if o := x.peek(); o == nil || !o.is("(") {
		x.out = append(x.out, t)
		return
	}
	list, closing, ok := x.parenthesised()
	if !ok {
		x.p.refuse("unterminated arguments of macro " + m.name)
		return
	}
	args, ok := m.arguments(list)
	if !ok {
		x.p.refuse("wrong number of arguments of macro " + m.name)
		return
	}
	if !x.p.step(t.hidden.len() * (1 + closing.hidden.len())) {
		return
	}
	x.push(x.replace(m, t, args, t.hidden.intersect(closing.hidden).with(t.id)))
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
	default:
		x.p.refuse(m.name + " in a directive")
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
	case kind == hasRaw && !x.p.plain(operand):
		x.p.refuse("a macro in the operand of " + t.text)
	}
	x.out = append(append(append(x.out, open), operand...), closing)
}
