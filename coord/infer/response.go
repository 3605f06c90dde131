package infer

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of response files. libiberty stops after 2,000 of them, too.
const (
	maxResponses     = 2000
	maxResponseBytes = 16 << 20 // of one, and of all together
	maxWords         = 1 << 20
)

// expand replaces each @FILE by the words in it, as libiberty's expandargv and LLVM's
// ExpandResponseFiles do, which agree but for what nobody writes: one that cannot be read stays
// as it is, which then names no file and makes the call local.
func (r *reader) expand(argv []string) ([]string, error) {
	files, bytes := 0, int64(0)
	var all []string
	var add func(words []string, depth int) error
	add = func(words []string, depth int) error {
		for _, w := range words {
			if len(w) < 2 || w[0] != '@' {
				if len(all) == maxWords {
					return fmt.Errorf("it has more than %d words", maxWords)
				}
				all = append(all, w)
				continue
			}
			if files++; files > maxResponses || depth > 100 {
				return fmt.Errorf("response files name response files without end, the last %s", w)
			}
			text, more, err := r.head(w[1:], maxResponseBytes-bytes)
			bytes += int64(len(text))
			switch {
			case errors.Is(err, ErrPending):
				return fmt.Errorf("the response file %s is written by the build itself", w)
			case err != nil:
				return fmt.Errorf("the response file %s cannot be read", w)
			case more:
				return fmt.Errorf("response files have more than %d bytes", int64(maxResponseBytes))
			}
			r.readsFile(w[1:])
			if err := add(responseWords(string(text)), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	err := add(argv, 0)
	return all, err
}

// responseWords splits the text of a response file: words are separated by white space, a
// backslash takes the next character as it is, within quotes as well.
func responseWords(s string) []string {
	var words []string
	var word strings.Builder
	inside := false
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			inside = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, inside = c, true
		case c == ' ' || c >= '\t' && c <= '\r':
			if inside {
				words = append(words, word.String())
				word.Reset()
				inside = false
			}
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if inside {
		words = append(words, word.String())
	}
	return words
}
