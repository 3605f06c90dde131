package scan

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// offline returns a scanner and a unit whose compiler is never run: its answers are made up.
func offline(dir string, traits ...string) (*Scanner, Unit) {
	s := New(Options{})
	u := Unit{Dir: dir, Source: "main.c", Language: "c", Compiler: "/nonexistent/cc"}
	p := &probe{
		probed: probed{
			Macros:   []string{"__GNUC__ 12", "__STDC__ 1", "linux 1", "__CHAR_BIT__ 8"},
			Builtins: []string{"__FILE__", "__LINE__", "__COUNTER__", "__INCLUDE_LEVEL__", "__BASE_FILE__", "__has_include", "__has_include_next"},
			Traits:   map[string]bool{}, Answers: map[string]int64{},
		},
		command: u.preprocessor(), unknown: map[string]bool{},
	}
	for _, t := range traits {
		p.Traits[t] = true
	}
	p.derive()
	done := make(chan struct{})
	close(done)
	s.probes[u.probeKey()] = &probing{done: done, probe: p}
	s.trusted = true
	return s, u
}

// FuzzParse: any bytes give directives whose links are in range, in each mode.
func FuzzParse(f *testing.F) {
	for _, c := range corners {
		for _, file := range txtar.Parse([]byte(c.archive)).Files {
			f.Add(file.Data, uint8(0))
			f.Add(file.Data, uint8(math.MaxUint8))
		}
	}
	for _, r := range refusals {
		f.Add([]byte(r.text), uint8(lexRaw|lexElifdef))
	}
	for _, text := range []string{"#", "/", "\\", "/*", "//\\\n", "\"\\", "R\"(", "#define", "#define F(", "'\\\n", "#if 0\n#if\n", "%:%:", "#include <", "\xef\xbb\xbf#if", "0'", "#pragma push_macro(\"", "R\"0123456789abcdefg(", "u8R\"x()x"} {
		f.Add([]byte(text), uint8(math.MaxUint8))
	}
	f.Fuzz(func(t *testing.T, text []byte, mode uint8) {
		n := newNames()
		src := parseSource(text, n, lexMode(mode))
		for i := range src.directives {
			d := &src.directives[i]
			conditional := d.kind >= ifExpr && d.kind <= elseGroup
			if conditional && (int(d.next) <= i || int(d.next) > len(src.directives)) {
				t.Fatalf("directive %d leads to %d of %d", i, d.next, len(src.directives))
			}
			if d.expr != nil {
				d.expr.tokens(n)
			}
			if d.macro != nil {
				d.macro.tokens(n)
			}
		}
	})
}

// FuzzScan: no text makes a scan panic, hang or read outside of what it names, and a second scan
// says the same.
func FuzzScan(f *testing.F) {
	for _, e := range expansions {
		f.Add(e.define + "\n#if " + e.text + "\n#endif\n#include " + e.text + "\n")
	}
	for _, c := range corners {
		f.Add(string(txtar.Parse([]byte(c.archive)).Files[0].Data))
	}
	for _, r := range refusals {
		f.Add(r.text)
	}
	for line := range strings.Lines(conditions) {
		f.Add("#define F(x) x\n#if " + line + "\n#include \"a.h\"\n#endif\n")
	}
	dir := f.TempDir()
	write(f, dir, map[string]string{"a.h": "#include_next <a.h>\n", "b.h": "#pragma once\n#include \"main.c\"\n"})
	f.Fuzz(func(t *testing.T, text string) {
		write(t, dir, map[string]string{"main.c": text})
		s, u := offline(dir, "elifdef", "raw", "digraph")
		u.Include = []string{".", "gone"}
		one, err := s.Scan(context.Background(), u)
		if err != nil {
			t.Fatal(err)
		}
		two, err := s.Scan(context.Background(), u)
		if err != nil {
			t.Fatal(err)
		}
		if one.Refused != two.Refused || strings.Join(one.Files, " ") != strings.Join(two.Files, " ") {
			t.Fatalf("first %+v, then %+v", one, two)
		}
		for _, file := range one.Files {
			if !filepath.IsAbs(file) || filepath.Clean(file) != file {
				t.Fatalf("Files has %q", file)
			}
		}
	})
}

// FuzzDecodeProbe: nothing on the disk is believed but what was written there.
func FuzzDecodeProbe(f *testing.F) {
	f.Add([]byte(""), "")
	f.Add([]byte("{}"), "k")
	f.Add([]byte("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n{}"), "")
	f.Add([]byte("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n[]"), "")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		if p, err := decodeProbe(data, key); err == nil && p.Answers == nil {
			t.Fatal("decoded without answers")
		}
	})
}
