package scan

import (
	"strings"
	"sync/atomic"
)

// A builtin says what a macro means that the compiler itself computes.
type builtin uint8

const (
	ordinary     builtin = iota
	hasHeader            // __has_include, __has_include_next
	hasAnswer            // __has_attribute and its like, whose operand is expanded: the compiler is asked
	hasRaw               // __has_builtin and its like, whose operand compilers disagree on expanding
	currentFile          // __FILE__
	baseFile             // __BASE_FILE__
	includeLevel         // __INCLUDE_LEVEL__
	unknowable           // __COUNTER__, __LINE__, __TIME__ and so on: text would have to be expanded too
)

// A macro is one definition. It is immutable and shared by all units.
type macro struct {
	id       nameID
	name     string
	builtin  builtin
	function bool
	variadic bool // the last parameter takes all further arguments
	special  bool // #, ## or __VA_OPT__ is in the body
	bad      string
	params   []string
	body     string
	mode     lexMode
	lexed    atomic.Pointer[[]token]
}

// parseMacro takes apart what follows #define. Anything that a compiler would not take is noted
// in bad: who expands such a macro is refused.
func parseMacro(text string, n *names, mode lexMode) *macro {
	name := leadingName(text)
	m := &macro{id: n.id(name), name: name, mode: mode}
	rest := text[len(name):]
	if strings.HasPrefix(rest, "(") { // only when it touches the name
		end := strings.IndexByte(rest, ')')
		if end < 0 {
			m.bad = "malformed #define of " + name
			return m
		}
		m.function = true
		m.parseParams(rest[1:end])
		rest = rest[end+1:]
	}
	m.body = strings.TrimSpace(rest)
	m.special = strings.ContainsAny(m.body, "#%") || strings.Contains(m.body, "__VA_OPT__")
	return m
}

func (m *macro) parseParams(list string) {
	if strings.TrimSpace(list) == "" {
		return
	}
	for p := range strings.SplitSeq(list, ",") {
		p = strings.TrimSpace(p)
		if named, ok := strings.CutSuffix(p, "..."); ok {
			m.variadic = true
			if p = strings.TrimSpace(named); p == "" {
				p = "__VA_ARGS__"
			}
		}
		if p == "" || leadingName(p) != p || len(m.params) >= 1<<14 {
			m.bad = "malformed #define of " + m.name
		}
		m.params = append(m.params, p)
	}
}

// tokens returns the body, in which parameters and ## are marked.
func (m *macro) tokens(n *names) []token {
	if ts := m.lexed.Load(); ts != nil {
		return *ts
	}
	ts := tokenise(m.body, n, m.mode, false)
	for i := range ts {
		if ts[i].is("##") {
			ts[i].kind = tokPaste
		}
		if ts[i].kind == tokName {
			ts[i].param = m.param(ts[i].text)
		}
	}
	m.lexed.Store(&ts)
	return ts
}

func (m *macro) param(name string) int16 {
	for i, p := range m.params {
		if p == name {
			return int16(i + 1)
		}
	}
	return 0
}

func leadingName(s string) string {
	n := 0
	for n < len(s) && isName(s[n]) {
		n++
	}
	return s[:n]
}

// builtins are macros that -dM does not print though #ifdef knows them. The compiler says which
// of them it has.
var builtins = map[string]builtin{
	"__FILE__": currentFile, "__FILE_NAME__": unknowable, "__BASE_FILE__": baseFile,
	"__INCLUDE_LEVEL__": includeLevel,
	"__LINE__":          unknowable, "__COUNTER__": unknowable, "__DATE__": unknowable, "__TIME__": unknowable,
	"__TIMESTAMP__": unknowable,
	"__has_include": hasHeader, "__has_include_next": hasHeader,
	"__has_attribute": hasAnswer, "__has_cpp_attribute": hasAnswer, "__has_c_attribute": hasAnswer,
	"__has_declspec_attribute": hasAnswer,
	"__has_builtin":            hasRaw, "__has_constexpr_builtin": hasRaw, "__has_feature": hasRaw,
	"__has_extension": hasRaw, "__has_embed": hasRaw, "__building_module": hasRaw, "__has_warning": hasRaw, "__is_identifier": hasRaw,
	"__is_target_arch": hasRaw, "__is_target_vendor": hasRaw, "__is_target_os": hasRaw,
	"__is_target_environment": hasRaw,
}
