package scan

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A writer makes random programs of directives that are mostly valid.
type writer struct {
	r       *rand.Rand
	headers int
}

func (w *writer) pick(of ...string) string { return of[w.r.IntN(len(of))] }

// expression returns one of integers and macros; F and G take arguments.
func (w *writer) expression(depth int) string {
	if depth == 0 {
		return w.pick("0", "1", "2", "7u", "'a'", "0x10", "A", "B", "C", "D", "A", "B", "defined A", "defined(D)", "E")
	}
	e := func() string { return w.expression(depth - 1) }
	switch w.r.IntN(12) {
	case 0:
		return "(" + e() + " ? " + e() + " : " + e() + ")"
	case 1:
		return w.pick("!", "-", "~", "+") + "(" + e() + ")"
	case 2, 3:
		return "F(" + e() + ")"
	case 4:
		return "G(" + e() + "," + e() + ")"
	case 5:
		return "P(" + w.pick("A", "B", "1", "E", "") + w.pick(",", " , ") + w.pick("1", "2", "B", "E") + ")"
	case 6:
		return "V(" + e() + w.pick("", ","+e(), ","+e()+","+e()) + ")"
	}
	return "(" + e() + " " + w.pick("+", "-", "*", "/ 3 +", "% 5 -", "<", ">", "<=", ">=", "==", "!=", "&&", "||", "&", "|", "^", "<<", ">>") + " " + e() + ")"
}

// define returns a definition of one of the macros that expressions use.
func (w *writer) define() string {
	body := w.expression(w.r.IntN(3))
	switch name := w.pick("A", "B", "C", "D", "F", "G", "P", "V", "A", "B"); name {
	case "F":
		return "#define F(x) " + w.pick("(x)", "x", "(x + 1)", "G(x,x)", "(A - x)", "-x", "F(x)", "P(x,)", "(x "+w.pick("+", "&&")+" "+body+")")
	case "G":
		return "#define G(x,y) " + w.pick("(x+y)", "x", "F(x)", "F(y)*F(x)", "(y ? x : "+body+")", "V(y,x)")
	case "P":
		return "#define P(x,y) " + w.pick("x ## y", "(1 ## x)", "(0x ## y + 1)", "y + 0", "defined x ## y")
	case "V":
		return "#define V(x,...) " + w.pick("x", "(0, ## __VA_ARGS__)", "(x __VA_OPT__(+ 1))", "F(__VA_ARGS__ + x)")
	default:
		return "#define " + name + " " + w.pick(body, body, body, "A", "B", "C", "D", "F(A)")
	}
}

// lines appends directives; each include is of another header.
func (w *writer) lines(b *strings.Builder, depth int) {
	for range 2 + w.r.IntN(4) {
		switch w.r.IntN(7) {
		case 0, 1:
			b.WriteString("#undef " + w.pick("A", "B", "F", "E") + "\n" + w.define() + "\n")
		case 2:
			b.WriteString(w.pick("#pragma push_macro(\"A\")\n", "#pragma pop_macro(\"A\")\n", "don't /* #include \"never.h\" */ // \\\n#include \"never.h\"\n", "s = \"/*\"; c = '\"';\n"))
		case 3:
			fmt.Fprintf(b, "#include H%s(h%d.h)\n", w.pick("Q", "A"), w.headers)
			w.headers++
		default:
			if depth == 0 {
				fmt.Fprintf(b, "#include \"h%d.h\"\n", w.headers)
				w.headers++
				continue
			}
			b.WriteString(w.pick("#if "+w.expression(1), "#if "+w.expression(2), "#if "+w.expression(2), "#ifdef "+w.pick("A", "B"), "#ifndef A") + "\n")
			w.lines(b, depth-1)
			if w.r.IntN(2) == 0 {
				b.WriteString("#elif " + w.expression(2) + "\n")
				w.lines(b, depth-1)
			}
			b.WriteString("#else\n")
			w.lines(b, depth-1)
			b.WriteString("#endif\n")
		}
	}
}

// TestRandomPrograms: what is not refused is what gcc lists. Each program is a function of its
// number, which failures name.
func TestRandomPrograms(t *testing.T) {
	u := unitIn(t, t.TempDir())
	u.Include = []string{"."}
	s := New(Options{})
	const programs = 40
	compared := 0
	for seed := range uint64(programs) {
		w := writer{r: rand.New(rand.NewPCG(seed, 1))}
		var b strings.Builder
		b.WriteString("#define HQ(x) HS(x)\n#define HS(x) #x\n#define HA(x) <x>\n")
		for range 6 {
			b.WriteString(w.define() + "\n")
		}
		w.lines(&b, 2)
		files := map[string]string{"main.c": b.String()}
		for i := range w.headers {
			files[fmt.Sprintf("h%d.h", i)] = ""
		}
		write(t, u.Dir, files)
		why, refused := compare(t, s, u)
		if !refused {
			compared++
		}
		if why != "" && !refused {
			t.Errorf("program %d: %s\n%s", seed, why, b.String())
		}
		if why != "" && refused {
			t.Logf("program %d is refused, but gcc takes it: %s", seed, why)
		}
	}
	t.Logf("%d of %d programs compared; the others are not valid", compared, programs)
	if compared < programs/5 {
		t.Errorf("only %d of %d programs are valid", compared, programs)
	}
}
