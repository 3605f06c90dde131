package scan

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeDeps returns what the compiler's own -M lists, folded as a Result's paths are, without the
// unit's target; ok is false if the unit does not compile.
func makeDeps(t testing.TB, u Unit, more ...string) (files map[string]bool, ok bool) {
	t.Helper()
	args := slices.Concat(u.Flags, more, []string{"-M", "-x", u.Language, u.Source})
	for _, m := range u.Macros {
		args = append(args, map[bool]string{false: "-D", true: "-U"}[m.Undefine]+m.Text)
	}
	for flag, list := range map[string][]string{"-iquote": u.Quote, "-I": u.Include, "-isystem": u.System, "-idirafter": u.After, "-imacros": u.Imacros, "-include": u.Forced} {
		for _, d := range list {
			args = append(args, flag, d)
		}
	}
	c := exec.Command(u.Compiler, args...)
	c.Dir, c.Env = u.Dir, u.Env
	out, err := c.Output()
	if err != nil {
		return nil, false
	}
	_, list, _ := strings.Cut(string(out), ":")
	files = map[string]bool{}
	for _, f := range strings.Fields(strings.ReplaceAll(list, "\\\n", " ")) {
		if !filepath.IsAbs(f) {
			f = u.Dir + "/" + f
		}
		files[physical(t, f)] = true
	}
	return files, true
}

// physical is a path without "..", the directories before which are resolved.
func physical(t testing.TB, path string) string {
	t.Helper()
	if i := strings.LastIndex(path, "/../"); i >= 0 {
		dir, err := filepath.EvalSymlinks(path[:i+3])
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Clean(dir + path[i+3:])
	}
	return filepath.Clean(path)
}

// compare scans a unit and reports how the files differ from the compiler's list.
func compare(t testing.TB, s *Scanner, u Unit) (why string, refused bool) {
	t.Helper()
	r, err := s.Scan(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	want, ok := makeDeps(t, u)
	if !ok {
		return "", true
	}
	if r.Refused != "" {
		return r.Refused, true
	}
	for _, f := range r.Files {
		if !want[f] {
			why += " extra " + f
		}
		delete(want, f)
	}
	for _, f := range slices.Sorted(maps.Keys(want)) {
		why += " missing " + f
	}
	return why, false
}

// publicHeaders returns one header in every so many of those that match, by the names for <>.
func publicHeaders(t testing.TB, below, pattern string, every int) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(below, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var headers []string
	for i, p := range paths {
		fi, err := os.Stat(p)
		if err == nil && fi.Mode().IsRegular() && i%every == 0 {
			headers = append(headers, strings.TrimPrefix(p, below+"/"))
		}
	}
	return headers
}

// TestHeaders compares units of one public header each with what the compiler lists: of libc, the
// kernel and libstdc++, in several standards. A unit that the compiler refuses counts for nothing.
func TestHeaders(t *testing.T) {
	libstdcxx := "/usr/include/c++/none"
	if all, _ := filepath.Glob("/usr/include/c++/*/vector"); len(all) > 0 {
		libstdcxx = filepath.Dir(all[len(all)-1])
	}
	for _, c := range []struct {
		language, below, pattern string
		every                    int
		flags                    string
	}{
		{"c", "/usr/include", "*.h", 8, ""},
		{"c", "/usr/include", "*.h", 30, "-std=c99 -O2"},
		{"c", "/usr/include", "[a-m]*.h", 16, "-ansi"},
		{"c", "/usr/include", "linux/*.h", 40, ""},
		{"c", "/usr/include", "x86_64-linux-gnu/sys/*.h", 12, "-std=c2x -pthread"},
		{"assembler-with-cpp", "/usr/include", "linux/*.h", 80, ""},
		{"c++", libstdcxx, "[a-z]*", 14, ""},
		{"c++", libstdcxx, "[a-z]*", 25, "-std=c++20 -fopenmp"},
		{"c++", libstdcxx, "ext/*.h*", 5, "-std=c++98"},
		{"clang c", "/usr/include", "[a-s]*.h", 24, "-O2"},
		{"clang c++", libstdcxx, "[a-z]*", 25, "-std=c++17"},
	} {
		t.Run(c.language+" "+c.pattern+" "+c.flags, func(t *testing.T) {
			s := New(Options{})
			u := unitIn(t, t.TempDir())
			u.Language, u.Flags = c.language, strings.Fields(c.flags)
			if language, ok := strings.CutPrefix(c.language, "clang "); ok {
				u.Language, u.Compiler = language, compiler(t, "clang")
			}
			compared, refused := 0, 0
			for _, h := range publicHeaders(t, c.below, c.pattern, c.every) {
				write(t, u.Dir, map[string]string{"main.c": "#include <" + h + ">\n"})
				why, no := compare(t, s, u)
				switch {
				case no && why == "":
				case no:
					refused++
					t.Logf("%s is refused: %s", h, why)
				case why != "":
					t.Errorf("%s: %s", h, why)
				default:
					compared++
				}
			}
			t.Logf("%d units as the compiler lists them, %d refused", compared, refused)
			if refused > compared/10 {
				t.Errorf("%d of %d units are refused", refused, compared+refused)
			}
		})
	}
}

// sources returns the units of real programs that are here: of googletest, a package for C++, and
// of Go's runtime for C.
func sources(t testing.TB) []Unit {
	t.Helper()
	var units []Unit
	add := func(dir, pattern, language string, change func(u *Unit)) {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			u := unitIn(t, dir)
			u.Source, _ = filepath.Rel(dir, p)
			u.Language = language
			change(&u)
			units = append(units, u)
		}
	}
	add("/usr/src/googletest/googletest", "src/gtest-*.cc", "c++", func(u *Unit) {
		u.Include, u.Flags = []string{"."}, []string{"-std=c++17", "-O2"}
		u.System, u.Macros = []string{"include"}, []Macro{{Text: "GTEST_HAS_PTHREAD=1"}}
	})
	add("/usr/src/googletest/googlemock", "src/gmock-[a-m]*.cc", "c++", func(u *Unit) {
		u.Include = []string{"include", ".", "../googletest/include", "../googletest"}
	})
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no go command")
	}
	cgo := filepath.Join(strings.TrimSpace(string(root)), "src/runtime/cgo")
	add(cgo, "gcc_[a-m]*.c", "c", func(u *Unit) { u.Flags = []string{"-O2", "-pthread", "-fno-stack-protector"} })
	add(cgo, "gcc_amd64.S", "assembler-with-cpp", func(u *Unit) { u.Flags = []string{"-m64"} })
	return units
}

// TestSources compares units of real programs with what the compiler lists.
func TestSources(t *testing.T) {
	s := New(Options{})
	compared := 0
	for _, u := range sources(t) {
		why, no := compare(t, s, u)
		if why != "" {
			t.Errorf("%s (refused: %v): %s", u.Source, no, why)
		}
		if !no {
			compared++
		}
	}
	t.Logf("%d units as the compiler lists them", compared)
	if compared == 0 {
		t.Skip("neither googletest nor sources of Go here")
	}
}
