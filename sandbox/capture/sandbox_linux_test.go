package capture

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
	"gaggle/wire"
)

// The test binary is its own zygote, and becomes the commands that it watches.
func TestMain(m *testing.M) {
	sandbox.Main()
	Main()
	os.Exit(m.Run())
}

// An onDisk is a Sink that remembers where on this machine a file is, to copy it from there. It
// names files by their paths: to hash a gigabyte of programs would show nothing here.
type onDisk struct {
	*memory
	mu    sync.Mutex // guards paths
	paths map[wire.Digest]string
}

func (s *onDisk) AddPath(_ context.Context, p string) (wire.Object, error) {
	fi, err := os.Stat(p)
	if err != nil {
		return wire.Object{}, err
	}
	d := wire.Sum([]byte(p))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths[d] = p
	return wire.FileObject(wire.BlobID(d), uint64(fi.Size()), false), nil
}

// write makes a directory of o and returns how many files, directories and links it has.
func (s *onDisk) write(t *testing.T, o wire.Object, dir string) (n int) {
	t.Helper()
	for _, e := range s.trees[wire.TreeID(o.Digest)].Entries {
		p := filepath.Join(dir, e.Name)
		n++
		switch e.Object.Kind {
		case wire.Dir:
			if err := os.Mkdir(p, 0o755); err != nil {
				t.Fatal(err)
			}
			n += s.write(t, e.Object, p)
		case wire.Symlink:
			if err := os.Symlink(e.Target, p); err != nil {
				t.Fatal(err)
			}
		default:
			s.file(t, e.Object, p)
		}
	}
	return n
}

func (s *onDisk) file(t *testing.T, o wire.Object, p string) {
	t.Helper()
	mode := os.FileMode(0o644)
	if o.Kind == wire.Exec {
		mode = 0o755
	}
	source, ok := s.paths[o.Digest]
	if !ok {
		if err := os.WriteFile(p, s.blobs[o.Digest], mode); err != nil {
			t.Fatal(err)
		}
		return
	}
	from, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(to, from); err != nil { // in the kernel
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
}

// newEngine starts the real sandbox with one slot.
func newEngine(t *testing.T) *sandbox.Engine {
	t.Helper()
	e, err := sandbox.New(sandbox.Config{Dir: t.TempDir(), Slots: 1})
	if wire.CauseOf(err) == wire.CauseSandbox {
		t.Skip("no sandbox on this machine: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// elsewhere makes a directory that is not below /tmp, which the sandbox has an own of.
func elsewhere(t *testing.T) string {
	t.Helper()
	return temporary(t, "/var/tmp")
}

func temporary(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "gaggle-capture-")
	if err != nil {
		t.Skip("no place for files: ", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// inMemory makes a directory for a root of hundreds of megabytes, in memory where programs can be
// run from there.
func inMemory(t *testing.T) string {
	t.Helper()
	var fs unix.Statfs_t
	if unix.Statfs("/dev/shm", &fs) != nil || fs.Flags&unix.ST_NOEXEC != 0 || fs.Bavail*uint64(fs.Bsize) < 2<<30 {
		return t.TempDir()
	}
	return temporary(t, "/dev/shm")
}

// A place is a machine to capture from, as far as it differs from this one.
type place struct{ path, dir string }

// captureAndRun captures the tools and runs a shell text in the sandbox, whose root is that alone:
// no file of this machine can be reached from it. It returns the standard output.
func captureAndRun(t *testing.T, at place, tools []string, text string) string {
	t.Helper()
	sink := &onDisk{memory: newMemory(), paths: map[wire.Digest]string{}}
	begin := time.Now()
	r, err := Tools(t.Context(), tools, Options{Path: at.path, Dir: at.dir}, sink)
	if err != nil {
		t.Fatalf("Tools(%q): %v", tools, err)
	}
	took := time.Since(begin)
	root := filepath.Join(inMemory(t), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	nodes := sink.write(t, r.Object, root)
	t.Logf("%-44s %6.1f MB %6d entries %6d ms to capture", strings.Join(tools, " "), float64(r.Object.Size)/1e6, nodes, took.Milliseconds())
	for _, note := range r.Notes {
		t.Log("note: ", note)
	}
	rep, err := newEngine(t).Run(t.Context(), sandbox.Spec{Root: root, Argv: []string{"/bin/sh", "-euc", text}, Sink: newMemory(),
		Outputs: []wire.Output{{Path: wire.Stdout}}, Limits: sandbox.Limits{Wall: 2 * time.Minute, MemBytes: 2 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Failure != nil {
		t.Fatalf("in the sandbox: %+v\n%s%s", *rep.Failure, rep.Stdout, rep.Stderr)
	}
	return string(rep.Stdout)
}

// Each of these has needs of its own kind, and runs with nothing but its capture.
func TestCapturedProgramsRun(t *testing.T) {
	for _, c := range []struct {
		name  string
		tools string // what must be installed, and is captured
		text  string
		want  string
	}{
		{"shell with text tools", "sh cat tr sort uniq awk head",
			`printf 'b a\nb\n' | tr -s ' ' '\n' | sort | uniq -c | sort -rn | awk '{print $2, $1}' | head -n 1 | cat`, "b 2\n"},
		{"bash", "bash", `bash -c 'a=(x y); echo ${a[1]} <(:) $(id -un 2>/dev/null || echo none)' | { read a b c; echo $a $c; }`, "y none\n"},
		{"names of users", "id", "id -un", "thunk\n"},
		{"locale C.UTF-8", "bash locale", `LC_ALL=C.UTF-8 bash -c 'x=äöü; echo ${#x}'; LC_ALL=C.UTF-8 locale charmap`, "3\nUTF-8\n"},
		{"converters of character sets", "iconv", `printf 'gr\374n' | iconv -f LATIN1 -t UTF-8; printf '\244\242' | iconv -f EUC-JP -t UTF-8`, "grünあ"},
		{"gcc and g++", "gcc g++", `			echo '#include <stdio.h>
			#include <math.h>
			int main(int c, char **v) { return printf("hi %.0f ", sqrt(c * 16)) < 0; }' > a.c
			gcc -O1 -Wall -o a a.c -lm && ./a && gcc -static -o b a.c -lm && ./b && gcc -flto -O2 -o c a.c -lm && ./c
			echo '#include <iostream>
			int main() { std::cout << "C++" << std::endl; }' > a.cc; g++ -o d a.cc && ./d`, "hi 4 hi 4 hi 4 C++\n"},
		{"python", "python3", `python3 -c '
import ssl, json, sqlite3, ctypes, hashlib, zoneinfo, socket, readline, subprocess
print(json.dumps([sqlite3.connect(":memory:").execute("select 6*7").fetchone()[0], hashlib.sha256(b"").hexdigest()[:8]]))
print(ctypes.CDLL(None).abs(-3), zoneinfo.ZoneInfo("Europe/Oslo").key, len(ssl.create_default_context().get_ca_certs()) > 20)
print("grün".encode("iso-8859-1"), subprocess.check_output(["sh", "-c", "echo sub"]))'`,
			"[42, \"e3b0c442\"]\n3 Europe/Oslo True\nb'gr\\xfcn' b'sub\\n'\n"},
		{"perl", "perl", `perl -MPOSIX -MData::Dumper -MEncode -MStorable -MList::Util=sum -e 'print POSIX::floor(sum(1.5, 2)), length(encode("UTF-16", "a")), "\n"'`, "34\n"},
		{"ImageMagick", "convert identify",
			`convert -background white -fill black -font DejaVu-Sans -pointsize 20 label:gaggle -quality 90 a.jpg
			convert a.jpg -resize 50% b.png; convert rose: c.webp; identify -format '%m ' a.jpg b.png c.webp; convert a.jpg -format '%[fx:mean<0.99]' info:`, "JPEG PNG WEBP 1"},
		{"ffmpeg", "ffmpeg grep", `ffmpeg -v error -f lavfi -i testsrc=d=0.2:r=10 -f lavfi -i sine=d=0.2 -c:v libx264 -c:a aac a.mp4
			ffmpeg -v error -i a.mp4 -map 0:v -f framemd5 - | grep -c '^0'`, "2\n"},
		{"git", "git", `git init -q r; cd r; git config user.name a; git config user.email a@b; echo 1 > f; git add f
			git commit -q -m 'first one'; git log --format=%s; git submodule status; git -c i18n.logOutputEncoding=latin1 log --format=%an`, "first one\na\n"},
		{"java", "java grep", `java --list-modules | grep -q '^java.base@' && echo base
			if java --list-modules | grep -q '^jdk.compiler@'; then
				echo 'class A { public static void main(String[] a) throws Exception { System.out.println("hi " + java.time.ZoneId.of("Europe/Oslo")
				+ new String("ü".getBytes("EUC-JP"), "EUC-JP").length() + (javax.net.ssl.SSLContext.getDefault() != null)); } }' > A.java
				java -Dfile.encoding=UTF-8 A.java
			else echo hi Europe/Oslo1true; fi`, "base\nhi Europe/Oslo1true\n"},
		{"node", "node mkdir", `mkdir -p node_modules/small; echo 'module.exports = s => s.toUpperCase()' > node_modules/small/index.js
			node -e 'const z = require("zlib"), c = require("crypto");
			console.log(require("small")("hi"), z.gunzipSync(z.gzipSync("x")).toString(), c.createHash("sha256").update("").digest("hex").slice(0, 8), new Intl.NumberFormat("de").format(1234.5))'`,
			"HI x e3b0c442 1.234,5\n"},
		{"redis", "redis-server redis-cli sleep", `redis-server --port 0 --unixsocket /tmp/r --save '' --daemonize yes >/dev/null
			until redis-cli -s /tmp/r ping >/dev/null 2>&1; do sleep 0.02; done
			redis-cli -s /tmp/r set k v; redis-cli -s /tmp/r eval 'return redis.call("get", "k")' 0; redis-cli -s /tmp/r shutdown nosave`, "OK\nv\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tools := strings.Fields(c.tools)
			needTools(t, tools...)
			if c.name == "python" && !haveCertificates() {
				t.Skip("ca-certificates is not installed")
			}
			if got := captureAndRun(t, place{path: capturePath()}, tools, c.text); got != c.want {
				t.Errorf("printed %q, want %q", got, c.want)
			}
		})
	}
}

func haveCertificates() bool {
	_, err := os.Stat("/etc/ssl/certs/ca-certificates.crt")
	return err == nil
}

// systemPython returns the real path and version of the system's Python.
func systemPython(t *testing.T) (file, version string) {
	t.Helper()
	file, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		t.Skip("there is no /usr/bin/python3")
	}
	return file, strings.TrimPrefix(filepath.Base(file), "python")
}

// A program behind a version manager's stand-in runs from its own prefix, of the version that the
// directory chose, though the manager is not in the root.
func TestCapturedShimRuns(t *testing.T) {
	python, version := systemPython(t)
	home := elsewhere(t)
	dir := filepath.Join(home, ".pyenv/versions/3.99.2")
	for _, d := range []string{"bin", "lib"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(python)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"bin/python3": "python" + version, "lib/python" + version: "/usr/lib/python" + version} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/python"+version), b, 0o755); err != nil {
		t.Fatal(err)
	}
	putFiles(t, home, ".pyenv/shims/python3=#!/usr/bin/env bash\nexec pyenv exec python3\n", ".pyenv/version=3.98.1\n", "work/.python-version=3.99\n", "work/sub/")
	at := place{path: filepath.Join(home, ".pyenv/shims") + ":/usr/bin:/bin", dir: filepath.Join(home, "work/sub")}
	got := captureAndRun(t, at, []string{"python3"}, `python3 -c 'import sys, json, os; print(os.path.basename(sys.prefix))'; command -v pyenv || echo no pyenv`)
	if got != "3.99.2\nno pyenv\n" {
		t.Errorf("printed %q, want prefix 3.99.2 and no pyenv", got)
	}
}

// A virtual environment is captured whole, with the interpreter that it was made from: with links,
// and with copies, where only pyvenv.cfg tells of that.
func TestCapturedVenvRuns(t *testing.T) {
	_, version := systemPython(t)
	for _, how := range []string{"--symlinks", "--copies"} {
		t.Run(how, func(t *testing.T) {
			env := filepath.Join(elsewhere(t), "env")
			out, err := exec.Command("/usr/bin/python3", "-m", "venv", how, "--without-pip", "--system-site-packages", env).CombinedOutput()
			if err != nil {
				t.Skipf("no virtual environments here: %v\n%s", err, out)
			}
			putFiles(t, env, fmt.Sprintf("lib/python%s/site-packages/mine.py=x = 7\n", version), fmt.Sprintf("bin/tool=#!%s/bin/python3\nimport mine, sys; print(mine.x, sys.prefix != sys.base_prefix)\n", env))
			text, want := `tool; python3 -c 'import mine, json, ssl; print(mine.x)'`, "7 True\n7\n"
			if exec.Command("/usr/bin/python3", "-c", "import numpy").Run() == nil {
				text += `; python3 -c 'import numpy as n; print(n.linalg.det(n.eye(3) * 2).round())'`
				want += "8.0\n"
			} else {
				t.Log("without numpy: python3-numpy is not installed")
			}
			if got := captureAndRun(t, place{path: env + "/bin:/usr/bin:/bin"}, []string{"python3", "tool"}, text); got != want {
				t.Errorf("printed %q, want %q", got, want)
			}
		})
	}
}

// A wrapper script that finds its program by its own place is captured with that.
func TestCapturedWrapperRuns(t *testing.T) {
	needTools(t, "dirname", "readlink", "expr")
	dir := elsewhere(t)
	putFiles(t, dir, "opt/x/bin/tool=#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\nLIB=\"${here%/*}/lib\"\nexec \"$LIB/real\" \"$@\"\n",
		"opt/x/lib/real=#!/bin/bash\necho real $(expr 1 + $1)\n", "bin/tool -> ../opt/x/bin/tool")
	if got := captureAndRun(t, place{path: dir + "/bin:" + capturePath()}, []string{"tool"}, "tool 2"); got != "real 3\n" {
		t.Errorf("printed %q", got)
	}
}
