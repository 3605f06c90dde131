package capture

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"gaggle/wire"
)

// capturePath is where the tests look for this machine's programs: the system's first, since a
// developer's own Python may have gigabytes of packages.
func capturePath() string { return "/usr/local/bin:/usr/bin:/bin:" + os.Getenv("PATH") }

func captured(t *testing.T, names ...string) (*memory, wire.Object) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("programs are captured on Linux only")
	}
	m := newMemory()
	r, err := Tools(t.Context(), names, Options{Path: capturePath()}, m)
	if err != nil {
		t.Fatalf("Tools(%q): %v", names, err)
	}
	return m, r.Object
}

// needTools skips a test that is about programs which are not installed.
func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

func TestToolsSameTreeEachTime(t *testing.T) {
	_, a := captured(t, "sh", "cat", "sort")
	_, b := captured(t, "sort", "cat", "sh", "cat")
	if a != b {
		t.Errorf("two captures gave %s and %s", a.CID(), b.CID())
	}
}

// Every library that a captured program names stands in the root, found as ld.so finds it.
func TestToolsClosureIsWhole(t *testing.T) {
	needTools(t, "sort", "awk")
	h := newTools("", Options{Path: capturePath()})
	l, err := h.capture(t.Context(), []string{"sort", "awk", "sh"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/bin/sh", "/usr/bin/env", "/etc/passwd", "/etc/hosts"} {
		if _, n, err := l.find(p, true); err != nil || n == nil {
			t.Errorf("%s is not in the root: %v", p, err)
		}
	}
	for file := range h.linker.done {
		if _, n, _ := l.find(file, false); n == nil || n.source != file {
			t.Errorf("%s was looked at and is not in the root", file)
		}
	}
	if len(h.linker.done) < 4 {
		t.Errorf("looked at %d ELF files, want the programs and libc at least", len(h.linker.done))
	}
}

// A machine in a directory: what is found there, and what becomes of it.
func fake(t *testing.T, names, include []string, searchPath string, lines ...string) ([]string, error) {
	t.Helper()
	ts := newTools(files(t, lines...), Options{Path: searchPath})
	l, err := ts.capture(t.Context(), names, include)
	if err != nil {
		return nil, err
	}
	m := newMemory()
	o, err := l.store(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return bare(m.list(o, "")), nil
}

const script = "#!/usr/bin/int\n"

func TestToolsOfMachine(t *testing.T) {
	for _, c := range []struct {
		name           string
		tools, include []string
		path           string
		machine        []string
		want           []string
	}{
		{"links on the way are kept", []string{"tool"}, nil, "/bin",
			[]string{"usr/bin/int=#!/usr/bin/int\n", "bin -> usr/bin", "usr/bin/tool -> ../../etc/alternatives/tool", "etc/alternatives/tool -> ../../usr/bin/tool-2", "usr/bin/tool-2=" + script},
			[]string{"/bin -> usr/bin", "/etc/alternatives/", "/etc/alternatives/tool -> ../../usr/bin/tool-2", "/usr/", "/usr/bin/",
				`/usr/bin/int executable "#!/usr/bin/int\n"`, "/usr/bin/tool -> ../../etc/alternatives/tool", `/usr/bin/tool-2 executable "#!/usr/bin/int\n"`}},
		{"a program elsewhere can be found by name", []string{"tool"}, nil, "/opt/x/bin",
			[]string{"opt/x/bin/tool=" + script, "usr/bin/int=#!/usr/bin/int\n"},
			[]string{"/opt/", "/opt/x/", "/opt/x/bin/", `/opt/x/bin/tool executable "#!/usr/bin/int\n"`, "/usr/", "/usr/bin/",
				`/usr/bin/int executable "#!/usr/bin/int\n"`, "/usr/local/", "/usr/local/bin/", `/usr/local/bin/tool executable "#!/bin/sh\nexec '/opt/x/bin/tool' \"$@\"\n"`}},
		{"a wrapper brings what it calls", []string{"tool"}, nil, "/usr/bin",
			[]string{"usr/bin/int=#!/usr/bin/int\n", "usr/bin/tool=" + script + "exec '/usr/lib/tool/real' /usr/lib/none\n # not /usr/lib/other", "usr/lib/tool/real=" + script, "usr/lib/other=" + script},
			[]string{"/usr/", "/usr/bin/", `/usr/bin/int executable "#!/usr/bin/int\n"`, `/usr/bin/tool executable 76 bytes`,
				"/usr/lib/", "/usr/lib/tool/", `/usr/lib/tool/real executable "#!/usr/bin/int\n"`}},
		{"env names the interpreter", []string{"tool"}, nil, "/usr/bin",
			[]string{"usr/bin/env=#!/usr/bin/int\n", "usr/bin/int=#!/usr/bin/int\n", "usr/bin/tool=#!/usr/bin/env -S A=b lang -u\n", "usr/bin/lang=" + script},
			[]string{"/usr/", "/usr/bin/", `/usr/bin/env executable "#!/usr/bin/int\n"`, `/usr/bin/int executable "#!/usr/bin/int\n"`,
				`/usr/bin/lang executable "#!/usr/bin/int\n"`, `/usr/bin/tool executable "#!/usr/bin/env -S A=b lang -u\n"`}},
		{"a shim leads to the version in use", []string{"tool"}, nil, "/h/.pyenv/shims:/usr/bin",
			[]string{"h/.pyenv/shims/tool=#!/bin/bash\nexec pyenv\n", "h/.pyenv/version=9\n1.2\n", "h/.pyenv/versions/1.2/bin/tool=" + script, "usr/bin/int=#!/usr/bin/int\n"},
			[]string{"/h/", "/h/.pyenv/", "/h/.pyenv/versions/", "/h/.pyenv/versions/1.2/", "/h/.pyenv/versions/1.2/bin/",
				`/h/.pyenv/versions/1.2/bin/tool executable "#!/usr/bin/int\n"`, "/usr/", "/usr/bin/", `/usr/bin/int executable "#!/usr/bin/int\n"`,
				"/usr/local/", "/usr/local/bin/", "/usr/local/bin/tool executable 54 bytes"}},
		{"a virtual environment stays one", []string{"python3"}, nil, "/v/bin",
			[]string{"v/bin/python3 -> ../../usr/bin/python3.9", "v/pyvenv.cfg=home = /usr/bin\n", "v/lib/python3.9/site-packages/m.py=1",
				"usr/bin/python3.9=" + script, "usr/bin/int=#!/usr/bin/int\n", "usr/lib/python3.9/os.py=2", "usr/lib/python3.9/__pycache__/os.pyc=3", "usr/lib/python3.8/os.py=4"},
			[]string{"/usr/", "/usr/bin/", `/usr/bin/int executable "#!/usr/bin/int\n"`, `/usr/bin/python3.9 executable "#!/usr/bin/int\n"`,
				"/usr/lib/", "/usr/lib/python3.9/", `/usr/lib/python3.9/os.py file "2"`,
				"/usr/local/", "/usr/local/bin/", `/usr/local/bin/python3 executable "#!/bin/sh\nexec '/v/bin/python3' \"$@\"\n"`,
				"/v/", "/v/bin/", "/v/bin/python3 -> ../../usr/bin/python3.9", "/v/lib/", "/v/lib/python3.9/", "/v/lib/python3.9/site-packages/",
				`/v/lib/python3.9/site-packages/m.py file "1"`, `/v/pyvenv.cfg file "home = /usr/bin\n"`}},
		{"includes", nil, []string{"/opt/data", "/srv/**/*.txt"}, "",
			[]string{"opt/data/a=1", "opt/data/link -> ../../etc/conf/c", "etc/conf/c=2", "opt/data/dangling -> nowhere", "opt/data/loop -> loop", "opt/other=3", "srv/x.txt=4", "srv/d/e/y.txt=5", "srv/d/z.md=6"},
			[]string{"/etc/conf/", `/etc/conf/c file "2"`, "/opt/", "/opt/data/", `/opt/data/a file "1"`, "/opt/data/dangling -> nowhere", "/opt/data/link -> ../../etc/conf/c",
				"/opt/data/loop -> loop", "/srv/", "/srv/d/", "/srv/d/e/", `/srv/d/e/y.txt file "5"`, `/srv/x.txt file "4"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fake(t, c.tools, c.include, c.path, c.machine...)
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, "root", got, c.want)
		})
	}
}

func TestToolsRefuses(t *testing.T) {
	machine := []string{
		"usr/bin/ffmpeg=#!/usr/bin/ffmpeg\n", "usr/bin/ffprobe=#!/usr/bin/ffmpeg\n", "usr/bin/plain=x", "usr/bin/odd=#!int\n",
		"usr/bin/lost=#!/usr/bin/none\n", "opt/rustup=#!/usr/bin/ffmpeg\n", "usr/bin/rustc -> ../../opt/rustup",
		"h/.asdf/shims/node=#!/usr/bin/ffmpeg\n", "usr/bin/loop -> loop", "usr/bin/broken=#!\n",
	}
	for _, c := range []struct {
		name           string
		tools, include []string
		want           []string // in the message
	}{
		{"unknown program", []string{"ffmgeg"}, nil, []string{`no program "ffmgeg" on PATH`, "near it: ffmpeg", "apt-get install ffmgeg", "give a root"}},
		{"package of another name", []string{"convert"}, nil, []string{"apt-get install imagemagick"}},
		{"several unknown", []string{"nope-a", "ffmpeg", "nope-b"}, nil, []string{`"nope-a"`, `"nope-b"`}},
		{"not executable", []string{"plain"}, nil, []string{`no program "plain"`}},
		{"relative", []string{"./x"}, nil, []string{`"./x" cannot be a tool`}},
		{"absolute and absent", []string{"/no/such"}, nil, []string{"/no/such"}},
		{"script without its interpreter", []string{"lost"}, nil, []string{"/usr/bin/none"}},
		{"script with a relative interpreter", []string{"odd"}, nil, []string{`/usr/bin/odd`, `"int"`}},
		{"script without interpreter", []string{"broken"}, nil, []string{"/usr/bin/broken"}},
		{"stand-in", []string{"rustc"}, nil, []string{"/usr/bin/rustc is a stand-in of rustup", "rustup which rustc"}},
		{"shim of an unknown manager", []string{"node"}, nil, []string{"stand-in of asdf"}},
		{"link to itself", []string{"loop"}, nil, []string{`"loop"`}},
		{"include of nothing", nil, []string{"/no/*.x"}, []string{`"/no/*.x" matches nothing`}},
		{"relative include", nil, []string{"lib"}, []string{`"lib" is not absolute`}},
		{"bad include", nil, []string{"/usr/[a"}, []string{`"/usr/[a"`, "syntax error"}},
		{"include of the machine", nil, []string{"/"}, []string{"/ cannot be taken"}},
		{"include of all programs", nil, []string{"/usr"}, []string{"/usr cannot be taken"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := fake(t, c.tools, c.include, "/usr/bin:/h/.asdf/shims:relative::", machine...)
			if wire.CauseOf(err) != wire.CauseInvalid {
				t.Fatalf("error %v, want one of cause invalid", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// Libraries where only ld.so.cache would lead: a link beside libc leads there in the root.
func TestToolsLibraryOfConf(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("ELF")
	}
	cat, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Skip("no /bin/cat to take apart")
	}
	ld, err := filepath.EvalSymlinks("/lib64/ld-linux-x86-64.so.2")
	if err != nil {
		t.Skip("not an x86-64 machine with glibc")
	}
	loader, err := os.ReadFile(ld)
	if err != nil {
		t.Fatal(err)
	}
	libc, err := os.ReadFile(filepath.Join(filepath.Dir(ld), "libc.so.6"))
	if err != nil {
		t.Skip("libc is not beside its loader")
	}
	dir := files(t, "etc/ld.so.conf=include /etc/ld.so.conf.d/*.conf\n", "etc/ld.so.conf.d/x.conf=# here\n/opt/lib\n",
		"usr/bin/cat=#!", "lib64/ld-linux-x86-64.so.2=#!", "opt/lib/libc.so.6=#!")
	for p, b := range map[string][]byte{"usr/bin/cat": cat, "lib64/ld-linux-x86-64.so.2": loader, "opt/lib/libc.so.6": libc} {
		if err := os.WriteFile(filepath.Join(dir, p), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := newTools(dir, Options{Path: "/usr/bin"}).capture(t.Context(), []string{"cat"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, n, _ := l.find("/usr/lib/libc.so.6", false); n == nil || n.target != "/opt/lib/libc.so.6" {
		t.Errorf("/usr/lib/libc.so.6 is %+v, want a link to /opt/lib", n)
	}

	if err := os.Remove(filepath.Join(dir, "opt/lib/libc.so.6")); err != nil {
		t.Fatal(err)
	}
	_, err = newTools(dir, Options{Path: "/usr/bin"}).capture(t.Context(), []string{"cat"}, nil)
	if wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "needs the library libc.so.6") {
		t.Errorf("without libc the error is %v", err)
	}
}

func TestHeaviest(t *testing.T) {
	for name, c := range map[string]struct {
		machine []string
		want    string
	}{
		"deep down":        {[]string{"a/b/c/f=123456", "a/b/d=1", "x=1"}, "/a/b/c 6"},
		"where it divides": {[]string{"a/b/f=123", "a/c/f=456", "x=1"}, "/a 6"},
		"in the root":      {[]string{"a/f=1", "x=12"}, "/ 3"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := readDir(files(t, c.machine...))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.store(t.Context(), newMemory()); err != nil {
				t.Fatal(err)
			}
			if p, bytes := l.heaviest(); fmt.Sprint(p, " ", bytes) != c.want {
				t.Errorf("heaviest() = %s, %d, want %s", p, bytes, c.want)
			}
		})
	}
}

func TestToolsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Tools(ctx, []string{"sh"}, Options{Path: capturePath()}, newMemory()); err == nil {
		t.Error("Tools with a cancelled context succeeded")
	}
}
