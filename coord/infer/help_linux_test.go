package infer

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestFlagsThatTakeAWordAlong asks each tool for its flags: none that takes the next word along
// may pass as if it took none, or that word would be taken for an input.
func TestFlagsThatTakeAWordAlong(t *testing.T) {
	angled := regexp.MustCompile(`^ +(-[^ =<\[,]+) <[^>]+>`)
	listed := regexp.MustCompile(`^ +(-[^ =<\[,]+)`)
	upper := regexp.MustCompile(`(?:^ +|, )(-[^ =\[,]+) (?:\[?[A-Z][A-Z]+|<[a-z]+>)`)
	for _, c := range []struct {
		tool, help string
		form       *regexp.Regexp
		least      int
		flags      func(words []string) (use, bool)
	}{
		{"gcc", "--help=separate", listed, 40, gccFlags.find},
		{"clang", "--help-hidden", angled, 40, clangFlags.find},
		{"ld.bfd", "--help", upper, 40, findLinkers},
		{"ld.gold", "--help", upper, 40, findLinkers},
		{"ld.lld", "--help", angled, 5, findLinkers},
		{"as", "--help", upper, 3, asFlags.find},
		{"objcopy", "--help", upper, 10, objcopyFlags.find},
		{"strip", "--help", upper, 2, stripFlags.find},
	} {
		t.Run(c.tool, func(t *testing.T) {
			if _, err := exec.LookPath(c.tool); err != nil {
				t.Skipf("no %s here", c.tool)
			}
			out, err := exec.Command(c.tool, c.help).Output()
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for line := range strings.Lines(string(out)) {
				for _, m := range c.form.FindAllStringSubmatch(line, -1) {
					if n++; strings.HasSuffix(m[1], "MD") {
						continue // of gcc's own preprocessor process; the driver's takes none
					}
					u, ok := c.flags([]string{m[1], "operand"})
					switch {
					case ok && (len(u.words) == 2 || u.role == refuse || u.role == question):
					case !ok && (c.tool != "gcc" && c.tool != "clang" || !strings.ContainsAny(m[1][1:2], "fmWOg")):
						// unknown: local, or for a linker local because a word follows
					case ok && u.form&joined != 0 && u.name != m[1] && u.form&apart == 0 && u.role != pass:
						// judged by what is joined, as -dump... is by -d
					default:
						t.Errorf("%s takes a word along, which the model does not know: %s", m[1], strings.TrimSpace(line))
					}
				}
			}
			if n < c.least {
				t.Errorf("found %d flags that take a word along in %s %s, which cannot be all", n, c.tool, c.help)
			}
		})
	}
}
