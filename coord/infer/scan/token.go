package scan

import "strings"

type tokenKind uint8

const (
	tokPunct  tokenKind = iota // also what is no token at all
	tokName                    // identifiers and keywords
	tokNumber                  // a preprocessing number
	tokString                  // with its prefix and quotes
	tokChar                    // with its prefix and quotes
	tokHeader                  // <...> after __has_include(
	tokPaste                   // ## of a macro's body
	tokPlace                   // an empty argument beside ##, C11 6.10.3.3
	tokHas                     // __has_include, __has_builtin and so on where they are the compiler's own
)

type token struct {
	kind  tokenKind
	blank bool   // a blank stands before it
	spent bool   // a name that was met within its own expansion: it stays as it is for good
	param int16  // in a macro's body: 1 + the number of the parameter that it names
	id    nameID // of a tokName or tokHas
	text  string
}

func (t *token) is(punct string) bool { return t.kind == tokPunct && t.text == punct }

// digraphs are other spellings of punctuators, C11 6.4.6.
var digraphs = map[string]string{"%:": "#", "%:%:": "##", "<:": "[", ":>": "]", "<%": "{", "%>": "}"}

// puncts are the longer punctuators, those of three characters first. "::" is not among them:
// where it matters it is spelled the same.
var puncts = strings.Fields("... <<= >>= && || == != <= >= << >> ## -> ++ -- += -= *= /= %= &= |= ^=")

// A tokeniser takes a directive's text apart. Its comments and splices are gone already.
type tokeniser struct {
	s     string
	b     []byte // s, once a literal was met
	i     int
	names *names
	mode  lexMode
	heads bool // <...> after __has_include( is one token
	out   []token
}

func tokenise(s string, n *names, mode lexMode, heads bool) []token {
	t := tokeniser{s: s, names: n, mode: mode, heads: heads}
	blank := false
	for t.i < len(s) {
		if c := s[t.i]; isBlank(c) || c == '\n' {
			blank = true
			t.i++
			continue
		}
		tok := t.next()
		tok.blank, blank = blank, false
		t.out = append(t.out, tok)
	}
	return t.out
}

func (t *tokeniser) next() token {
	s, b := t.s, t.i
	switch c := s[b]; {
	case isDigit(c), c == '.' && b+1 < len(s) && isDigit(s[b+1]):
		t.number()
		return token{kind: tokNumber, text: s[b:t.i]}
	case c == '"' || c == '\'':
		return t.quoted(b)
	case c == '<' && t.heads && t.wantsHeader():
		if e := strings.IndexByte(s[b:], '>'); e > 0 {
			t.i += e + 1
			return token{kind: tokHeader, text: s[b:t.i]}
		}
	case isName(c):
		for t.i < len(s) && isName(s[t.i]) {
			t.i++
		}
		if t.i < len(s) && (s[t.i] == '"' || s[t.i] == '\'') && literalPrefix(s[b:t.i]) {
			return t.quoted(b)
		}
		return token{kind: tokName, id: t.names.id(s[b:t.i]), text: s[b:t.i]}
	}
	t.punct()
	return token{kind: tokPunct, text: undigraph(s[b:t.i], t.mode)}
}

func undigraph(s string, mode lexMode) string {
	if d := digraphs[s]; d != "" && mode&lexDigraph != 0 {
		return d
	}
	return s
}

func (t *tokeniser) punct() {
	rest := t.s[t.i:]
	if t.mode&lexDigraph != 0 {
		for _, n := range []int{4, 2} {
			if len(rest) >= n && digraphs[rest[:n]] != "" {
				t.i += n
				return
			}
		}
	}
	for _, p := range puncts {
		if strings.HasPrefix(rest, p) {
			t.i += len(p)
			return
		}
	}
	t.i++
}

// number skips a preprocessing number, C11 6.4.8.
func (t *tokeniser) number() {
	for s := t.s; t.i < len(s); t.i++ {
		switch c := s[t.i]; {
		case isName(c), c == '.':
		case c == '\'' && t.mode&lexSeparator != 0 && t.i+1 < len(s) && isName(s[t.i+1]):
		case (c == '+' || c == '-') && strings.IndexByte("eEpP", s[t.i-1]) >= 0:
		default:
			return
		}
	}
}

// quoted takes a literal whose prefix begins at b and whose quote is the next character.
func (t *tokeniser) quoted(b int) token {
	kind := tokString
	if t.s[t.i] == '\'' {
		kind = tokChar
	}
	if t.b == nil {
		t.b = []byte(t.s)
	}
	t.i = literal(t.b, t.i, t.mode&^lexSeparator)
	return token{kind: kind, text: t.s[b:t.i]}
}

func literalPrefix(s string) bool {
	return s == "L" || s == "u" || s == "U" || s == "u8" || rawPrefix([]byte(s))
}

func (t *tokeniser) wantsHeader() bool {
	n := len(t.out)
	return n > 1 && t.out[n-1].is("(") && strings.HasPrefix(t.out[n-2].text, "__has_include")
}

// spell returns tokens as text, with a blank where there was any.
func spell(ts []token) string {
	var b strings.Builder
	for i := range ts {
		if ts[i].blank && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(ts[i].text)
	}
	return b.String()
}
