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
