package scan

import "bytes"

// opacity names what in a file's text has files read that directives do not tell, or returns "".
// It looks at comments too: a unit refused in vain costs one run of the preprocessor.
func opacity(s []byte) string {
	switch {
	case bytes.Contains(s, []byte(".incbin")):
		return ".incbin"
	case assemblerInclude(s):
		return "the assembler's .include"
	case pragmaOnce(s):
		return `_Pragma("once")`
	}
	return ""
}

// assemblerInclude reports whether .include "FILE" is in s. A member of that name is something
// else: x.include, { .include = 1 }.
func assemblerInclude(s []byte) bool {
	word := []byte(".include")
	for {
		i := bytes.Index(s, word)
		if i < 0 {
			return false
		}
		before := i == 0 || !isName(s[i-1]) && s[i-1] != ')' && s[i-1] != ']' && s[i-1] != '>'
		s = s[i+len(word):]
		rest := bytes.TrimLeft(s, " \t")
		if before && len(rest) > 0 && (rest[0] == '"' || rest[0] == '\\' || len(rest) < len(s) && isName(rest[0])) {
			return true
		}
	}
}

func pragmaOnce(s []byte) bool {
	for {
		i := bytes.Index(s, []byte("_Pragma"))
		if i < 0 {
			return false
		}
		s = s[i+len("_Pragma"):]
		arg := bytes.TrimLeft(s, " \t(")
		if bytes.HasPrefix(arg, []byte(`"once`)) || bytes.HasPrefix(arg, []byte(`"GCC dependency`)) {
			return true
		}
	}
}

// pushes counts push_macro and pop_macro in a text, but for those in lines that are a comment from
// their first letter on, or within one, as protobuf's headers have them. A line that may not be, since
// it goes on with or ends something, is no such line.
func pushes(s []byte) int {
	count := func(s []byte) int { return bytes.Count(s, []byte("push_macro")) + bytes.Count(s, []byte("pop_macro")) }
	n := count(s)
	if n == 0 || bytes.Contains(s, []byte(`R"`)) {
		return n // a line may end a string
	}
	goesOn := false
	for line := range bytes.Lines(s) {
		if !goesOn && bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("//")) && !bytes.Contains(line, []byte("*/")) {
			n -= count(line)
		}
		end := bytes.TrimRight(line, " \t\r\n\v\f")
		goesOn = bytes.HasSuffix(end, []byte(`\`)) || bytes.HasSuffix(end, []byte("??/"))
	}
	return n
}
