package scan

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// macrosIn runs a unit's text and returns the pass with its macros.
func macrosIn(t testing.TB, s *Scanner, u Unit, text string) *pass {
	t.Helper()
	write(t, u.Dir, map[string]string{u.Source: text})
	pr, err := s.probe(context.Background(), &u)
	if err != nil {
		t.Fatal(err)
	}
	p := s.newPass(context.Background(), &u, pr)
	p.chain = p.findChain()
	p.run()
	if p.refused != "" {
		t.Fatalf("refused: %s", p.refused)
	}
	return p
}

// expansions are definitions, a text, and what that expands to.
var expansions = []struct{ name, define, text, want string }{
	{"object", "#define A 1 B\n#define B 2", "A", "1 2"},
	{"itself", "#define A A x", "A", "A x"},
	{"each other", "#define A B a\n#define B A b", "A B", "A b a B a b"},
	{"C11 6.10.3.5 example 3", "#define x 3\n#define f(a) f(x * (a))\n#undef x\n#define x 2\n#define g f\n#define z z[0]\n#define h g(~\n#define m(a) a(w)\n#define w 0,1\n#define t(a) a\n#define p() int\n#define q(x) x\n#define r(x,y) x ## y\n#define str(x) # x",
		"f(y+1) + f(f(z)) % t(t(g)(0) + t)(1);g(x+(3,4)-w) | h 5) & m(f)^m(m);p() i[q()] = { q(1), r(2,3), r(4,), r(,5), r(,) };char c[2][6] = { str(hello), str() };",
		"f(2 * (y+1)) + f(2 * (f(2 * (z[0])))) % f(2 * (0)) + t(1);f(2 * (2+(3,4)-0,1)) | f(2 * (~ 5)) & f(2 * (0,1))^m(0,1);int i[] = { 1, 23, 4, 5, };char c[2][6] = { \"hello\", \"\" };"},
	{"C11 6.10.3.5 example 4", "#define str(s) # s\n#define xstr(s) str(s)\n#define debug(s, t) printf(\"x\" # s \"= %d, x\" # t \"= %s\", x ## s, x ## t)\n#define INCFILE(n) vers ## n\n#define glue(a, b) a ## b\n#define xglue(a, b) glue(a, b)\n#define HIGHLOW \"hello\"\n#define LOW LOW \", world\"",
		`debug(1, 2);str(strncmp("abc\0d", "abc", '\4') == 0) str(: @\n);xstr(INCFILE(2).h) glue(HIGH, LOW);xglue(HIGH, LOW)`,
		`printf("x" "1" "= %d, x" "2" "= %s", x1, x2);"strncmp(\"abc\\0d\", \"abc\", '\\4') == 0" ": @\n";"vers2.h" "hello";"hello" ", world"`},
	{"C11 6.10.3.3 hash_hash", "#define hash_hash # ## #\n#define mkstr(a) # a\n#define in_between(a) mkstr(a)\n#define join(c, d) in_between(c hash_hash d)", "join(x, y)", `"x ## y"`},
	{"C11 6.10.3.5 example 5", "#define t(x,y,z) x ## y ## z", "t(1,2,3) t(,4,5) t(6,,7) t(8,9,) t(10,,) t(,11,) t(,,12) t(,,)", "123 45 67 89 10 11 12"},
	{"variadic", "#define V(...) <__VA_ARGS__>\n#define W(a,...) a|__VA_ARGS__", "V() V(1) V(1,2) W(1) W(1,) W(1,2,3)", "<> <1> <1,2> 1| 1| 1|2,3"},
	{"GNU's comma", "#define e(f,...) (f,##__VA_ARGS__)\n#define n(f,a...) (f,##a)\n#define o(...) (x,##__VA_ARGS__)", "e(1) e(1,) e(1,2) e(1,2,3) n(1) n(1,2) o() o(1)", "(1) (1,) (1,2) (1,2,3) (1) (1,2) (x) (x,1)"},
	{"__VA_OPT__", "#define F(a,...) f(a __VA_OPT__(,) __VA_ARGS__)\n#define G(x,...) f(0, x __VA_OPT__(+ x) )\n#define E\n#define S(s,...) s __VA_OPT__(= { __VA_ARGS__ })\n#define P(...) __VA_OPT__(a ## b) __VA_OPT__(x)##1",
		"F(1) F(1,) F(1,2,3) F(1,E) G(1) G(1,2) S(foo) S(bar, 1, 2) P() P(2)", "f(1 ) f(1 ) f(1 , 2,3) f(1 ) f(0, 1) f(0, 1 + 1) foo bar = { 1, 2 } 1 ab x1"},
	{"arguments beyond the body", "#define f(a) a*g\n#define g(a) f(a)", "f(2)(9)", "2*9*g"},
	{"a name from a macro, its arguments from outside", "#define E()\n#define D(x) x E()\n#define X(...) __VA_ARGS__\n#define R() 1 D(Q)()()\n#define Q() R", "R() X(R()) X(X(R()))", ""},
	{"no argument list", "#define f(x) x\n#define g f", "f g f (1) g(2) f", "f f 1 2 f"},
	{"nested calls", "#define f(x) (x)\n#define g(x,y) x y", "f(f(f(1))) g(f((,)),g(1,2))", "(((1))) ((,)) 1 2"},
	{"arguments are expanded apart", "#define f(x) x x\n#define o (\n#define c )", "f o f o 1 c c", "f ( f ( 1 ) )"},
	{"# keeps literals apart", "#define s(x) #x", `s("a\n" 'b' "\"" \ x) s( a  b ) s()`, `"\"a\\n\" 'b' \"\\\"\" \ x" "a b" ""`},
	{"paste makes a macro", "#define AB 1\n#define c(a,b) a##b\n#define d c(A,B)", "c(A,B) d", ""},
	{"paste of punctuators", "#define c(a,b) a##b", "c(<,<) c(&,&) c(-,>) c(.,5) c(1,.) c(L,'a') c(x,1)", "<< && -> .5 1. L'a' x1"},
	{"operands of paste are not expanded", "#define A 1\n#define c(a,b) a##b\n#define d(a,b) c(a,b)", "c(A,A) d(A,A)", "AA 11"},
	{"Boost.Preprocessor's deferral", "#define EMPTY()\n#define DEFER(id) id EMPTY()\n#define OBSTRUCT(...) __VA_ARGS__ DEFER(EMPTY)()\n#define EXPAND(...) __VA_ARGS__\n#define A() 123", "DEFER(A)() EXPAND(DEFER(A)())", ""},
	{"recursion by deferral", "#define EVAL(...) EVAL1(EVAL1(EVAL1(__VA_ARGS__)))\n#define EVAL1(...) EVAL2(EVAL2(EVAL2(__VA_ARGS__)))\n#define EVAL2(...) __VA_ARGS__\n#define EMPTY()\n#define DEFER(m) m EMPTY()\n#define CAT(a,...) a##__VA_ARGS__\n#define REP(n,...) CAT(REP_,n)(__VA_ARGS__)\n#define REP_0(...) end\n#define REP_1(...) 1 DEFER(IND)()(0,__VA_ARGS__)\n#define REP_2(...) 2 DEFER(IND)()(1,__VA_ARGS__)\n#define IND() REP", "EVAL(REP(2,x))", "2 1 end"},
	{"digraphs", "%:define c(a,b) a %:%: b\n#define s(x) %:x", "c(1,2) s(3)", "12 \"3\""},
}

// TestExpand holds expansions against what the standard says or gcc prints.
func TestExpand(t *testing.T) {
	s := New(Options{})
	u := unitIn(t, t.TempDir())
	for _, e := range expansions {
		t.Run(e.name, func(t *testing.T) {
			p := macrosIn(t, s, u, e.define+"\n")
			got := spellTight(p.expand(tokenise(e.text, p.c.names, p.probe.mode, false), false, 0))
			if p.refused != "" {
				t.Fatalf("refused: %s", p.refused)
			}
			if want := spellTight(tokenise(e.want, p.c.names, p.probe.mode, false)); e.want != "" && got != want {
				t.Errorf("expand(%s) = %s, want %s", e.text, got, want)
			}
			write(t, u.Dir, map[string]string{"e.c": e.define + "\nMARK " + e.text + "\n"})
			c := exec.Command(u.Compiler, "-E", "-P", "e.c")
			c.Dir = u.Dir
			out, err := c.Output()
			if err != nil {
				t.Fatal(err)
			}
			_, printed, _ := strings.Cut(string(out), "MARK")
			if want := spellTight(tokenise(printed, p.c.names, p.probe.mode, false)); got != want {
				t.Errorf("expand(%s) = %s, but gcc prints %s", e.text, got, want)
			}
		})
	}
}

// spellTight spells tokens with one blank between each two.
func spellTight(ts []token) string {
	var words []string
	for _, t := range ts {
		words = append(words, t.text)
	}
	return strings.Join(words, " ")
}
