package graph

import (
	"os/exec"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
	"pgregory.net/rapid"
)

func TestQuotings(t *testing.T) {
	for _, c := range []struct {
		src  string
		lang syntax.LangVariant
		want []quoting
	}{
		{"cat {{x}}", syntax.LangPOSIX, []quoting{unquoted}},
		{"cat a{{x}}b > {{x}}", syntax.LangPOSIX, []quoting{unquoted, unquoted}},
		{`echo "{{x}}" '{{x}}'`, syntax.LangPOSIX, []quoting{double, single}},
		{`echo "$(cat {{x}})" "$(echo "{{x}}")"`, syntax.LangPOSIX, []quoting{unquoted, double}},
		{"echo `cat {{x}}` `echo '{{x}}'`", syntax.LangPOSIX, []quoting{asIs, asIs}},
		{"echo $(({{x}}+1)) ${v:-{{x}}} \"${v:-{{x}}}\" '\\''${{x}}", syntax.LangPOSIX, []quoting{asIs, asIs, asIs, asIs}},
		{`echo \{{x}} "\{{x}}" \\{{x}}`, syntax.LangPOSIX, []quoting{asIs, asIs, unquoted}},
		{"cat <<E\n{{x}}\nE\ncat <<'E'\n{{x}}\nE\ncat <<\\E\n{{x}}\nE\n", syntax.LangPOSIX, []quoting{here, hereRaw, hereRaw}},
		{"cat <<E\n$(cat {{x}}) ${v:-{{x}}}\nE\n", syntax.LangPOSIX, []quoting{unquoted, asIs}},
		{"# {{x}}\nls # {{x}}", syntax.LangPOSIX, []quoting{comment, comment}},
		{"v={{x}}; for i in {{x}}; do :; done; case {{x}} in {{x}}) ;; esac", syntax.LangPOSIX, []quoting{unquoted, unquoted, unquoted, unquoted}},
		{"echo $'{{x}}' $\"{{x}}\"", syntax.LangBash, []quoting{asIs, asIs}},
		{"[[ {{x}} == {{x}} ]]; a=({{x}}); ((i={{x}})); cat <({{x}}) <<< {{x}}", syntax.LangBash, []quoting{unquoted, unquoted, unquoted, asIs, unquoted, unquoted}},
		{"if {{x}}", syntax.LangPOSIX, []quoting{asIs}}, // does not parse
		{"gaggle0Z {{x}}", syntax.LangPOSIX, []quoting{unquoted}},
	} {
		tm := compile(c.src, pos{})
		got := compileScript(&tm, c.lang).quotings
		if len(got) != len(c.want) {
			t.Fatalf("%s: %d variables, want %d", c.src, len(got), len(c.want))
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: variable %d stands as %d, want %d", c.src, i, got[i], c.want[i])
			}
		}
	}
}

func TestCompile(t *testing.T) {
	for src, want := range map[string]string{
		"":                       "",
		"plain":                  "plain",
		"{{x}}":                  "<x>",
		"a{{x}}b{{ y_1 }}c":      "a<x>b<y_1>c",
		"{{{x}}}":                "{<x>}",
		"{{x}":                   "{{x}",
		"{{ }} {{1}} {{.Names}}": "{{ }} {{1}} {{.Names}}",
		"{{a b}} {{x}}":          "{{a b}} <x>",
		"{{{{x}}}}":              "{{<x>}}",
		"{n++} {{":               "{n++} {{",
	} {
		tm := compile(src, pos{})
		var b strings.Builder
		if tm.literal() {
			b.WriteString(tm.raw)
		}
		for _, p := range tm.parts {
			if p.name != "" {
				b.WriteString("<" + p.name + ">")
			}
			b.WriteString(p.lit)
		}
		if b.String() != want {
			t.Errorf("compile(%q) = %s, want %s", src, &b, want)
		}
	}
}

// Whatever a value is, a shell sees that value and nothing else happens.
func TestShellsSeeTheValue(t *testing.T) {
	scripts := []string{
		"printf %s {{x}}",
		`printf %s "{{x}}"`,
		"printf %s '{{x}}'",
		`printf %s "$(printf %s "{{x}}" | cat; echo .)" | sed '$s/\.$//'`,
		"v={{x}}; printf %s \"$v\"",
		"cat <<END\n{{x}}\nEND\n",
		"cat <<'END'\n{{x}}\nEND\n",
		"# {{x}}\nprintf %s {{x}} # {{x}}",
		"printf %s ${nothing:-{{x}}}",
		"printf %s `printf %s {{x}}`",
	}
	shells := map[string]syntax.LangVariant{}
	for name, lang := range map[string]syntax.LangVariant{"sh": syntax.LangPOSIX, "bash": syntax.LangBash} {
		if _, err := exec.LookPath(name); err == nil {
			shells[name] = lang
		}
	}
	if len(shells) == 0 {
		t.Skip("there is no shell on this machine")
	}
	values := rapid.OneOf(
		rapid.StringMatching("[a-zA-Z0-9 $`'\"\\\\!#&*();<>|~{}\\[\\]=,?\n\t-]{1,12}"),
		rapid.SampledFrom([]string{"$(echo no)", "`echo no`", "'; echo no; '", `"; echo no; "`, "\\", "a\\", "${HOME}", "END", "-n", "7", "x.txt", "é ü"}))
	rapid.Check(t, func(rt *rapid.T) {
		v := values.Draw(rt, "value")
		src := rapid.SampledFrom(scripts).Draw(rt, "script")
		for name, lang := range shells {
			tm := compile(src, pos{})
			s := compileScript(&tm, lang)
			text, bad := s.text(&scope{names: []string{"x"}, vals: []value{one(v)}})
			if bad != "" {
				if harmless(v) && v != "END" {
					rt.Fatalf("%q is refused", v)
				}
				continue
			}
			out, err := exec.Command(name, "-c", text).Output()
			if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != strings.TrimSuffix(v, "\n") {
				rt.Fatalf("%s -c %q wrote %q, %v; want %q", name, text, got, err, v)
			}
		}
	})
}
