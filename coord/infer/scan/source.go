package scan

import (
	"bytes"
	"strings"
	"sync/atomic"
)

type directiveKind uint8

const (
	include     directiveKind = iota
	includeNext               // #include_next
	importOnce                // #import
	embed                     // #embed
	ifExpr                    // #if
	ifDefined                 // #ifdef
	ifUndefined               // #ifndef
	elifExpr                  // #elif, #elifdef and #elifndef too
	elseGroup
	endGroup
	define
	undefine
	once      // #pragma once
	pushMacro // #pragma push_macro("X")
	popMacro
	systemHeader // #pragma GCC system_header
)

// A directive is one line that begins with #.
type directive struct {
	kind  directiveKind
	angle bool        // <arg>, not "arg"
	next  int32       // of a conditional: index of the next #elif, #else or #endif of the same group
	id    nameID      // of #ifdef, #undef, push_macro ...
	arg   string      // a header's name
	expr  *expression // a condition, or what computes a header's name
	macro *macro
}

// An expression is text that macros are expanded in.
type expression struct {
	text  string
	mode  lexMode
	lexed atomic.Pointer[[]token]
}

// tokens returns the text's tokens, which are made when they are first asked for.
func (e *expression) tokens(n *names) []token {
	if ts := e.lexed.Load(); ts != nil {
		return *ts
	}
	ts := tokenise(e.text, n, e.mode, true)
	e.lexed.Store(&ts)
	return ts
}

// A source has what one file says to the preprocessor. It depends on no macro, so it is made
// once a file. It is immutable.
type source struct {
	directives []directive
	size       int
	hints      []string // questions to the compiler that conditions may ask
	renumbers  bool     // #line is in it
	slashes    bool     // a // is in a directive that counts, or hides the begin of a comment
	trigraphs  bool     // ??= or ??/ is in it
	dated      bool     // it may ask for the time of the compilation
	stamped    bool     // it may ask for its own time
	opaque     string   // why files may be read through it that are not seen here
}

// parseSource finds every directive of a file.
func parseSource(s []byte, n *names, mode lexMode) *source {
	p := parser{src: &source{size: len(s), opaque: opacity(s)}, names: n, mode: mode}
	p.src.trigraphs = bytes.Contains(s, []byte("??=")) || bytes.Contains(s, []byte("??/"))
	p.src.dated = bytes.Contains(s, []byte("__DATE__")) || bytes.Contains(s, []byte("__TIME__"))
	p.src.stamped = bytes.Contains(s, []byte("__TIMESTAMP__"))
	i := 0
	if bytes.HasPrefix(s, []byte("\xef\xbb\xbf")) {
		i = 3
	}
	for i < len(s) {
		i = p.logicalLine(s, i)
	}
	for _, k := range p.open {
		p.src.directives[k].next = int32(len(p.src.directives))
	}
	if len(p.open) > 0 {
		p.broken("unterminated conditional")
	}
	if p.pragmas != pushes(s) && p.src.opaque == "" {
		p.src.opaque = "push_macro outside of #pragma"
	}
	return p.src
}

type parser struct {
	src     *source
	names   *names
	mode    lexMode
	line    line
	open    []int32 // the last directive of each conditional that is not closed
	pragmas int     // of push_macro and pop_macro
}

func (p *parser) broken(why string) {
	if p.src.opaque == "" {
		p.src.opaque = why
	}
}

// logicalLine takes the line at s[i] and returns where the next one begins. What stands in
// literals and comments that span lines belongs to the line in which they begin.
func (p *parser) logicalLine(s []byte, i int) int {
	i = skipBlanks(s, i)
	if n := p.hash(s, i); n > 0 {
		p.line.text, p.line.slashes = p.line.text[:0], false
		i = p.line.gather(s, i+n, p.mode)
		p.directive(string(bytes.TrimSpace(p.line.text)))
		return i + 1
	}
	for i < len(s) {
		switch c := s[i]; {
		case !special[c]:
			i++
		case c == '\n':
			return i + 1
		case c == '\\':
			i += max(1, splice(s, i))
		case c == '/':
			end := comment(s, i)
			if end > i && s[spliced(s, i+1)] == '/' && bytes.Contains(s[i:end], []byte("/*")) {
				p.src.slashes = true
			}
			i = max(i+1, end)
		default:
			i = literal(s, i, p.mode)
		}
	}
	return i
}

var special = [256]bool{'\n': true, '\\': true, '/': true, '"': true, '\'': true}

// skipBlanks skips what may stand before a #: blanks, comments and splices.
func skipBlanks(s []byte, i int) int {
	for i < len(s) {
		switch c := s[i]; {
		case isBlank(c):
			i++
		case c == '\\' && splice(s, i) > 0:
			i += splice(s, i)
		case c == '/' && blockComment(s, i) > i:
			i = blockComment(s, i)
		default:
			return i
		}
	}
	return i
}

// blockComment is comment for those that may end before the line does.
func blockComment(s []byte, i int) int {
	if j := spliced(s, i+1); j < len(s) && s[j] == '*' {
		return comment(s, i)
	}
	return i
}

// hash returns the length of the # at s[i], or 0.
func (p *parser) hash(s []byte, i int) int {
	switch {
	case i < len(s) && s[i] == '#':
		return 1
	case p.mode&lexDigraph != 0 && bytes.HasPrefix(s[i:], []byte("%:")):
		return 2
	}
	return 0
}

func (p *parser) directive(text string) {
	word := leadingName(text)
	arg := strings.TrimSpace(text[len(word):])
	switch word {
	case "include", "include_next", "import", "embed":
		p.add(p.header(word, arg), true)
	case "if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif":
		p.conditional(word, arg)
	case "define":
		m := parseMacro(arg, p.names, p.mode)
		p.add(directive{kind: define, id: m.id, macro: m}, true)
	case "undef":
		p.add(directive{kind: undefine, id: p.names.id(leadingName(arg))}, false)
	case "pragma":
		p.pragma(arg)
	case "line":
		p.src.renumbers = true
	}
}

// add appends a directive; counts says whether a // in it would matter.
func (p *parser) add(d directive, counts bool) {
	p.src.slashes = p.src.slashes || counts && p.line.slashes
	p.src.directives = append(p.src.directives, d)
}

func (p *parser) header(word, arg string) directive {
	kind := map[string]directiveKind{"include_next": includeNext, "import": importOnce, "embed": embed}[word]
	if name, angle, ok := quotedName(arg); ok {
		return directive{kind: kind, arg: name, angle: angle}
	}
	return directive{kind: kind, expr: &expression{text: arg, mode: p.mode}}
}

// quotedName takes the name out of "name" or <name>. No escapes are known there.
func quotedName(s string) (name string, angle, ok bool) {
	if len(s) < 3 || s[0] != '"' && s[0] != '<' {
		return "", false, false
	}
	end := byte('"')
	if s[0] == '<' {
		end = '>'
	}
	e := strings.IndexByte(s[1:], end)
	return s[1:max(1, 1+e)], s[0] == '<', e > 0
}

// conditional links a directive with those before it in its group, so that a group that is
// skipped costs one step.
func (p *parser) conditional(word, arg string) {
	if strings.HasPrefix(word, "elif") && len(word) > len("elif") {
		if p.mode&lexElifdef == 0 {
			return // no directive there
		}
		arg = map[string]string{"elifdef": "defined ", "elifndef": "!defined "}[word] + arg
		word = "elif"
	}
	if strings.Contains(arg, "has_") || strings.Contains(arg, "HAS_") {
		p.src.hints = append(p.src.hints, hints(arg)...)
	}
	here := int32(len(p.src.directives))
	var d directive
	switch word {
	case "if":
		d.kind, d.expr = ifExpr, &expression{text: arg, mode: p.mode}
	case "ifdef", "ifndef":
		d.kind, d.id = ifDefined, p.names.id(leadingName(arg))
		if word == "ifndef" {
			d.kind = ifUndefined
		}
	case "elif":
		d.kind, d.expr = elifExpr, &expression{text: arg, mode: p.mode}
	case "else":
		d.kind = elseGroup
	case "endif":
		d.kind = endGroup
	}
	last := len(p.open) - 1
	switch {
	case d.kind == ifExpr || d.kind == ifDefined || d.kind == ifUndefined:
		p.open = append(p.open, here)
	case last < 0:
		p.broken("#" + word + " without #if")
		return
	default:
		before := &p.src.directives[p.open[last]]
		if before.kind == elseGroup && d.kind != endGroup {
			p.broken("#" + word + " after #else")
		}
		before.next, p.open[last] = here, here
		if d.kind == endGroup {
			p.open = p.open[:last]
		}
	}
	p.add(d, word == "if" || word == "elif")
}

func (p *parser) pragma(arg string) {
	word := leadingName(arg)
	if word == "GCC" || word == "clang" {
		arg = strings.TrimSpace(arg[len(word):])
		word = leadingName(arg)
	}
	switch word {
	case "once":
		p.add(directive{kind: once}, false)
	case "system_header":
		p.add(directive{kind: systemHeader}, false)
	case "push_macro", "pop_macro":
		p.pragmas++
		parts := strings.Split(arg, `"`)
		if len(parts) != 3 {
			p.broken("malformed #pragma " + word)
			return
		}
		kind := pushMacro
		if word == "pop_macro" {
			kind = popMacro
		}
		p.add(directive{kind: kind, id: p.names.id(parts[1])}, false)
	case "dependency", "module", "include_alias":
		p.broken("#pragma " + word)
	}
}
