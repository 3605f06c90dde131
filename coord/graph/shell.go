package graph

import (
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A value put into a script must arrive as that value, whatever is in it and wherever in the
// script it stands. So the script is parsed once, with a token for each variable, which tells how
// each is quoted there:
//
//	cat {{x}}         cat 'a b'           its own quotes; a list is several words
//	echo "<{{x}}>"    echo "<\$HOME>"     backslashes before what double quotes leave special
//	awk '/{{x}}/'     awk '/it'\''s/'     the quotes are closed around a quote
//	cat <<E           as in double quotes, or as it is if the delimiter is quoted
//	# {{x}}           as it is, on one line
//
// In arithmetic, ${..}, backquotes, behind a backslash and in what does not parse only values
// of letters, digits and _./:@%+- can stand; others are an error that says so.

// A quoting is how a variable stands in a script.
type quoting uint8

const (
	asIs     quoting = iota // only harmless values
	unquoted                // a word or part of one
	single                  // in '..'
	double                  // in ".."
	here                    // in a here-document with expansions
	hereRaw                 // in one without
	comment
)

// A script is a template for a shell.
type script struct {
	*tmpl
	quotings []quoting      // of the variables of tmpl, in order
	ends     map[int]string // of those in a here-document, the line that ends it
}

// compileScript finds out how the variables of t stand in it.
func compileScript(t *tmpl, lang syntax.LangVariant) script {
	s := script{tmpl: t, ends: make(map[int]string)}
	if t.literal() {
		return s
	}
	mark := "gaggle"
	for strings.Contains(t.raw, mark) {
		mark += "X"
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.lit)
			continue
		}
		fmt.Fprintf(&b, "%s%dZ", mark, len(s.quotings))
		s.quotings = append(s.quotings, asIs)
	}
	f, err := parseScript(b.String(), lang)
	if err != nil {
		return s
	}
	var above []syntax.Node
	syntax.Walk(f, func(n syntax.Node) bool {
		if n == nil {
			above = above[:len(above)-1]
			return true
		}
		if text, q := quotingOf(n, above); text != "" {
			for i := range s.quotings {
				token := fmt.Sprintf("%s%dZ", mark, i)
				if j := strings.Index(text, token); j >= 0 && !(escapes(q) && escaped(text[:j])) {
					s.quotings[i] = q
					if q == here || q == hereRaw {
						s.ends[i] = delimiter(above)
					}
				}
			}
		}
		above = append(above, n)
		return true
	})
	return s
}

func parseScript(src string, lang syntax.LangVariant) (*syntax.File, error) {
	f, err := syntax.NewParser(syntax.Variant(lang), syntax.KeepComments(true)).Parse(strings.NewReader(src), "")
	if err != nil && lang == syntax.LangPOSIX {
		return parseScript(src, syntax.LangBash) // shells called sh know some of it
	}
	return f, err
}

// quotingOf returns the text of n, if it is a leaf, and how it is quoted below the nodes above.
func quotingOf(n syntax.Node, above []syntax.Node) (string, quoting) {
	switch n := n.(type) {
	case *syntax.Comment:
		return n.Text, comment
	case *syntax.SglQuoted:
		if n.Dollar {
			return n.Value, asIs
		}
		return n.Value, within(single, above)
	case *syntax.Lit:
		return n.Value, within(unquoted, above)
	}
	return "", asIs
}

// within refines how a leaf is quoted by what it stands in, from the inside out: the innermost
// quotes or document decide, but nothing helps inside backquotes, arithmetic or ${..}.
func within(q quoting, above []syntax.Node) quoting {
	decided := q != unquoted
	child := syntax.Node(nil)
	for _, n := range slices.Backward(above) {
		switch n := n.(type) {
		case *syntax.DblQuoted:
			if n.Dollar {
				return asIs
			}
			if !decided {
				q, decided = double, true
			}
		case *syntax.Redirect:
			if n.Hdoc != nil && child == syntax.Node(n.Hdoc) && !decided {
				q, decided = here, true
				if quotedDelimiter(n.Word) {
					q = hereRaw
				}
			}
		case *syntax.CmdSubst:
			if n.Backquotes {
				return asIs
			}
			decided = true
		case *syntax.ProcSubst:
			decided = true
		case *syntax.ParamExp, *syntax.ArithmExp, *syntax.ArithmCmd, *syntax.CStyleLoop, *syntax.LetClause, *syntax.ExtGlob, *syntax.BinaryArithm:
			return asIs
		}
		child = n
	}
	return q
}

// quotedDelimiter reports whether a here-document is without expansions.
func quotedDelimiter(w *syntax.Word) bool {
	return !slices.ContainsFunc(w.Parts, func(p syntax.WordPart) bool { _, lit := p.(*syntax.Lit); return lit }) ||
		len(w.Parts) > 1 || strings.Contains(w.Lit(), `\`)
}

// delimiter returns the line that ends the innermost here-document above.
func delimiter(above []syntax.Node) string {
	var b strings.Builder
	for _, n := range slices.Backward(above) {
		r, ok := n.(*syntax.Redirect)
		if !ok {
			continue
		}
		syntax.Walk(r.Word, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.Lit:
				b.WriteString(strings.ReplaceAll(n.Value, `\`, ""))
			case *syntax.SglQuoted:
				b.WriteString(n.Value)
			}
			return true
		})
		break
	}
	return b.String()
}

// escapes reports whether a backslash before a value would change what q writes.
func escapes(q quoting) bool { return q == unquoted || q == double || q == here }

// escaped reports whether what follows s is behind a backslash.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// text returns the script with the variables of sc. bad, if not empty, is the variable whose
// value cannot stand where it is.
func (s *script) text(sc *scope) (text, bad string) {
	if s.literal() {
		return s.raw, ""
	}
	var b strings.Builder
	i := 0
	var inHere []int // where variables in here-documents begin
	for _, p := range s.parts {
		if p.name == "" {
			b.WriteString(p.lit)
			continue
		}
		if _, ok := s.ends[i]; ok {
			inHere = append(inHere, b.Len(), i)
		}
		v, _ := sc.lookup(p.name)
		if !quote(&b, v, s.quotings[i]) {
			return "", p.name
		}
		i++
	}
	text = b.String()
	for p := range slices.Chunk(inHere, 2) {
		line := text[strings.LastIndexByte(text[:p[0]], '\n')+1:]
		line, _, _ = strings.Cut(line, "\n")
		if strings.TrimLeft(line, "\t") == s.ends[p[1]] {
			return "", s.variable(p[1]) // it would end the here-document
		}
	}
	return text, ""
}

// variable returns the name of the ith variable.
func (s *script) variable(i int) string {
	for _, p := range s.parts {
		if p.name == "" {
			continue
		}
		if i == 0 {
			return p.name
		}
		i--
	}
	return ""
}

var (
	singleEscaper = strings.NewReplacer(`'`, `'\''`)
	doubleEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
	hereEscaper   = strings.NewReplacer(`\`, `\\`, "$", `\$`, "`", "\\`")
	lineEscaper   = strings.NewReplacer("\n", " ", "\r", " ")
)

// quote writes v as it must stand; false if it cannot.
func quote(b *strings.Builder, v value, q quoting) bool {
	if q == unquoted && v.isList {
		for i, w := range v.many {
			if i > 0 {
				b.WriteByte(' ')
			}
			writeWord(b, w)
		}
		return true
	}
	s := v.join(" ")
	switch q {
	case unquoted:
		writeWord(b, s)
	case single:
		singleEscaper.WriteString(b, s)
	case double:
		doubleEscaper.WriteString(b, s)
	case here:
		hereEscaper.WriteString(b, s)
	case hereRaw:
		b.WriteString(s)
	case comment:
		lineEscaper.WriteString(b, s)
	case asIs:
		words := v.many
		if !v.isList {
			words = []string{s}
		}
		if slices.ContainsFunc(words, func(w string) bool { return !harmless(w) }) {
			return false
		}
		b.WriteString(s)
	}
	return q != here && q != hereRaw || !strings.Contains(s, "\n")
}

func writeWord(b *strings.Builder, s string) {
	if harmless(s) {
		b.WriteString(s)
		return
	}
	b.WriteByte('\'')
	singleEscaper.WriteString(b, s)
	b.WriteByte('\'')
}

// harmless reports whether s is the same word with and without quotes in any shell.
func harmless(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("_./:@%+-", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
