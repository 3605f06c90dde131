package infer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gaggle/coord/infer/scan"
	"gaggle/wire"
)

// memoryStore is a Store in memory.
type memoryStore struct{ memoryTrees }

func (m memoryStore) Add(_ context.Context, path string) (wire.Object, error) {
	b, err := os.ReadFile(path)
	return wire.FileObject(wire.BlobID(wire.Sum(b)), uint64(len(b)), false), err
}

// TestPlan: what a compile's thunk consists of, or why there is none.
func TestPlan(t *testing.T) {
	gcc, top := needGCC(t), realTempDir(t)
	for name, text := range map[string]string{
		"p/src/a.c": "#include \"../inc/h.h\"\n", "p/inc/h.h": "", "p/obj/.keep": "", "other/o.h": "", "p/src/o.c": "#include \"../../other/o.h\"\n",
		"p/src/l.c": "#include \"l/h.h\"\n", "p/src/sys.c": "#include <errno.h>\n", "p/src/stamp.c": "const char *d = __TIMESTAMP__;\n", "p/inc/o1.h": "#pragma once\n", "p/inc/o2.h": "#pragma once\n", "p/src/once.c": "#include \"../inc/o1.h\"\n#include \"../inc/o2.h\"\n",
		"p/inc/e1.h": "int e;\n", "p/inc/e2.h": "int e;\n", "p/src/twice.c": "#include \"../inc/e1.h\"\n#include \"../inc/e2.h\"\n", "p/src/date.c": "const char *d = __DATE__;\n", "p/src/bad.c": "asm(\".incbin \\\"x\\\"\");\n",
	} {
		file := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../inc", filepath.Join(top, "p/src/l")); err != nil {
		t.Fatal(err)
	}
	store := memoryStore{memoryTrees{}}
	ctx := t.Context()
	chain := toolchainOf(t, store, gcc)
	p := &Planner{Store: store, Scanner: scan.New(scan.Options{}), Toolchain: func(context.Context, []string) (*Toolchain, error) { return chain, nil }}
	for _, c := range []struct {
		args string // working directory, then arguments
		want string // of what it has and makes; or the reason
	}{
		{"src -c a.c", "p src: inc/h.h src/a.c -> src/a.o"},
		{"src -c a.c -o ../obj/a.o", "p src: inc/h.h obj/ src/a.c -> obj/a.o"},
		{". -Iinc -I. -Inone -c src/a.c -o obj/a.o", "p .: inc/h.h obj/ src/a.c -> obj/a.o"},
		{"src -c o.c", ". p/src: other/o.h p/src/o.c -> p/src/o.o"},
		{"src -c a.c -o ../../far.o", ". p/src: p/inc/h.h p/src/a.c -> far.o"},
		{"src -MMD -c a.c", "p src: inc/h.h src/a.c -> src/a.d src/a.o"},
		{"src -S a.c", "p src: inc/h.h src/a.c -> src/a.s"},
		{"src -c sys.c", "p src: src/sys.c + usr/include/errno.h -> src/sys.o"},
		{"src -c date.c", "date.c has __DATE__ or __TIME__ in it"},
		{"src -DX=__DATE__ -c a.c", "asks for a time"},
		{"src -c stamp.c", "__TIMESTAMP__"},
		{"src -c once.c", "are equal, and headers are read once"},
		{"src -c twice.c", "p src: inc/e1.h inc/e2.h src/twice.c -> src/twice.o"},
		{". -I/opt -I/nowhere -c src/a.c", "p .: inc/h.h src/a.c -> a.o"},
		{"src -c l.c", "is a symbolic link"},
		{"src -c bad.c", "incbin"},
		{"src a.c -o a", "p src: inc/h.h src/a.c -> src/a"},
		{"src a.c -fopenacc -o a", "links with more than is followed"},
		{"src a.c -lnone -o a", "the library none is not found"},
		{"src -c a.c -o /usr/a.o", "outside of the build"},
		{"src -c a.c -o /dev/null", "" /* nothing or /dev in common: here in any case */},
		{"src -c none.c", "none.c"},
	} {
		words := strings.Fields(c.args)
		dir := filepath.Join(top, "p", words[0])
		args := words[1:]
		call := Model(gcc, append([]string{gcc}, args...), dir, nil, Disk{})
		got := call.Local
		if got == "" {
			plan, err := planned(ctx, p, call, args, filepath.Join(top, "p"), []string{"LANG=de_DE.UTF-8", "CPATH=", "EDITOR=vi"})
			var reason Local
			switch {
			case errors.As(err, &reason):
				got = string(reason)
			case err != nil:
				t.Fatalf("%s: %v", c.args, err)
			default:
				got = planText(t, store, top, plan)
			}
		}
		if strings.Contains(c.want, "->") && got != c.want || !strings.Contains(got, c.want) || c.want == "" && strings.Contains(got, "->") {
			t.Errorf("%s: %s\nwant %s", c.args, got, c.want)
		}
	}
}

func needGCC(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc")
	}
	return gcc
}

// realTempDir returns a directory that no symbolic link leads to.
func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// toolchainOf returns one that has nothing but programs, whose bytes do not matter.
func toolchainOf(t *testing.T, store memoryStore, programs ...string) *Toolchain {
	t.Helper()
	root, err := emptyDir(t.Context(), store)
	add := map[string]wire.Object{}
	for _, p := range programs {
		add[p[1:]] = sized(1)
	}
	if err == nil {
		root, err = graft(t.Context(), store, root, add)
	}
	if err != nil {
		t.Fatal(err)
	}
	return NewToolchain(root, store)
}

// planned makes the plan of a call that waits for nothing.
func planned(ctx context.Context, p *Planner, c *Call, args []string, base string, env []string) (*Plan, error) {
	d, err := p.Draft(ctx, c, args, base, env)
	if err != nil {
		return nil, err
	}
	return d.Plan(ctx, nil)
}

// planText draws a plan as "JOBDIR WORKDIR: INPUTS + ADDED TO THE ROOT -> OUTPUTS". Only errno.h is
// looked for in the root.
func planText(t *testing.T, store memoryStore, top string, p *Plan) string {
	t.Helper()
	th := p.Thunk
	dir, err := filepath.Rel(top, th.JobDir)
	if err != nil {
		t.Fatal(err)
	}
	work := th.WorkDir
	if work == "" {
		work = "."
	}
	var in, out []string
	for _, i := range th.Inputs {
		name := i.Path
		if i.Object.Kind == wire.Dir {
			name += "/"
		}
		in = append(in, name)
	}
	for _, m := range p.Made {
		if m.Path != filepath.Join(th.JobDir, m.Output) {
			t.Errorf("output %s belongs to %s", m.Output, m.Path)
		}
		out = append(out, m.Output)
	}
	slices.Sort(out)
	if _, ok := lookup(store, wire.DirObject(th.Root, 0), "/usr/include/errno.h"); ok {
		in = append(in, "+", "usr/include/errno.h")
	}
	if want := []wire.EnvVar{{Name: "CPATH"}, {Name: "LC_ALL", Value: "C.UTF-8"}}; fmt.Sprint(th.Env) != fmt.Sprint(want) {
		t.Errorf("environment %v, want %v", th.Env, want)
	}
	if len(p.Leaves) != len(th.Inputs)+1 {
		t.Errorf("%d leaves of %d inputs and a root", len(p.Leaves), len(th.Inputs))
	}
	return fmt.Sprintf("%s %s: %s -> %s", dir, work, strings.Join(in, " "), strings.Join(out, " "))
}

func TestLocale(t *testing.T) {
	for env, want := range map[string]string{
		"": "C", "LANG=en_US.UTF-8": "C.UTF-8", "LANG=de_DE.utf8": "C.UTF-8", "LANG=en_US.UTF-8 LC_ALL=C": "C", "LC_ALL= LANG=C.UTF-8": "C.UTF-8",
		"LC_CTYPE=ru_RU.KOI8-R LANG=C.UTF-8": "C",
	} {
		if got := locale(strings.Fields(env)); got != want {
			t.Errorf("locale(%q) = %s, want %s", env, got, want)
		}
	}
}
