package infer

import (
	"os"
	"strings"
	"testing"
)

const userHead = "gaggle-models: 1\ntools:\n  t:\n"

// userFiles are files of models with the error of each, "" for those that are right.
var userFiles = []struct{ name, text, err string }{
	{"nothing", "", "models.yaml: the file is empty: the least is gaggle-models: 1"},
	{"least", "gaggle-models: 1\n", ""},
	{"JSON", `{"gaggle-models": 1, "tools": {"t": {"positional": ["input..."], "flags": {"-o": {"operand": "apart", "is": "output"}}}}}`, ""},
	{"no YAML", "tools: [", "models.yaml: this is not YAML: line 2: did not find expected node content"},
	{"two documents", "gaggle-models: 1\n---\na: 1\n", "models.yaml: there is more than one document, or something behind it"},
	{"no version", "tools: {}\n", `models.yaml:1: "gaggle-models" is missing: the version of this format: 1`},
	{"version 2", "gaggle-models: 2\n", `models.yaml:1: gaggle-models: format "2" is not known here: write gaggle-models: 1, or update gaggle`},
	{"unknown key", "gaggle-models: 1\ntool: {}\n", `models.yaml:2: unknown key "tool": known here: gaggle-models, tools`},
	{"path for a name", "gaggle-models: 1\ntools:\n  /bin/x: {}\n", `models.yaml:3: tools: "/bin/x" is no plain name of a program`},
	{"unknown key of a tool", userHead + "    flag: {}\n", `models.yaml:4: tools.t: unknown key "flag": known here: positional, flags, stdout, env`},
	{"key twice", userHead + "    stdout: true\n    stdout: false\n", `models.yaml:5: tools.t: key "stdout" is there twice`},
	{"no flag", userHead + "    flags: {o: {}}\n", `models.yaml:4: tools.t.flags: "o" is no flag: a dash and up to 19 letters without =`},
	{"unknown role", userHead + "    flags:\n      -o: {operand: apart, is: outptu}\n", `models.yaml:5: tools.t.flags.-o.is: "outptu" is none of input, output, pass, question, update`},
	{"unknown form", userHead + "    flags:\n      -o: {operand: near}\n", `models.yaml:5: tools.t.flags.-o.operand: "near" is none of apart, equal, joined, none`},
	{"output without operand", userHead + "    flags:\n      -o: {is: output}\n", `models.yaml:5: tools.t.flags.-o: a flag that names a file has an operand: apart, joined or equal`},
	{"rest in the middle", userHead + "    positional: [input..., output]\n", `models.yaml:4: tools.t.positional: "input..." must be the last`},
	{"alias", "gaggle-models: 1\ntools:\n  a: &x {stdout: true}\n  t: *x\n", `models.yaml:3: tools.a: aliases and anchors are not known here: repeat what is common`},
	{"stdout is text", userHead + "    stdout: maybe\n", `models.yaml:4: tools.t.stdout: want true or false`},
	{"variable with a value", userHead + "    env: [A=1]\n", `models.yaml:4: tools.t.env: want names of variables`},
	{"a list", "[1]\n", `models.yaml:1: want an object`},
}

func TestDecode(t *testing.T) {
	for _, c := range userFiles {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode("models.yaml", []byte(c.text))
			switch {
			case err == nil && c.err != "":
				t.Errorf("Decode() succeeds, want %s", c.err)
			case err != nil && err.Error() != c.err:
				t.Errorf("Decode() = %v\nwant %s", err, c.err)
			}
		})
	}
}

// TestUserModels reads the example and models calls by it.
func TestUserModels(t *testing.T) {
	const example = "../../examples/models/models.yaml"
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(example, text)
	if err != nil {
		t.Fatal(err)
	}
	files := memory{"/w/a.txt": "", "/w/b.txt": "", "/w/g.y": "", "/w/a.c": "", "/w/a.po": ""}
	for _, c := range []struct{ line, reads, writes, local string }{
		{"msgfmt -o a.mo a.po", "a.po", "a.mo", ""},
		{"msgfmt --check -oa.mo a.po", "a.po", "a.mo", ""},
		{"msgfmt --output-file=a.mo a.po", "a.po", "a.mo", ""},
		{"msgfmt --java a.po", "", "", "--java: it writes below a directory"},
		{"msgfmt --unheard a.po", "", "", "--unheard is no flag in the model of msgfmt"},
		{"msgfmt -o a.mo none.po", "", "", "the input none.po is not there"},
		{"bin2c a.txt a.h", "a.txt", "a.h", ""},
		{"bin2c -n name -- a.txt a.h", "a.txt", "a.h", ""},
		{"bin2c a.txt a.h b.txt", "", "", "b.txt is one word more than the model of bin2c has"},
		{"bin2c -n", "", "", "-n: -n lacks its operand"},
		{"gcc -c a.c", "", "a.o", ""}, // the built-in ones are there as well
	} {
		argv := words(c.line)
		got := m.Model("/usr/bin/"+argv[0], argv, "/w", nil, files)
		var writes []string
		for _, o := range got.Writes {
			writes = append(writes, o.Path)
		}
		if r, w := strings.Join(got.Reads, " "), strings.Join(writes, " "); r != c.reads || w != c.writes || got.Local != c.local {
			t.Errorf("%s: reads %q, writes %q, local %q, want %q, %q, %q", c.line, r, w, got.Local, c.reads, c.writes, c.local)
		}
	}
}
