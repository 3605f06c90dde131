package scan

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// A corner is a unit whose files are an archive, and what is read of them. All are held against
// the compiler's -M too, but for what gcc does not list.
type corner struct {
	name, archive, want string
	change              func(u *Unit)
	unlisted            string // by -M
}

var corners = []corner{
	{name: "quotes look beside the includer", archive: `
-- main.c --
#include "sub/a.h"
-- sub/a.h --
#include "b.h"
-- sub/b.h --
-- b.h --
`, want: "main.c sub/a.h sub/b.h"},
	{name: "brackets do not", archive: `
-- main.c --
#include <b.h>
-- b.h --
-- i/b.h --
`, want: "i/b.h main.c", change: func(u *Unit) { u.Include = []string{"i"} }},
	{name: "iquote for quotes alone", archive: `
-- main.c --
#include "b.h"
#include <b.h>
-- q/b.h --
-- i/b.h --
`, want: "i/b.h main.c q/b.h", change: func(u *Unit) { u.Quote, u.Include = []string{"q"}, []string{"i"} }},
	{name: "the order of directories", archive: `
-- main.c --
#include <a.h>
#include <b.h>
#include <c.h>
#include <d.h>
-- i/a.h --
-- e/a.h --
-- e/b.h --
-- s/b.h --
-- s/c.h --
-- x/c.h --
-- x/d.h --
-- f/d.h --
`, want: "e/b.h i/a.h main.c s/c.h x/d.h", change: func(u *Unit) {
		u.Include, u.System, u.After = []string{"i"}, []string{"s"}, []string{"f"}
		u.Env = append(u.Env, "CPATH=e", "C_INCLUDE_PATH=x")
	}},
	{name: "a system directory keeps its place", archive: `
-- main.c --
#include <a.h>
-- i/a.h --
-- j/a.h --
`, want: "j/a.h main.c", change: func(u *Unit) { u.Include, u.System = []string{"i", "j"}, []string{"./i"} }},
	{name: "include_next", archive: `
-- main.c --
#include <a.h>
#include_next <b.h>
-- i/a.h --
#include_next <a.h>
#if __has_include_next(<b.h>) && !__has_include_next(<never.h>)
#include "c.h"
#endif
-- j/a.h --
#include_next "a.h"
-- k/a.h --
-- i/b.h --
-- j/b.h --
-- i/c.h --
`, want: "i/a.h i/b.h i/c.h j/a.h k/a.h main.c", change: func(u *Unit) { u.Include = []string{"i", "j", "k"} }},
	{name: "include_next beside the includer", archive: `
-- main.c --
#include "s/a.h"
-- s/a.h --
#include "b.h"
-- s/b.h --
#include_next <b.h>
-- i/b.h --
`, want: "i/b.h main.c s/a.h s/b.h", change: func(u *Unit) { u.Include = []string{"i"} }},
	{name: "computed", archive: `
-- main.c --
#define STR(x) #x
#define XSTR(x) STR(x)
#define DIR sub
#define NAME(x) <DIR/x.h>
#define QUOTED "q.h"
#include NAME(a)
#include XSTR(DIR/b.h)
#include QUOTED
#include <sub/c.h> // <d.h>
-- sub/a.h --
-- sub/b.h --
-- sub/c.h --
-- q.h --
`, want: "main.c q.h sub/a.h sub/b.h sub/c.h", change: func(u *Unit) { u.Include = []string{"."} }},
	{name: "__FILE__ and __INCLUDE_LEVEL__", archive: `
-- main.c --
#ifndef AGAIN
#define AGAIN
#include __FILE__
#include "i/x.h"
#include <y.h>
#else
#include "a.h"
#if __INCLUDE_LEVEL__ == 1
#include __BASE_FILE__
#define __INCLUDE_LEVEL__
#endif
#endif
-- a.h --
-- i/x.h --
#if !defined X
#define X
#include __FILE__
#endif
-- i/y.h --
#if !defined Y
#define Y
#include __FILE__
#endif
`, want: "a.h i/x.h i/y.h main.c", change: func(u *Unit) { u.Include = []string{"i", "."} }},
	{name: "a file includes itself", archive: `
-- main.c --
#include "loop.h"
-- loop.h --
#ifndef A
#define A
#include "loop.h"
#elif !defined B
#define B
#include "loop.h"
#elif !defined C
#define C
#include "a.h"
#include "loop.h"
#else
#include "b.h"
#endif
-- a.h --
-- b.h --
`, want: "a.h b.h loop.h main.c"},
	{name: "pragma once and import", archive: `
-- main.c --
#include "once.h"
#define SECOND
#include "once.h"
#import "imp.h"
#define THIRD
#import "imp.h"
#include "imp.h"
#include "twice.h"
#define FOURTH
#import "twice.h"
-- once.h --
#pragma once
#ifdef SECOND
#include "never.h"
#endif
-- imp.h --
#ifdef THIRD
#include "never.h"
#endif
-- twice.h --
#ifdef FOURTH
#include "never.h"
#endif
-- never.h --
`, want: "imp.h main.c once.h twice.h"},
	{name: "push_macro in a comment", archive: `
-- main.c --
// #pragma push_macro("M")
	// #pragma pop_macro("M")
#pragma push_macro("M")
#define M "a.h"
#pragma pop_macro("M")
#ifndef M
#include "b.h"
#endif
-- a.h --
-- b.h --
`, want: "b.h main.c"},
	{name: "no name in a group that is skipped", archive: `
-- main.c --
#ifdef NONE
# ifdef(__HAIKU__)
#  include "a.h"
# elif 1
#  include "a.h"
# endif
# ifndef
# endif
#else
# include "b.h"
#endif
-- a.h --
-- b.h --
`, want: "b.h main.c"},
	{name: "push_macro", archive: `
-- main.c --
#define M "a.h"
#pragma push_macro("M")
#undef M
#define M "b.h"
#include M
#pragma pop_macro("M")
#include M
#pragma push_macro("NONE")
#define NONE
#pragma pop_macro("NONE")
#ifndef NONE
#include "c.h"
#endif
-- a.h --
-- b.h --
-- c.h --
`, want: "a.h b.h c.h main.c"},
	{name: "groups", archive: `
-- main.c --
#if 0
# if 1
#  include "n.h"
# elif 1
#  include "n.h"
# else
#  include "n.h"
# endif
#elif 1
# include "a.h"
#elif (
# include "n.h"
#else
# include "n.h"
#endif
#ifdef X
#elifdef Y
#include "n.h"
#elifndef Y
#include "b.h"
#elifndef Z
#include "n.h"
#endif
#if 0
#bogus
don't
"unterminated
#else
#include "c.h"
#endif
-- a.h --
-- b.h --
-- c.h --
-- n.h --
`, want: "a.h b.h c.h main.c"},
	{name: "no elifdef in ISO C11", archive: `
-- main.c --
#if 0
#elifndef X
#include "a.h"
#else
#include "b.h"
#endif
-- a.h --
-- b.h --
`, want: "b.h main.c", change: func(u *Unit) { u.Flags = []string{"-std=c11"} }},
	{name: "lines and comments", archive: `
-- main.c --
/* #include "n.h" */ # /* x */ include /* y */ "a.h" /* z
#include "n.h"
*/ # include "n.h"
# include "b.h"
#\
inc\
lude "c\
.h"
// a comment \
#include "n.h"
char *s = "/*"; // "
#include "d.h"
char *t = "\
#include \"n.h\"";
char c = '"'; /* ' */
  \
#include "e.h"
int x; #include "n.h"
#define Z /* a comment
*/ 1
#if Z
#include "f.h"
#endif
/\
* #include "n.h" *\
/
#include "g.h" //
??=include "n.h"
-- a.h --
-- b.h --
-- c.h --
-- d.h --
-- e.h --
-- f.h --
-- g.h --
-- n.h --
`, want: "a.h b.h c.h d.h e.h f.h g.h main.c"},
	{name: "raw strings and separators of C++", archive: `
-- main.c --
const char *r = R"(
#include "n.h"
")"; const char *u = u8R"x(
#include "n.h" )" )x";
int i = 1'000'000; int j = 0x1'f; // '
#include "a.h"
int k = 1'0; /* '
#include "n.h"
*/
%: include "b.h"
-- a.h --
-- b.h --
-- n.h --
`, want: "a.h b.h main.c", change: func(u *Unit) { u.Language = "c++" }},
	{name: "raw strings of GNU C", archive: `
-- main.c --
const char *r = R"(
#include "n.h"
)";
-- n.h --
`, want: "main.c"},
	{name: "no raw strings in ISO C", archive: `
-- main.c --
#define R
const char *r = R"(\
";
#include "a.h"
-- a.h --
`, want: "a.h main.c", change: func(u *Unit) { u.Flags = []string{"-std=c99"} }},
	{name: "assembly", archive: `
-- main.c --
# a comment that doesn't matter
#ifdef __ASSEMBLER__
#include "a.h" // c
#endif
# if the next line ..
-- a.h --
`, want: "refused: unterminated conditional", change: func(u *Unit) { u.Language = "assembler-with-cpp" }, unlisted: "*"},
	{name: "macros of the command", archive: `
-- main.c --
#if A == 1 && B == 2 && F(3) == 3 && !defined C && D+1 == 1
#include H
#endif
-- h.h --
`, want: "h.h main.c", change: func(u *Unit) {
		u.Macros = []Macro{{Text: "A"}, {Text: "B=2"}, {Text: "F(a)=a"}, {Text: "C"}, {Undefine: true, Text: "C"}, {Text: "D="}, {Text: `H="h.h"`}}
	}},
	{name: "imacros and include", archive: `
-- main.c --
#ifdef SECOND
#include "b.h"
#endif
-- im.h --
#define FIRST
#include "a.h"
-- fo.h --
#ifdef FIRST
#define SECOND
#endif
-- i/fo.h --
-- a.h --
-- b.h --
-- i/late.h --
`, want: "a.h b.h fo.h i/late.h im.h main.c", change: func(u *Unit) {
		u.Include, u.Imacros, u.Forced = []string{"i"}, []string{"im.h"}, []string{"fo.h", "late.h"}
	}},
	{name: "a source elsewhere", archive: `
-- src/deep/main.c --
#include "a.h"
#include "../b.h"
#include "../../c.h"
-- src/deep/a.h --
-- src/b.h --
-- c.h --
-- a.h --
`, want: "c.h src/b.h src/deep/a.h src/deep/main.c", change: func(u *Unit) { u.Source = "src/deep/main.c" }},
	{name: "ISO C90", archive: `
-- main.c --
#ifdef __STDC_VERSION__
#include "n.h"
#endif
#include "a.h"
-- a.h --
-- n.h --
`, want: "a.h main.c", change: func(u *Unit) { u.Flags = []string{"-ansi"} }},
	{name: "has_include is not reading", archive: `
-- main.c --
#if __has_include("a.h")
#include "b.h"
#endif
-- a.h --
-- b.h --
`, want: "b.h main.c"},
	{name: "macros that look like operators", archive: `
-- main.c --
#undef __has_include
#define __has_include(x) 0
#define __has_feature(x) 1
#if !__has_include(<stdio.h>) && __has_feature(y)
#include "a.h"
#endif
-- a.h --
`, want: "a.h main.c"},
}

func TestCorners(t *testing.T) {
	s := New(Options{})
	for _, c := range corners {
		t.Run(c.name, func(t *testing.T) {
			u := unitIn(t, t.TempDir())
			if c.change != nil {
				c.change(&u)
			}
			for _, f := range txtar.Parse([]byte(c.archive)).Files {
				write(t, u.Dir, map[string]string{f.Name: string(f.Data)})
			}
			if got := read(t, s, u); !strings.HasPrefix(got, c.want) || !strings.HasPrefix(c.want, "refused") && got != c.want {
				t.Errorf("read %q, want %q", got, c.want)
			}
			if c.unlisted != "*" {
				if why, refused := compare(t, s, u); why != "" || refused {
					t.Errorf("gcc -M differs: %s (refused or not compiled: %v)", why, refused)
				}
			}
		})
	}
}

// refusals are texts that are not served.
var refusals = []struct{ name, text, want string }{
	{"missing", "#include \"missing.h\"\n", "not found: missing.h"},
	{"incbin", "__asm__(\".incbin \\\"a.h\\\"\");\n", ".incbin"},
	{"include of the assembler", "__asm__(\".include \\\"a.h\\\"\");\n", "the assembler's .include"},
	{"pragma operator", "_Pragma(\"push_macro(\\\"X\\\")\")\n", "push_macro outside"},
	{"pragma operator by a macro", "#define P(x) _Pragma(#x)\nP(pop_macro(\"X\"))\n", "push_macro outside"},
	{"pragma operator after a comment", "#define P(x) _Pragma(#x)\n/*\n// */ P(push_macro(\"X\"))\n", "push_macro outside"},
	{"pragma operator after a string", "#define P(x) _Pragma(#x)\nchar *s = \"\\\n// \"; P(push_macro(\"X\"))\n", "push_macro outside"},
	{"pragma operator after a raw string", "#define P(x) _Pragma(#x)\nR\"(\n//)\"; P(push_macro(\"X\"))\n", "push_macro outside"},
	{"no name", "#ifdef\n#endif\n", "#ifdef without a name"},
	{"no name behind a condition", "#ifdef X\n#else\n#ifndef\n#endif\n#endif\n", "#ifdef without a name"},
	{"once by operator", "_Pragma(\"once\")\n", "_Pragma(\"once\")"},
	{"dependency", "#pragma GCC dependency \"a.h\"\n", "#pragma dependency"},
	{"embed", "#embed \"a.h\"\n", "#embed"},
	{"line in a name", "#define C(a) C2(a)\n#define C2(a) x##a\n#if C(__LINE__)\n#endif\n", "__LINE__ as an operand"},
	{"counter", "#if __COUNTER__\n#endif\n", "#if __COUNTER__"},
	{"unterminated", "#if 1\n", "unterminated conditional"},
	{"else twice", "#if 1\n#else\n#else\n#endif\n", "#else after #else"},
	{"endif alone", "#endif\n", "#endif without #if"},
	{"endless", "#include \"main.c\"\n", "includes nested too deeply"},
	{"bad paste", "#define P(a) a##.h\n#include P(x)\n", "## makes no token"},
	{"arguments", "#define F(a) a\n#if F(1,2)\n#endif\n", "wrong number of arguments"},
	{"blank in a header's name", "#define F(x) <x.h>\n#include F( a)\n", "#include F( a)"},
	{"precompiled", "#include \"pre.h\"\n", "a precompiled header"},
	{"a macro for nothing", "#include NOTHING\n", "#include NOTHING"},
	{"expands without end", "#define A B B B B B B B B\n#define B C C C C C C C C\n#define C D D D D D D D D\n#define D E E E E E E E E\n#define E F F F F F F F F\n#define F G G G G G G G G\n#define G H H H H H H H H\n#define H 1 1 1 1 1 1 1 1\n#if A\n#endif\n", "macros expand to too much"},
}

func TestRefusals(t *testing.T) {
	s := New(Options{})
	u := unitIn(t, t.TempDir())
	write(t, u.Dir, map[string]string{"a.h": "", "pre.h": "", "pre.h.gch": ""})
	for _, r := range refusals {
		write(t, u.Dir, map[string]string{"main.c": r.text})
		if got := read(t, s, u); !strings.Contains(got, "refused: "+r.want) {
			t.Errorf("%s: read %q, want a refusal for %q", r.name, got, r.want)
		}
	}
	write(t, u.Dir, map[string]string{"main.c": "struct s { int include; } x = { .include = 1 }; int f(void) { return x.include; }\n"})
	if got := read(t, s, u); got != "main.c" {
		t.Errorf("a member named include: read %q", got)
	}
	for _, change := range []func(u *Unit){
		func(u *Unit) { u.Source = "-" },
		func(u *Unit) { u.Dir = "." },
		func(u *Unit) { u.Language = "fortran" },
		func(u *Unit) { u.Flags = []string{"-fplugin=x.so"} },
		func(u *Unit) { u.Flags = []string{"-fmodules-ts"} },
		func(u *Unit) { u.Include = []string{"=usr"} },
		func(u *Unit) { u.Compiler = "/nonexistent/gcc" },
		func(u *Unit) { u.Compiler = "/bin/true" },
		func(u *Unit) { u.Flags = []string{"-std=c99", "-trigraphs"}; u.Source = "tri.c" },
		func(u *Unit) { u.Flags = []string{"-ansi"}; u.Source = "slash.c" },
	} {
		write(t, u.Dir, map[string]string{"tri.c": "char *x = \"??/\";\n", "slash.c": "#define X 1 // one\n"})
		refused := u
		change(&refused)
		if got := read(t, s, refused); !strings.HasPrefix(got, "refused: ") {
			t.Errorf("%+v: read %q, want a refusal", refused, got)
		}
	}
}

// TestLinks: a ".." leaves the directory that a link leads to, and headers are named by the path
// through which they are opened.
func TestLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"far/deep/a.h": "#include \"../b.h\"\n#include <c.h>\n", "far/b.h": "", "b.h": "", "far/inc/c.h": "", "inc/c.h": "",
		"main.c": "#include \"near/a.h\"\n#include \"near/../b.h\"\n#include \"alias.h\"\n", "target.h": "",
	})
	for link, to := range map[string]string{"near": "far/deep", "alias.h": "target.h", "self.h": "self.h"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	u := unitIn(t, dir)
	u.Include = []string{"near/../inc"}
	s := New(Options{})
	r, err := s.Scan(context.Background(), u)
	if err != nil || r.Refused != "" {
		t.Fatal(err, r.Refused)
	}
	if got, want := below(dir, r.Files), "alias.h far/b.h far/inc/c.h main.c near/a.h"; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
	if got, want := below(dir, r.Dirs), "far/deep near"; got != want {
		t.Errorf("left by ..: %q, want %q", got, want)
	}
	if err := os.Remove(filepath.Join(dir, "target.h")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, u); got != "refused: not found: alias.h" {
		t.Errorf("a link to nothing: read %q", got)
	}
	write(t, dir, map[string]string{"target.h": "", "main.c": "#include \"alias.h\"\n#include \"near/../b.h\"\n"})
	if got, want := read(t, s, u), "alias.h far/b.h main.c"; got != want {
		t.Errorf("a link to something again: read %q, want %q", got, want)
	}
	if why, refused := compare(t, s, u); why != "" || refused {
		t.Errorf("gcc -M differs: %s", why)
	}
}

// TestShortened: gcc goes on with the shorter path of a system header, and looks there for what
// that includes.
func TestShortened(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"system/headers/b.h": "", "o/b.h": "", "o/a.h": "#include \"b.h\"\n", "main.c": "#include <a.h>\n",
	})
	if err := os.Symlink("../../o/a.h", filepath.Join(dir, "system/headers/a.h")); err != nil {
		t.Skip(err)
	}
	u := unitIn(t, dir)
	s := New(Options{})
	u.System = []string{dir + "/system/headers"}
	r, err := s.Scan(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := below(dir, r.Files), "main.c o/a.h o/b.h"; got != want || r.Refused != "" {
		t.Errorf("-isystem: read %q (%s), want %q", got, r.Refused, want)
	}
	if got, want := below(dir, r.Exists), "system/headers/a.h"; got != want {
		t.Errorf("links: %q, want %q", got, want)
	}
	for _, change := range []func(){
		func() {},
		func() { u.Flags = []string{"-fno-canonical-system-headers"} },
		func() { u.Flags, u.Include, u.System = nil, u.System, nil },
	} {
		change()
		if why, refused := compare(t, s, u); why != "" || refused {
			t.Errorf("%v: gcc -M differs: %s", u.Flags, why)
		}
	}
}

// TestResult: what is tested but not read, and what was looked for in vain.
func TestResult(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"main.c":  "#if __has_include(\"there.h\") && !__has_include(<gone/deep/x.h>)\n#include <sub/a.h>\n#include \"copy.h\"\n#endif\n",
		"there.h": "", "j/sub/a.h": "#pragma once\n#include <b.h>\n", "k/b.h": "", "j/c/x": "",
	})
	if err := os.Link(filepath.Join(dir, "j/sub/a.h"), filepath.Join(dir, "copy.h")); err != nil {
		t.Skip(err)
	}
	u := unitIn(t, dir)
	u.Include = []string{"i", "j", "k"}
	r, err := New(Options{}).Scan(context.Background(), u)
	if err != nil || r.Refused != "" {
		t.Fatal(err, r.Refused)
	}
	if got, want := below(dir, r.Files), "j/sub/a.h k/b.h main.c"; got != want {
		t.Errorf("Files = %q, want %q", got, want)
	}
	if r.Files[0] != filepath.Join(dir, "main.c") {
		t.Errorf("Files[0] = %s, want the source", r.Files[0])
	}
	if got, want := below(dir, r.Exists), "copy.h there.h"; got != want {
		t.Errorf("Exists = %q, want %q", got, want)
	}
	got := map[string]string{}
	for _, a := range r.Absent {
		if rel, err := filepath.Rel(dir, a.Dir); err == nil && !strings.HasPrefix(rel, "..") {
			got[rel] = strings.Join(a.Names, " ")
		}
	}
	want := map[string]string{".": "i", "j": "b.h gone stdc-predef.h", "k": "gone stdc-predef.h"}
	for d := range want {
		if got[d] != want[d] {
			t.Errorf("Absent in %s = %q, want %q", d, got[d], want[d])
		}
	}
	if !slices.IsSortedFunc(r.Absent, func(a, b Absent) int { return strings.Compare(a.Dir, b.Dir) }) {
		t.Error("Absent is not sorted")
	}
}
