package infer

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gaggle/wire"
)

// TestLibraries: what a link finds in the toolchain's directories, in their order and through scripts,
// is added to the root where the root lacks it; and what another library needs must be where both
// ld.so.conf and the linker lead.
func TestLibraries(t *testing.T) {
	needTools(t, "gcc")
	top := realTempDir(t)
	at := func(names ...string) []string {
		all := slices.Clone(names)
		for i := range all {
			all[i] = filepath.Join(top, all[i])
		}
		return all
	}
	for name, text := range map[string]string{
		"one/liba.a": archiveMagic, "two/liba.so": elfMagic, "two/liba.a": archiveMagic,
		"two/libs.so": "GROUP ( libs.so.1 -lb )", "two/libs.so.1": elfMagic, "one/libb.a": archiveMagic,
		"two/libin.so.1": "", "conf/libout.so.1": "", "two/libtwice.so.1": "1", "conf/libtwice.so.1": "2",
	} {
		file := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	store := memoryStore{memoryTrees{}}
	chain := toolchainOf(t, store, filepath.Join(top, "one/libb.a"))
	where := &libraryPath{link: at("none", "one", "two"), need: at("two", "conf"), own: 1}
	for _, c := range []struct {
		wants []Want
		needs string
		want  string // what is added to the root, or why not
	}{
		{wants: []Want{{Name: "a"}}, want: "one/liba.a"},
		{wants: []Want{{Name: "a"}, {Name: ":liba.so"}}, want: "one/liba.a two/liba.so"},
		{wants: []Want{{Name: "s"}}, want: "two/libs.so two/libs.so.1"}, // libb.a is in the root
		{wants: []Want{{Name: "s", Static: true}}, want: "the library s is not found"},
		{wants: []Want{{Name: "x", Implied: true}}},
		{needs: "libin.so.1", want: "two/libin.so.1"},
		{needs: "libout.so.1", want: "is not where the linker looks"},
		{needs: "libnone.so.1", want: "is not where the linker looks"},
		{needs: "libtwice.so.1", want: "is found twice"},
	} {
		// The directories are the system's: nothing is the user's own but what is below its base.
		l := &layout{ctx: t.Context(), store: store, toolchain: chain, base: "/none", dir: "/none", links: map[string]bool{}, files: map[string]string{}, dirs: map[string]bool{}, extra: map[string]wire.Object{}}
		got := ""
		if err := l.libraries(&Call{Tool: "/bin/gcc", Dir: "/none", Wants: c.wants, Needs: strings.Fields(c.needs)}, where); err != nil {
			got = err.Error()
		} else {
			var added []string
			for p := range l.files { // a temporary directory is not among the system's
				if !chain.Has(p) {
					added = append(added, strings.TrimPrefix(p, top+"/"))
				}
			}
			slices.Sort(added)
			got = strings.Join(added, " ")
		}
		if got != c.want && (strings.Contains(got, "/") || c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("%v %s: %q, want %q", c.wants, c.needs, got, c.want)
		}
	}
}

// TestConfiguredDirectories reads files as of ld.so.conf(5).
func TestConfiguredDirectories(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ld.so.conf": "# first\n/a /b\ninclude conf.d/*.conf\n/e # last\n", "conf.d/1.conf": "/c:/d\n", "conf.d/2.txt": "/no\n", "conf.d/3.conf": "include " + dir + "/ld.so.conf\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := configured(filepath.Join(dir, "ld.so.conf"), 10)
	if want := []string{"/a", "/b", "/e"}; !slices.Equal(got, want) { // includes end at some depth
		t.Errorf("directories %v, want %v", got, want)
	}
	if err := os.Remove(filepath.Join(dir, "conf.d/3.conf")); err != nil {
		t.Fatal(err)
	}
	got = configured(filepath.Join(dir, "ld.so.conf"), 0)
	if want := []string{"/a", "/b", "/c", "/d", "/e"}; !slices.Equal(got, want) {
		t.Errorf("directories %v, want %v", got, want)
	}
}

// TestTimesByDefault tells from a tool's help whether it records times.
func TestTimesByDefault(t *testing.T) {
	for help, want := range map[string]bool{
		"  [D]          - use zero for timestamps and uids/gids (default)\n  [U]          - use actual timestamps and uids/gids\n": true,
		"  [D]          - use zero for timestamps and uids/gids\n  [U]          - use actual timestamps and uids/gids (default)\n": false,
		"  -D                           Use zero for symbol map timestamp (default)\n":                                             true,
		"  -D                           Use zero for symbol map timestamp\n  -U     Use actual timestamp (default)\n":              false,
		"    Produce deterministic output when stripping archives (default)\n":                                                     true,
		"    Produce deterministic output when stripping archives\n    Disable -D behavior (default)\n":                            false,
	} {
		if got := timesDefault.MatchString(help); got != want {
			t.Errorf("%q: %v, want %v", help, got, want)
		}
	}
}

// TestLinkersDirectories asks the real compilers.
func TestLinkersDirectories(t *testing.T) {
	needTools(t, "gcc", "ld")
	p, err := libraryPathOf(needGCC(t))
	if err != nil {
		t.Fatal(err)
	}
	found := slices.ContainsFunc(p.link, func(d string) bool {
		f, err := elf.Open(filepath.Join(d, "libgcc_s.so.1"))
		if err == nil {
			f.Close()
		}
		return err == nil
	})
	if !found || p.own == 0 || len(p.need) < p.own {
		t.Errorf("gcc's directories are %v, the linker's %v", p.link, p.need)
	}
}
