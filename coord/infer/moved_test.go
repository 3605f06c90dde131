package infer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/coord/infer/scan"
)

// TestPortable: two directories with the same files have one thunk for a portable call, and what names
// files names those of each. A call that cannot be portable says why.
func TestPortable(t *testing.T) {
	gcc, top := needGCC(t), realTempDir(t)
	files := map[string]string{
		"src/a.c": "#include \"../inc/h.h\"\n", "src/b.c": "#include \"../../near/n.h\"\n", "src/c.c": "#include \"../../%s/inc/h.h\"\n", "inc/h.h": "", "inc/plain.rsp": "-O1\n",
		"inc/abs.rsp": "-I$PWD/inc\n", "src/d.c": "#include \"$PWD/inc/h.h\"\n", "../near/n.h": "", "src/s.s": "nop\n", "gen/.keep": "", "a.o": "x",
	}
	dirs := []string{filepath.Join(top, "one/proj"), filepath.Join(top, "another.user/deeper/tree")}
	for _, dir := range dirs {
		for name, text := range files {
			file := filepath.Join(dir, name)
			text = strings.ReplaceAll(strings.ReplaceAll(text, "$PWD", dir), "%s", filepath.Base(dir))
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	store := memoryStore{memoryTrees{}}
	gccs := toolchainOf(t, store, gcc)
	p := &Planner{Store: store, Scanner: scan.New(scan.Options{}), Portable: true, Toolchain: func(_ context.Context, tools []string) (*Toolchain, error) {
		if tools[0] == gcc {
			return gccs, nil
		}
		return toolchainOf(t, store, tools[0]), nil
	}}
	for _, c := range []struct{ call, bound string }{
		{"src gcc -g -c a.c", ""},
		{"src gcc -MD -MF $PWD/gen/a.d -MT $PWD/gen/a.o -I$PWD/inc -iquote $PWD -include $PWD/inc/h.h -c $PWD/src/a.c -o $PWD/gen/a.o", ""},
		{"src gcc -I $PWD/src/../inc -Wp,-MD,$PWD/gen/a.d -c a.c", ""},
		{"gen gcc -ffile-prefix-map=$PWD=/usr/src -fdebug-prefix-map=$PWD/src=. -c ../src/a.c", ""},
		{"src gcc -c b.c", ""},
		{". gcc @inc/plain.rsp -c src/a.c", ""},
		{"src gcc -c s.s", ""},
		{"src as -g s.s -o $PWD/gen/s.o", ""},
		{". ar rcsD $PWD/gen/lib.a $PWD/a.o", ""},
		{". ld -r -o $PWD/r.o -L$PWD/gen $PWD/a.o", ""},
		{"src gcc -c c.c", "leaves a directory and enters it again"},
		{"src gcc -DHERE=\"$PWD/share\" -c a.c", "a macro names a directory of the build"},
		{". gcc @inc/abs.rsp -c src/a.c", "abs.rsp names a directory of the build"},
		{"src gcc -c d.c", "a file that it reads names a directory of the build"},
		{"src gcc -fverbose-asm -S a.c", "-fverbose-asm writes paths down"},
		{"src gcc --coverage -c a.c", "--coverage writes paths down"},
		{". ld -o p -rpath $PWD/gen a.o", "-rpath names a directory of the build"},
		{". gcc -c -Wa,-I$PWD/gen src/s.s", "names a directory of the build"},
		{"src CPATH=$PWD/inc gcc -c a.c", "$CPATH names a directory of the build"},
	} {
		var plans []*Plan
		for _, dir := range dirs {
			at, line, _ := strings.Cut(c.call, " ")
			tool, words, env := parsed(strings.ReplaceAll(line, "$PWD", dir), dir)
			if tool == "" {
				t.Skip("no ", line)
			}
			at = filepath.Join(dir, at)
			call := Model(tool, words, at, env, Disk{})
			if call.Local != "" {
				t.Fatalf("%s: %s", c.call, call.Local)
			}
			d, err := p.Draft(t.Context(), call, words[1:], dir, env)
			if err != nil {
				t.Fatalf("%s: %v", c.call, err)
			}
			if c.bound == "" && d.Bound != "" || !strings.Contains(d.Bound, c.bound) {
				t.Errorf("%s is bound by %q, want %q", c.call, d.Bound, c.bound)
			}
			plan, err := d.Plan(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if moved := c.bound == ""; plan.Moved() != moved {
				t.Errorf("%s is moved: %v, want %v", c.call, plan.Moved(), moved)
			}
			for _, m := range plan.Made {
				if !within(m.Path, dir) {
					t.Errorf("%s makes %s, outside of %s", c.call, m.Path, dir)
				}
				if want := strings.HasSuffix(m.Path, ".d"); m.Names != want || plan.Names(m.Output) != want {
					t.Errorf("%s names files: %v, want %v", m.Path, m.Names, want)
				}
			}
			plans = append(plans, plan)
		}
		one, _ := plans[0].Thunk.Encode()
		other, _ := plans[1].Thunk.Encode()
		if same := one == other; same != (c.bound == "") {
			t.Errorf("%s: the thunks are the same: %v\n%v\n%v", c.call, same, plans[0].Thunk.Command, plans[1].Thunk.Command)
		}
	}
}

// TestRestore: a text names files of the directory and of those above it.
func TestRestore(t *testing.T) {
	m := &move{from: "/home/anna", to: "/gaggle/up3/up2", base: "/home/anna/proj/build"}
	for real, seen := range map[string]string{
		"/home/anna/proj/build": canonical, "/home/anna/proj/build/a.c": canonical + "/a.c", "/home/anna/proj/src/x.h": "/gaggle/up3/up2/up1/src/x.h",
		"/home/anna/proj": "/gaggle/up3/up2/up1", "/home/anna/lib/l.h": "/gaggle/up3/up2/lib/l.h", "/home/anna": "/gaggle/up3/up2",
	} {
		if got, ok := m.at(real); !ok || got != seen {
			t.Errorf("%s is seen at %s, %v; want %s", real, got, ok, seen)
		}
		if got := m.restore(seen + ": error"); got != real+": error" {
			t.Errorf("%s is told as %s, want %s", seen, got, real)
		}
	}
	for _, taken := range []string{"/home/anna/up1/x.h", "/home/anna/proj/tree", "/home/anna/proj/tree2/a"} {
		if got, ok := m.at(taken); ok {
			t.Errorf("%s is seen at %s, where another is", taken, got)
		}
	}
}
