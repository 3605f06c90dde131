package infer

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// FuzzModel holds that a call is taken apart without panic, always the same, and that one that
// is local says nothing else. Seeds are the calls that real tools run.
func FuzzModel(f *testing.F) {
	text, err := os.ReadFile("testdata/calls.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		call, _, _ := strings.Cut(strings.TrimSpace(line), " => ")
		f.Add(call, "GROUP(a.o AS_NEEDED(-lx)) INCLUDE t", ".include \"t\"")
	}
	f.Add("gcc a.o @t t -Ll -lx -T t", "-o 'x y' @t", "!<thin>\n//              0           0     0     644     10        `\nabc/\ndef/\n")
	f.Fuzz(func(t *testing.T, line, one, two string) {
		argv := strings.Fields(line)
		if len(argv) == 0 {
			return
		}
		files := memory{"/w/a.o": elfMagic, "/w/a.c": "int a;", "/w/b.c": "", "/w/m.c": "", "/w/t": one, "/w/l/libx.a": two, "/w/l/libx.so": one, "/w/o.o": pending, "/w/d/x": "", "/w/asm.s": two, "/w/libs/libar.a": two}
		got := Model("/bin/"+argv[0], argv, "/w", nil, files)
		if again := Model("/bin/"+argv[0], argv, "/w", nil, files); !reflect.DeepEqual(got, again) {
			t.Errorf("Model(%q) = %+v, then %+v", argv, got, again)
		}
		if got.Local != "" && (len(got.Units)+len(got.Reads)+len(got.Writes)+len(got.Absent)+len(got.Wants)+len(got.Env) > 0 || got.Mode != 0) {
			t.Errorf("Model(%q) is local and says more: %+v", argv, got)
		}
		if got.Local == "" && got.Mode == 0 {
			t.Errorf("Model(%q) does not say what it is", argv)
		}
		if len(got.Absent) > maxLooked || len(got.Reads) > maxLooked+maxMembers {
			t.Errorf("Model(%q) reads %d files and looks for %d", argv, len(got.Reads), len(got.Absent))
		}
	})
}

// FuzzDecode holds that a file of models is read or refused with its name, and that what is read
// can be used.
func FuzzDecode(f *testing.F) {
	for _, c := range userFiles {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Decode("models.yaml", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "models.yaml") {
				t.Errorf("Decode(%q) fails without naming the file: %v", text, err)
			}
			return
		}
		for _, tool := range m.Tools() {
			m.Model("/bin/"+tool, []string{tool, "-o", "x", "a.c", "b", "--", "-c"}, "/w", nil, memory{"/w/a.c": "", "/w/b": ""})
		}
	})
}
