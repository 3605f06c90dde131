package capture

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestFamiliesAreWellFormed(t *testing.T) {
	whys := map[string]bool{}
	for _, f := range families {
		keys := 0
		for _, set := range []bool{f.program != nil, f.library != nil, f.symbol != ""} {
			if set {
				keys++
			}
		}
		if keys != 1 || f.why == "" || len(f.paths) == 0 || whys[f.why] {
			t.Errorf("family %q has %d keys and %d paths, want one key, some paths and a reason of its own", f.why, keys, len(f.paths))
		}
		whys[f.why] = true
		for _, pattern := range slices.Concat(f.paths, f.skip, []string{f.marker}) {
			for _, p := range braces(pattern) {
				p = strings.NewReplacer("{prefix}", "/p", "{dir}", "/d", "$1", "1").Replace(p)
				if _, err := path.Match(p, ""); p != "" && (!path.IsAbs(p) || strings.ContainsAny(p, "{}") || err != nil) {
					t.Errorf("family %q has the pattern %q", f.why, p)
				}
			}
		}
	}
}

func TestBraces(t *testing.T) {
	for pattern, want := range map[string]string{"/a": "/a", "{prefix}/{a,b}/c": "{prefix}/a/c {prefix}/b/c", "{a,b}{c,d}": "ac ad bc bd", "/{a": "/{a", "{dir}/x": "{dir}/x", "/{a,}": "/a /"} {
		if got := strings.Join(braces(pattern), " "); got != want {
			t.Errorf("braces(%q) = %q, want %q", pattern, got, want)
		}
	}
}

// What one family leaves out of a directory another takes, whichever comes first.
func TestFamiliesShareDirectories(t *testing.T) {
	machine := files(t, "usr/bin/int=#!/usr/bin/int\n", "usr/bin/clang=#!/usr/bin/int\n", "usr/bin/gcc=#!/usr/bin/int\n", "usr/bin/g++=#!/usr/bin/int\n",
		"usr/lib/gcc/x/12/cc1=1", "usr/lib/gcc/x/12/cc1plus=2", "usr/lib/gcc/x/12/crtbegin.o=3")
	const dir, start = "/usr/lib/gcc/x/12/", "/usr/lib/gcc/x/12/crtbegin.o"
	for tools, want := range map[string][]string{"clang": {start}, "gcc": {dir + "cc1", start}, "clang gcc": {dir + "cc1", start}, "gcc g++": {dir + "cc1", dir + "cc1plus", start}} {
		got, _ := paths(t, machine, Options{Path: "/usr/bin"}, strings.Fields(tools)...)
		got = slices.DeleteFunc(got, func(p string) bool { return !strings.HasPrefix(p, dir) })
		checkLines(t, tools, got, want)
	}
}

// paths captures the tools of a machine in a directory and returns all files and links of the root.
func paths(t *testing.T, machine string, opt Options, names ...string) (all, notes []string) {
	t.Helper()
	ts := newTools(machine, opt)
	l, err := ts.capture(t.Context(), names, opt.Include)
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	o, err := l.store(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bare(m.list(o, "")) {
		if p, _, _ := strings.Cut(line, " "); !strings.HasSuffix(p, "/") {
			all = append(all, p)
		}
	}
	return all, ts.notes
}

// Installations that know their parts by their own place come whole, but for what is no part.
func TestPrefixes(t *testing.T) {
	for _, c := range []struct {
		name       string
		path, tool string
		machine    []string
		want       []string
	}{
		{"conda environment", "/c/bin", "x", []string{"c/conda-meta/history=1", "c/bin/x=#!/c/bin/int\n", "c/bin/int=#!/c/bin/int\n", "c/lib/data=1", "c/pkgs/y=2", "c/envs/z/f=3", "c/share/man/m=4", "c/share/t=5"},
			[]string{"/c/bin/int", "/c/bin/x", "/c/conda-meta/history", "/c/lib/data", "/c/share/t", "/usr/local/bin/x"}},
		{"package of Node.js", "/n/bin", "x", []string{"n/bin/x -> ../lib/node_modules/@s/x/cli.js", "n/lib/node_modules/@s/x/cli.js=#!/n/bin/int\n", "n/bin/int=#!/n/bin/int\n",
			"n/lib/node_modules/@s/x/node_modules/y/i.js=1", "n/lib/node_modules/@s/other/i.js=2", "n/lib/node_modules/z/i.js=3"},
			[]string{"/n/bin/int", "/n/bin/x", "/n/lib/node_modules/@s/x/cli.js", "/n/lib/node_modules/@s/x/node_modules/y/i.js", "/usr/local/bin/x"}},
		{"virtual environment made with copies", "/v/bin", "x", []string{"v/pyvenv.cfg=home = /b/bin\nversion = 3.9.2\n", "v/bin/x=#!/v/bin/python3\n", "v/bin/python3=#!/b/bin/int\n", "v/lib/m.py=1", "v/.git/config=7", "v/src/.env=8",
			"b/bin/int=#!/b/bin/int\n", "b/bin/python3.9=#!/b/bin/int\n", "b/lib/python3.9/os.py=2", "b/lib/python3.9/test/t.py=3", "b/lib/python3.9/config-3.9/libpython.a=4"},
			[]string{"/b/bin/int", "/b/bin/python3.9", "/b/lib/python3.9/os.py", "/usr/local/bin/x", "/v/bin/python3", "/v/bin/x", "/v/lib/m.py", "/v/pyvenv.cfg"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _ := paths(t, files(t, c.machine...), Options{Path: c.path}, c.tool)
			checkLines(t, "root", got, c.want)
		})
	}
}

const status = `Package: tool
Status: install ok installed
Architecture: amd64
Depends: tool-data (= 1), libdep (>= 2) | other, docs, adm, sister:any
Description: x
 Package: not a field

Package: tool-data
Architecture: all

Package: libdep
Architecture: amd64
Depends: dep-common

Package: docs
Architecture: all
Section: doc

Package: adm
Architecture: all
Section: admin

Package: sister
Source: tool (1)
Architecture: amd64

Package: dep-common
Architecture: all

Package: base
Essential: yes
Architecture: amd64
`

// Of the package that owns a program come its other files, and of those it depends on the data.
func TestPackages(t *testing.T) {
	machine := files(t, "var/lib/dpkg/status="+status, "bin -> usr/bin", "lib -> usr/lib",
		"usr/bin/tool=#!/usr/bin/int\n", "usr/bin/int=#!/usr/bin/int\n", "usr/bin/tool-other=#!/usr/bin/int\n",
		"usr/share/tool/t=1", "usr/share/doc/tool/README=1", "etc/tool/secret=1", "etc/tool/conf=1", "usr/lib/tool/l=1",
		"usr/share/tool-data/d=1", "usr/share/docs/d=1", "usr/share/adm/d=1", "usr/share/sister/s=1", "usr/share/base/b=1", "usr/share/dep-common/d=1",
		"var/lib/dpkg/info/tool.list=/.\n/bin\n/bin/tool\n/usr/bin/tool-other\n/usr/share/tool\n/usr/share/tool/t\n/usr/share/doc/tool/README\n/etc/tool/secret\n/etc/tool/conf\n/lib/tool/l\n/usr/share/tool/gone\n",
		"var/lib/dpkg/info/tool-data.list=/usr/share/tool-data/d\n", "var/lib/dpkg/info/docs.list=/usr/share/docs/d\n", "var/lib/dpkg/info/adm.list=/usr/share/adm/d\n",
		"var/lib/dpkg/info/sister:amd64.list=/usr/share/sister/s\n", "var/lib/dpkg/info/base.list=/usr/bin/int\n/usr/share/base/b\n", "var/lib/dpkg/info/dep-common.list=/usr/share/dep-common/d\n",
		"var/lib/dpkg/info/libdep.list=/usr/lib/libdep.so\n")
	if err := os.Chmod(machine+"/etc/tool/secret", 0o640); err != nil {
		t.Fatal(err)
	}
	got, notes := paths(t, machine, Options{Path: "/usr/bin"}, "tool")
	checkLines(t, "root", got, []string{"/etc/tool/conf", "/lib", "/usr/bin/int", "/usr/bin/tool", "/usr/lib/tool/l", "/usr/share/sister/s", "/usr/share/tool/t", "/usr/share/tool-data/d"})
	if notes != nil {
		t.Errorf("notes %q, want none", notes)
	}

	if err := os.Truncate(machine+"/usr/share/tool-data/d", maxData+1); err != nil {
		t.Fatal(err)
	}
	got, notes = paths(t, machine, Options{Path: "/usr/bin"}, "tool")
	if slices.Contains(got, "/usr/share/tool-data/d") || len(notes) != 1 || !strings.Contains(notes[0], "package tool-data") {
		t.Errorf("with too much data the root has %q, and the notes are %q", got, notes)
	}
}
