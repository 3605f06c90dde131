package scan

import "bytes"

// A lexMode says what of the text depends on language and standard. A file's directives are kept
// for each mode that it was read in.
type lexMode uint8

const (
	lexRaw       lexMode = 1 << iota // raw strings, R"(...)"
	lexSeparator                     // digit separators, 1'000
	lexDigraph                       // %: for #
	lexElifdef                       // #elifdef and #elifndef
)

// isName reports whether c can stand in a name: as gcc, also $ and what is not ASCII.
func isName(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\f' || c == '\v' || c == '\r' }

// splice returns the length of a backslash and newline at s[i], or 0. gcc and clang accept blanks
// between the two.
func splice(s []byte, i int) int {
	j := i + 1
	for j < len(s) && isBlank(s[j]) {
		j++
	}
	if j < len(s) && s[j] == '\n' {
		return j + 1 - i
	}
	return 0
}

// comment returns the end of the comment at s[i], or i if there is none. Splices may part the
// two characters that begin or end it.
func comment(s []byte, i int) int {
	j := spliced(s, i+1)
	switch {
	case j >= len(s):
	case s[j] == '/':
		return lineEnd(s, j)
	case s[j] == '*':
		for j++; ; j++ {
			n := bytes.IndexByte(s[j:], '*')
			if n < 0 {
				return len(s)
			}
			j += n
			if end := spliced(s, j+1); end < len(s) && s[end] == '/' {
				return end + 1
			}
		}
	}
	return i
}

// spliced returns the index from i on that is no splice.
func spliced(s []byte, i int) int {
	for i < len(s) && s[i] == '\\' {
		n := splice(s, i)
		if n == 0 {
			break
		}
		i += n
	}
	return i
}

// lineEnd returns where the logical line ends in which s[i] stands: a // comment goes on after a
// backslash and newline.
func lineEnd(s []byte, i int) int {
	for {
		n := bytes.IndexByte(s[i:], '\n')
		if n < 0 {
			return len(s)
		}
		end := i + n
		last := end - 1
		for last > i && isBlank(s[last]) {
			last--
		}
		if s[last] != '\\' {
			return end
		}
		i = end + 1
		if i >= len(s) {
			return len(s)
		}
	}
}

// literal returns the end of the string or character constant that begins with the quote s[i]. It
// ends before a bare newline too, as in gcc: skipped groups hold prose such as don't.
func literal(s []byte, i int, mode lexMode) int {
	word := i
	for word > 0 && isName(s[word-1]) {
		word--
	}
	if s[i] == '\'' && mode&lexSeparator != 0 && word < i && isDigit(s[word]) && i+1 < len(s) && isName(s[i+1]) {
		return i + 1
	}
	if s[i] == '"' && mode&lexRaw != 0 && rawPrefix(s[word:i]) {
		if end := rawString(s, i); end > 0 {
			return end
		}
	}
	quote := s[i]
	for i++; i < len(s); i++ {
		switch s[i] {
		case quote:
			return i + 1
		case '\n':
			return i
		case '\\':
			if n := splice(s, i); n > 0 {
				i += n - 1
			} else if i+1 < len(s) && s[i+1] != '\n' {
				i++
			}
		}
	}
	return len(s)
}

func rawPrefix(b []byte) bool {
	switch string(b) {
	case "R", "LR", "uR", "UR", "u8R":
		return true
	}
	return false
}

// rawString returns the end of the raw string whose quote is s[i], or 0 if it is none.
func rawString(s []byte, i int) int {
	const maxDelimiter = 16 // C++ [lex.string]
	open := bytes.IndexByte(s[i:min(len(s), i+maxDelimiter+2)], '(')
	if open < 0 || bytes.ContainsAny(s[i+1:i+open], " )\\\t\v\f\n\"") {
		return 0
	}
	end := make([]byte, 0, maxDelimiter+2)
	end = append(append(append(end, ')'), s[i+1:i+open]...), '"')
	if e := bytes.Index(s[i+open:], end); e >= 0 {
		return i + open + e + len(end)
	}
	return len(s)
}

// A line is a directive's text after the #: splices are gone, comments are a blank each.
type line struct {
	text    []byte
	slashes bool // a // comment was in it, which ISO C90 does not know
}

// gather appends to l the logical line that begins at s[i], and returns where it ends. A header's
// name in <> is copied as it is, for it may hold // or /*.
func (l *line) gather(s []byte, i int, mode lexMode) int {
	for i < len(s) && s[i] != '\n' {
		switch c := s[i]; c {
		case '\\':
			if n := splice(s, i); n > 0 {
				i += n
				continue
			}
		case '/':
			if end := comment(s, i); end > i {
				l.slashes = l.slashes || s[spliced(s, i+1)] == '/'
				l.text, i = append(l.text, ' '), end
				continue
			}
		case '"', '\'':
			i = l.literal(s, i, literal(s, i, mode))
			continue
		case '<':
			if n := bytes.IndexAny(s[i:], ">\n"); n > 0 && s[i+n] == '>' && l.wantsHeader() {
				l.text, i = append(l.text, s[i:i+n+1]...), i+n+1
				continue
			}
		case '\r':
			i++
			continue
		}
		l.text = append(l.text, s[i])
		i++
	}
	return i
}

// literal appends s[i:end] without splices.
func (l *line) literal(s []byte, i, end int) int {
	raw := len(l.text) > 0 && l.text[len(l.text)-1] == 'R'
	for i < end {
		if n := 0; s[i] == '\\' && !raw {
			if n = splice(s, i); n > 0 {
				i += n
				continue
			}
			if i+1 < end {
				l.text = append(l.text, s[i])
				i++
			}
		}
		l.text = append(l.text, s[i])
		i++
	}
	return i
}

// wantsHeader reports whether a < now begins a header's name: in #include and its like, and
// after __has_include( in a condition.
func (l *line) wantsHeader() bool {
	t := bytes.TrimLeft(l.text, " \t")
	if bytes.HasPrefix(t, []byte("inc")) || bytes.HasPrefix(t, []byte("imp")) {
		return true
	}
	before := bytes.TrimRight(t, " \t")
	before, paren := bytes.CutSuffix(before, []byte("("))
	before = bytes.TrimRight(before, " \t")
	return paren && (bytes.HasSuffix(before, []byte("__has_include")) || bytes.HasSuffix(before, []byte("__has_include_next"))) &&
		(bytes.HasPrefix(t, []byte("if")) || bytes.HasPrefix(t, []byte("elif")))
}
