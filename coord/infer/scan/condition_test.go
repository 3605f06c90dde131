package scan

import (
	"fmt"
	"strings"
	"testing"
)

// conditions have what holds, and ! before what does not. Definitions stand on lines with #.
const conditions = `
1
! 0
! X
defined X || 1
! defined X
! defined(X)
#define X
defined X
defined ( X ) && ! defined(Y)
#define V 0x1fL
V == 31 && V == 037 && V == 0b11111
1ULL == 1 && 1lu && 1LLU
-1 < 0 && -1 > 0u
(-1)/2 == 0 && -1u/2 == 0x7fffffffffffffff
-7 % 3 == -1 && 7 % -3 == 1
18446744073709551615u == -1
0xffffffffffffffff > 0
1 ? 2 : (1/0)
0 && 1/0 || 1
(2 || 1/0) && 1
(0 ? -1 : 0u) - 1 > 0
(1 ? -1 : 0u) > 0
1 << 3 == 8 && -8 >> 1 == -4 && 1 << 64 == 0
1 << -1 == 0 && 4 >> -1 == 8
(1 ? 1, 2 : 3) == 2
~0 == -1 && !0 == 1 && + 5 == 5
1 | 2 ^ 3 & 4 && (1 | (2 ^ (3 & 4))) == 3
2 + 3 * 4 - 10 / 5 == 12
1 == 1 == 1 && 3 > 2 > 0
'A' == 65 && '\n' == 10 && '\x41' == 'A' && '\101' == 'A' && '\'' == 39
'ab' == 24930 && 'a' < 'b' && '\377' < 0
L'a' == 'a' && L'\0' - 1 < 0
#define N -1
N < 0 && - N == 1
#define F(x) x
F(1) && F(F(1)) && F((0,1)) == 1
! F
! F(0) || F
#define EMPTY
1 EMPTY
#define D defined(X)
D
#define UNDEFINED_D NOT_DEFINED
! F(defined(UNDEFINED_D))
#define CAT(a,b) a##b
CAT(1,2) == 12 && CAT(0x,f) == 15 && CAT(def,ined) X
#define VAR(...) VAR2(__VA_ARGS__,3,2,1)
#define VAR2(a,b,c,n,...) n
VAR(x) == 1 && VAR(x,y,z) == 3
#define SELF SELF + 1
SELF == 1
__INCLUDE_LEVEL__ == 0
defined __FILE__ && defined __LINE__ && defined __has_include && defined(__has_include_next) && defined __COUNTER__
__has_include("y1.h") && !__has_include("never.h")
__has_include(<stddef.h>) && !__has_include(<linux/never/../never.h>)
#define HDR <stddef.h>
#define QHDR "y1.h"
__has_include(HDR) && __has_include(QHDR)
#define HAS(x) __has_include(x)
HAS(<stddef.h>) && HAS("y1.h") && !HAS(<nev.h>)
#define linux 7
__has_include(<linux/if.h>)
! HAS(<linux/if.h>)
0 && __has_include(<whatever>) || 1
__has_attribute(noreturn) && __has_attribute(__noreturn__) && !__has_attribute(nope)
__has_builtin(__builtin_expect) && !__has_builtin(printf_nope)
#define B(x) __has_builtin(x)
B(__builtin_trap) && !B(nope)
#define noreturn nope
! __has_attribute(noreturn)
__GNUC__ >= 8 && __CHAR_BIT__ == 8
! !defined __LINE__ && __LINE__ > 0 && __COUNTER__
1 || __COUNTER__
defined __COUNTER__ && __COUNTER__ != __COUNTER__
! __COUNTER__ == __COUNTER__
(__COUNTER__ != __COUNTER__) == 1 && 2
/* a comment */ 1 /* another */
1 // the rest || /* 
0x7fffffffffffffff + 1 < 0
! true
#undef X
! defined X
! D
`

// TestConditions evaluates each line as gcc does.
func TestConditions(t *testing.T) {
	var text strings.Builder
	files := map[string]string{}
	var want []bool
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(conditions)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			text.WriteString(line + "\n")
			continue
		}
		expr, no := strings.CutPrefix(line, "! ")
		n := len(want)
		fmt.Fprintf(&text, "#if %s\n#include \"y%d.h\"\n#else\n#include \"n%d.h\"\n#endif\n", expr, n, n)
		files[fmt.Sprintf("y%d.h", n)], files[fmt.Sprintf("n%d.h", n)] = "", ""
		want, lines = append(want, !no), append(lines, expr)
	}
	files["main.c"] = text.String()
	u := unitIn(t, t.TempDir())
	write(t, u.Dir, files)
	s := New(Options{})
	got := " " + read(t, s, u) + " "
	if strings.Contains(got, "refused") {
		t.Fatal(got)
	}
	for i, yes := range want {
		if is := strings.Contains(got, fmt.Sprintf(" y%d.h ", i)); is != yes {
			t.Errorf("#if %s: holds = %v, want %v", lines[i], is, yes)
		}
	}
	if why, refused := compare(t, s, u); why != "" || refused {
		t.Errorf("gcc -M differs: %s", why)
	}
}

// TestConditionsRefused: where a compiler complains its own message is wanted.
func TestConditionsRefused(t *testing.T) {
	u := unitIn(t, t.TempDir())
	s := New(Options{})
	for _, expr := range []string{
		"", "1 1", "1 +", "(1", "1)", "1/0", "1 % 0", "1.0", "\"a\"", "F(", "defined", "defined(X", "0x", "09", "1 ? 2", "a b", "X(1)", "= 1",
		"__has_include", "__has_include(x)", "__has_include(<stdio.h>", "__COUNTER__", "__COUNTER__ != __COUNTER__ + 1", "1 + __COUNTER__ != __COUNTER__", "__LINE__ > 1", "''", "'é'", "1 += 2", "#cpu(x86)",
		"99999999999999999999", "__has_embed(\"x\")", "1ulul", "true_or(1)", strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000),
	} {
		write(t, u.Dir, map[string]string{"main.c": "#define F(x) x\n#if " + expr + "\n#endif\n"})
		if got := read(t, s, u); !strings.HasPrefix(got, "refused: ") {
			t.Errorf("#if %s: read %q, want a refusal", clip(expr), got)
		}
	}
}

// TestAlternativeTokens: names that are operators in C++.
func TestAlternativeTokens(t *testing.T) {
	u := unitIn(t, t.TempDir())
	s := New(Options{})
	write(t, u.Dir, map[string]string{
		"main.c": "#if true and not false && (compl 0 bitand 1) == (2 xor 3) and 1 not_eq 2 or 0\n#include \"y.h\"\n#else\n#include \"n.h\"\n#endif\n" +
			"#if 1'000 == 1000 && 0b1'1 == 3\n#include \"sep.h\"\n#endif\n",
		"y.h": "", "n.h": "", "sep.h": "",
	})
	u.Language = "c++"
	if got, want := read(t, s, u), "main.c sep.h y.h"; got != want {
		t.Errorf("as C++: read %q, want %q", got, want)
	}
	u.Language = "c"
	if got := read(t, s, u); !strings.HasPrefix(got, "refused: #if") {
		t.Errorf("as C: read %q, want a refusal", got)
	}
}
