package capture

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An rpmPackage is one to build: its files are paths, its architecture is the machine's if it is
// empty.
type rpmPackage struct{ name, arch, requires, files string }

// rpmSpec describes packages that are built from one source, which has the name of the first one.
func rpmSpec(ps ...rpmPackage) string {
	var tags, sections strings.Builder
	for i, p := range ps {
		n := " -n " + p.name
		if i == 0 {
			n = ""
			tags.WriteString("Name: " + p.name + "\nVersion: 1\nRelease: 1\nLicense: none\n")
		} else {
			tags.WriteString("%package" + n + "\n")
		}
		tags.WriteString("Summary: x\nAutoReqProv: no\n")
		if p.arch != "" {
			tags.WriteString("BuildArch: " + p.arch + "\n")
		}
		if p.requires != "" {
			tags.WriteString("Requires: " + p.requires + "\n")
		}
		sections.WriteString("%description" + n + "\nx\n%files" + n + "\n" + strings.ReplaceAll(p.files, " ", "\n") + "\n")
	}
	return "%global __os_install_post %{nil}\n%global _unpackaged_files_terminate_build 0\n" + tags.String() +
		"%install\ncp -a %{payload}/. %{buildroot}\n" + sections.String()
}

// Of the rpm package that owns a program come its other files, and of those it depends on the data.
func TestRPMPackages(t *testing.T) {
	for _, tool := range []string{"rpm", "rpmbuild"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("rpm is not installed")
		}
	}
	if os.Getuid() != 0 {
		t.Skip("rpm --root needs root")
	}
	dir := t.TempDir()
	payload := files(t, "usr/bin/tool=#!/usr/bin/int\n", "usr/bin/tool-other=#!/usr/bin/int\n", "usr/bin/int=#!/usr/bin/int\n", "bin/tool-old=#!/usr/bin/int\n",
		"usr/share/tool/t=1", "usr/share/doc/tool/README=1", "usr/share/tool-data/d=1", "usr/share/docs/d=1", "usr/share/sister/s=1",
		"usr/share/libdep/l=1", "usr/share/dep-common/d=1", "usr/share/other/file=1", "usr/share/setup/s=1")
	putFiles(t, dir, "tool.spec="+rpmSpec(
		rpmPackage{"tool", "", "tool-data = 1, tool-docs, sister, /usr/share/other/file, libdep, (gone if tool), rpmlib(CompressedFileNames)",
			"/usr/bin/tool /usr/bin/tool-other /bin/tool-old /usr/share/tool /usr/share/doc/tool"},
		rpmPackage{"tool-data", "noarch", "", "/usr/share/tool-data"},
		rpmPackage{"tool-docs", "noarch", "", "/usr/share/docs"},
		rpmPackage{"sister", "", "", "/usr/share/sister"},
	), "dep.spec="+rpmSpec(
		rpmPackage{"libdep", "", "dep-common", "/usr/share/libdep"},
		rpmPackage{"dep-common", "noarch", "", "/usr/share/dep-common"},
		rpmPackage{"other", "noarch", "", "/usr/share/other"},
		rpmPackage{"setup", "", "", "/usr/bin/int /usr/share/setup"},
	))
	run := func(name string, args ...string) {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	run("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+dir+"/top", "--define", "payload "+payload, "tool.spec", "dep.spec")
	built, err := filepath.Glob(dir + "/top/RPMS/*/*.rpm")
	if err != nil || len(built) != 8 {
		t.Fatalf("%d packages were built, want 8: %v", len(built), err)
	}
	machine := filepath.Join(dir, "machine")
	putFiles(t, machine, "usr/bin/", "bin -> usr/bin")
	run("rpm", append([]string{"--root", machine, "--dbpath", "/var/lib/rpm", "--nodeps", "--install"}, built...)...)

	got, notes := paths(t, machine, Options{Path: "/usr/bin"}, "tool")
	checkLines(t, "root", got, []string{"/usr/bin/int", "/usr/bin/tool", "/usr/share/other/file", "/usr/share/sister/s", "/usr/share/tool/t", "/usr/share/tool-data/d"})
	if notes != nil {
		t.Errorf("notes %q, want none", notes)
	}
	// A package that has its program by the old name is found, too.
	got, _ = paths(t, machine, Options{Path: "/usr/bin"}, "tool-old")
	if !slices.Contains(got, "/usr/share/tool/t") {
		t.Errorf("the root of tool-old has %q, and not its package's /usr/share/tool/t", got)
	}

	if err := os.Truncate(machine+"/usr/share/other/file", maxData+1); err != nil {
		t.Fatal(err)
	}
	got, notes = paths(t, machine, Options{Path: "/usr/bin"}, "tool")
	if slices.Contains(got, "/usr/share/other/file") || len(notes) != 1 || !strings.Contains(notes[0], "package other") {
		t.Errorf("with too much data the root has %q, and the notes are %q", got, notes)
	}
}
