package infer

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// memory are files by absolute path; those with the text pending are not made yet. Programs are
// links to themselves.
type memory map[string]string

const pending = "\x00pending"

func (m memory) Stat(p string) (fs.FileInfo, error) {
	text, ok := m[path.Clean(p)]
	if !ok {
		for name := range m {
			if strings.HasPrefix(name, path.Clean(p)+"/") {
				return fstest.MapFS{"d": {Mode: fs.ModeDir}}.Stat("d")
			}
		}
		return nil, &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
	}
	return fstest.MapFS{"f": {Data: []byte(text), ModTime: time.Unix(1, 0)}}.Stat("f")
}

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

func (m memory) Open(p string) (File, error) {
	text, ok := m[path.Clean(p)]
	switch {
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	case text == pending:
		return nil, ErrPending
	}
	return memoryFile{bytes.NewReader([]byte(text))}, nil
}

func (m memory) Resolve(p string) (string, error) {
	if to, ok := strings.CutPrefix(m[p], "-> "); ok {
		return to, nil
	}
	return p, nil
}

func words(s string) []string { return strings.Fields(s) }

// TestToolsByName holds which model answers for a program, by its name and by what it links to.
func TestToolsByName(t *testing.T) {
	files := memory{
		"/bin/cc": "-> /usr/bin/x86_64-linux-gnu-gcc-12", "/bin/c++": "-> /usr/lib/llvm-14/bin/clang", "/c/cc": "-> /usr/bin/tcc",
		"/usr/lib/ccache/gcc": "-> /usr/bin/ccache", "/usr/bin/c99": "-> /usr/bin/c99-gcc", "/usr/bin/llvm-ranlib-14": "-> /usr/lib/llvm-14/bin/llvm-ar",
		"/usr/bin/llvm-strip": "-> /usr/lib/llvm-14/bin/llvm-objcopy", "/usr/bin/ld": "-> /usr/bin/x86_64-linux-gnu-ld.bfd", "/usr/bin/clang++-14": "-> /usr/lib/llvm-14/bin/clang",
		"/w/a.o": elfMagic, "/w/a.a": archiveMagic,
	}
	for _, c := range []struct{ tool, model, local string }{
		{"/usr/bin/gcc", "gcc", ""},
		{"/usr/bin/gcc-12", "gcc", ""},
		{"/usr/bin/g++-4.9.2", "gcc", ""},
		{"/usr/bin/x86_64-linux-gnu-gcc-12", "gcc", ""},
		{"/usr/bin/arm-none-eabi-g++", "gcc", ""},
		{"/usr/bin/clang++-14", "clang", ""},
		{"/bin/cc", "gcc", ""},
		{"/bin/c++", "clang", ""},
		{"/usr/bin/c99", "gcc", ""},
		{"/c/cc", "", "neither gcc nor clang"},
		{"/usr/lib/ccache/gcc", "", "in truth /usr/bin/ccache"},
		{"/usr/bin/ld", "ld", ""},
		{"/usr/bin/ld.gold", "ld", ""},
		{"/usr/bin/aarch64-linux-gnu-ld.bfd", "ld", ""},
		{"/usr/bin/gcc-ar-12", "ar", ""},
		{"/usr/bin/x86_64-linux-gnu-gcc-ar-12", "ar", ""},
		{"/usr/bin/llvm-ranlib-14", "ranlib", ""},
		{"/usr/bin/llvm-strip", "strip", ""},
		{"/usr/bin/x86_64-linux-gnu-nm", "nm", ""},
		{"/usr/bin/gccgo", "", "no model knows gccgo"},
		{"/usr/bin/ccache", "", "no model knows ccache"},
		{"/usr/bin/tar", "", "no model knows tar"},
		{"/usr/bin/gcov-12", "", "no model knows gcov-12"},
		{"gcc", "", "absolute path"},
	} {
		line := map[string]string{"ar": "t a.a", "ranlib": "a.a", "nm": "a.o", "strip": "a.o", "ld": "a.o", "gcc": "a.o", "clang": "a.o"}[c.model]
		got := Model(c.tool, append([]string{c.tool}, words(line)...), "/w", nil, files)
		if got.Model != c.model || !strings.Contains(got.Local, c.local) || (got.Local == "") != (c.local == "") {
			t.Errorf("Model(%s) = %q, local %q, want %q, %q", c.tool, got.Model, got.Local, c.model, c.local)
		}
	}
}

// TestCallsWhoseInputsAreNotMadeYet models what follows in a build of which nothing ran.
func TestCallsWhoseInputsAreNotMadeYet(t *testing.T) {
	files := memory{"/w/a.o": pending, "/w/b.o": pending, "/w/l/libx.a": pending, "/w/l/libs.so": pending, "/w/v.map": pending, "/w/s.ld": pending, "/w/x.rsp": pending, "/w/g.s": pending}
	for _, c := range []struct {
		line, reads, writes, local string
	}{
		{"/bin/gcc a.o b.o -Ll -lx -ls -lm -o prog", "a.o b.o l/libx.a l/libs.so", "prog runs", ""},
		{"/bin/ar rcs new.a a.o b.o", "a.o b.o", "new.a", ""},
		{"/bin/ar rcs l/libx.a a.o", "l/libx.a a.o", "l/libx.a in place", ""},
		{"/bin/ar rcsT thin.a a.o", "a.o", "thin.a thin", ""},
		{"/bin/ranlib l/libx.a", "l/libx.a", "l/libx.a in place", ""},
		{"/bin/strip a.o", "a.o", "a.o in place", ""},
		{"/bin/ld -r a.o b.o -o a.o", "a.o b.o", "a.o in place", ""},
		{"/bin/gcc -shared a.o -Wl,--version-script=v.map -o x.so", "v.map a.o", "x.so runs", ""},
		{"/bin/gcc -nostdlib -no-pie -Wl,-r a.o b.o -o r.o", "a.o b.o", "r.o", ""},
		{"/bin/gcc -nostdlib -Wl,-x,-i a.o -o r.o", "a.o", "r.o", ""},
		{"/bin/gcc -c g.s", "g.s", "g.o", ""},
		{"/bin/gcc a.o -T s.ld", "", "", "the script s.ld is written by the build itself"},
		{"/bin/gcc @x.rsp", "", "", "the response file @x.rsp is written by the build itself"},
	} {
		argv := words(c.line)
		got := Model(argv[0], argv, "/w", nil, files)
		var writes []string
		for _, o := range got.Writes {
			w := o.Path
			if o.InPlace {
				w += " in place"
			}
			if o.Run {
				w += " runs"
			}
			if o.Thin {
				w += " thin"
			}
			writes = append(writes, w)
		}
		if r, w := strings.Join(got.Reads, " "), strings.Join(writes, " "); r != c.reads || w != c.writes || got.Local != c.local {
			t.Errorf("%s: reads %q, writes %q, local %q, want %q, %q, %q", c.line, r, w, got.Local, c.reads, c.writes, c.local)
		}
	}
}

// TestLookedForInVain holds that names before the one that is found are noted, as is what no
// directory has.
func TestLookedForInVain(t *testing.T) {
	files := memory{"/w/a.o": elfMagic, "/w/two/libx.a": archiveMagic, "/w/one/README": "", "/w/lib/liby.so": "INPUT(real/liby.so.1 -lx)", "/w/lib/real/liby.so.1": elfMagic}
	got := Model("/bin/gcc", words("gcc a.o -nodefaultlibs -Lone -Ltwo -Llib -lx -lm -ly"), "/w", []string{"LIBRARY_PATH=/w/two", "HOME=/"}, files)
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"reads", got.Reads, words("a.o two/libx.a lib/liby.so lib/real/liby.so.1")},
		{"absent", got.Absent, words("one/libx.so one/libx.a two/libx.so one/libm.so one/libm.a two/libm.so two/libm.a lib/libm.so lib/libm.a /w/two/libm.so /w/two/libm.a one/liby.so one/liby.a two/liby.so two/liby.a real/liby.so.1")},
		{"env", got.Env, words("LIBRARY_PATH=/w/two")},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s = %q, want %q", c.what, c.got, c.want)
		}
	}
	if want := []Want{{Name: "m"}}; !slices.Equal(got.Wants, want) {
		t.Errorf("wants %v, want %v", got.Wants, want)
	}
}

// TestImpliedLibraries holds which libraries a link asks the toolchain for without naming them.
func TestImpliedLibraries(t *testing.T) {
	files := memory{"/w/a.o": elfMagic, "/w/lib/libc.a": archiveMagic}
	for line, want := range map[string]string{
		"gcc a.o":                              "gcc? gcc_eh? gcc_s? c?",
		"gcc a.o -lm -static":                  "m.a gcc.a? gcc_eh.a? gcc_s.a? c.a?",
		"gcc a.o -Wl,-Bstatic -lgcc":           "gcc.a gcc_eh.a? gcc_s.a? c.a?",
		"gcc a.o -Llib":                        "gcc? gcc_eh? gcc_s?",
		"g++ a.o -nolibc -pthread":             "gcc? gcc_eh? gcc_s? stdc++? m? pthread?",
		"gcc a.o --coverage":                   "gcc? gcc_eh? gcc_s? c? gcov?",
		"gcc a.o -static-libgcc -nostdlib":     "",
		"gcc -r a.o":                           "",
		"gcc a.o -fopenacc":                    "-fopenacc links with more",
		"gcc a.o -flto":                        "gcc? gcc_eh? gcc_s? c?",
		"clang a.o -flto":                      "-flto links with more",
		"gcc a.o -fsanitize=address,alignment": "gcc? gcc_eh? gcc_s? c? asan? dl? rt? pthread? m? resolv? ubsan?",
		"clang a.o -fsanitize=address":         "-fsanitize=address links with more",
		"gcc a.o -fuse-ld=gold":                "gcc? gcc_eh? gcc_s? c?",
		"gcc a.o -fuse-ld=mold":                "-fuse-ld=mold is a linker",
		"gcc a.o --sysroot=/x -nostdlib":       "libraries of /x",
		"ld a.o -lx":                           "x",
		"ld.gold a.o -lx":                      "gold looks for libraries",
		"LD_LIBRARY_PATH=/x gcc a.o -nostdlib": "LD_LIBRARY_PATH is set",
	} {
		argv := words(line)
		var env []string
		if strings.Contains(argv[0], "=") {
			env, argv = argv[:1], argv[1:]
		}
		argv[0] = "/bin/" + argv[0]
		c := Model(argv[0], argv, "/w", env, files)
		got := c.Opaque
		if got == "" {
			var all []string
			for _, w := range c.Wants {
				n := w.Name
				if w.Static {
					n += ".a"
				}
				if w.Implied {
					n += "?"
				}
				all = append(all, n)
			}
			got = strings.Join(all, " ")
		}
		if c.Local != "" || got != want && (c.Opaque == "" || !strings.Contains(got, want)) {
			t.Errorf("%s: %q (local %q), want %q", line, got, c.Local, want)
		}
	}
}

// TestResponseWords holds the quoting, which is libiberty's buildargv.
func TestResponseWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                        nil,
		" a\tb\nc\r\n":            {"a", "b", "c"},
		`"a b" 'c "d' e\ f`:       {"a b", `c "d`, "e f"},
		`-DX=\"1\" "-DY=\"a b\""`: {`-DX="1"`, `-DY="a b"`},
		`'' ""`:                   {"", ""},
		`a'b'"c"d`:                {"abcd"},
		`'\''`:                    {"'"},
		"open \"quote":            {"open", "quote"},
		`end\`:                    {`end\`},
	} {
		if got := responseWords(text); !slices.Equal(got, want) {
			t.Errorf("responseWords(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestBounds holds that what is endless ends, saying so.
func TestBounds(t *testing.T) {
	deep := memory{"/w/a.rsp": "@a.rsp @a.rsp", "/w/a.o": elfMagic, "/w/s.ld": "INCLUDE s.ld INPUT(s.ld)", "/w/c.ld": "INCLUDE d.ld", "/w/d.ld": "INPUT(c.ld a.o)", "/w/i.s": ".include \"i.s\"\n"}
	many := []string{"gcc", "a.o"}
	for range 3000 {
		many = append(many, "-Ld", "-lx")
	}
	for _, c := range []struct {
		argv  []string
		local string
	}{
		{words("gcc @a.rsp"), "response files without end"},
		{words("gcc a.o -T s.ld"), ""},
		{words("gcc a.o -T c.ld"), ""},
		{words("gcc -c i.s"), "cannot be searched"},
		{many, "looks for files more than"},
		{[]string{"gcc", "a\x00.o"}, "zero byte"},
		{nil, "no words"},
	} {
		got := Model("/bin/gcc", c.argv, "/w", nil, deep)
		if !strings.Contains(got.Local, c.local) || (got.Local == "") != (c.local == "") {
			t.Errorf("Model(%.60q) is local: %q, want %q", c.argv, got.Local, c.local)
		}
	}
}

// TestCallSaysNothingElseIfLocal holds that nobody can use half an answer.
func TestCallSaysNothingElseIfLocal(t *testing.T) {
	got := Model("/bin/gcc", words("gcc -c a.c -o a.o -fplugin=x.so"), "/w", nil, memory{"/w/a.c": ""})
	want := &Call{Tool: "/bin/gcc", Model: "gcc", Dir: "/w", Local: "-fplugin=x.so: a plugin may read and write anything"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Model() = %+v, want %+v", got, want)
	}
}

// TestThinMembers reads archives by the bytes.
func TestThinMembers(t *testing.T) {
	header := func(name string, size string) string {
		return name + strings.Repeat(" ", 16-len(name)) + "0           0     0     644     " + size + strings.Repeat(" ", 10-len(size)) + "`\n"
	}
	table := "sub/long name.o/\nb.o/\n\n"[:22]
	good := thinMagic + header("/", "4") + "\x00\x00\x00\x00" + header("//", "22") + table + header("/0", "1000") + header("/17", "8") + header("c.o/", "3")
	for _, c := range []struct {
		text string
		want []string
		err  error
	}{
		{thinMagic, nil, nil},
		{good, []string{"sub/long name.o", "b.o", "c.o"}, nil},
		{good[:len(good)-1], nil, errArchive},
		{thinMagic + header("/99", "1"), nil, errArchive},
		{thinMagic + header("//", "x"), nil, errArchive},
		{thinMagic + header("//", "99999999"), nil, errArchive},
	} {
		got, err := thinMembers(strings.NewReader(c.text))
		if !errors.Is(err, c.err) || !slices.Equal(got, c.want) {
			t.Errorf("thinMembers(%.40q) = %q, %v, want %q, %v", c.text, got, err, c.want, c.err)
		}
	}
}

func BenchmarkModel(b *testing.B) {
	files := memory{"/w/a.c": "int a;", "/w/a.o": elfMagic, "/w/l/libx.a": archiveMagic}
	for name, line := range map[string]string{
		"compile": "gcc -O2 -Wall -Wextra -g -std=gnu11 -fPIC -fno-strict-aliasing -DNDEBUG -DX=1 -I. -Iinclude -MMD -MP -MF d/a.d -c a.c -o a.o",
		"link":    "gcc -g -O2 -Wl,-z,relro -Wl,--as-needed -o prog a.o -Ll -L. -lx -lm -lpthread",
		"archive": "ar rcs lib.a a.o",
	} {
		argv := words(line)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c := Model("/bin/"+argv[0], argv, "/w", nil, files); c.Local != "" {
					b.Fatal(c.Local)
				}
			}
		})
	}
}
