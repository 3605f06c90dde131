package capture

import (
	"os"
	"strings"
	"testing"

	"gaggle/wire"
)

// What stands in for a program is followed to the version that the directory or the user chose.
func TestManagers(t *testing.T) {
	const shim = "#!/usr/bin/env bash\nexec pyenv\n"
	pyenv := []string{"h/.pyenv/shims/python=" + shim, "h/.pyenv/versions/3.9.1/bin/python=#!x", "h/.pyenv/versions/3.12.2/bin/python=#!x",
		"h/.pyenv/versions/3.12.10/bin/python=#!x", "h/.pyenv/version=3.9.1\n", "usr/bin/python=#!x", "h/old/"}
	asdf := []string{"h/.asdf/shims/node=#!/usr/bin/env bash\n# asdf-plugin: nodejs 18.1.0\n# asdf-plugin: nodejs 20.2.0\nexec asdf exec node\n",
		"h/.asdf/installs/nodejs/18.1.0/bin/node=#!x", "h/.asdf/installs/nodejs/20.2.0/bin/node=#!x",
		"h/.asdf/shims/go=#!/bin/sh\n# asdf-plugin: golang 1.9\n", "h/.asdf/installs/golang/1.9/go/bin/go=#!x",
		"h/.tool-versions=nodejs 18.1.0\n", "h/p/.tool-versions=# mine\nnodejs 99 20.2.0\n", "h/p/deep/"}
	rustup := []string{"h/.cargo/bin/rustup=#!x", "h/.cargo/bin/rustc -> rustup", "h/.rustup/settings.toml=version = \"12\"\ndefault_toolchain = \"stable-x86_64-linux\"\n",
		"h/.rustup/toolchains/stable-x86_64-linux/bin/rustc=#!x", "h/.rustup/toolchains/1.70-x86_64-linux/bin/rustc=#!x",
		"h/a/rust-toolchain=1.70\n", "h/b/rust-toolchain.toml=[toolchain]\nchannel = \"1.70\"\n"}
	for _, c := range []struct {
		name           string
		machine        []string
		path, dir, ask string
		want           string // "" is refused
	}{
		{"pyenv, the user's version", pyenv, "/h/.pyenv/shims:/usr/bin", "/h/old", "python", "/h/.pyenv/versions/3.9.1/bin/python"},
		{"pyenv, the directory's, above it", append([]string{"h/p/.python-version=3.12.2\n", "h/p/q/"}, pyenv...), "/h/.pyenv/shims", "/h/p/q", "python", "/h/.pyenv/versions/3.12.2/bin/python"},
		{"pyenv, the latest of a series", append([]string{"h/p/.python-version=3.12\n"}, pyenv...), "/h/.pyenv/shims", "/h/p", "python", "/h/.pyenv/versions/3.12.10/bin/python"},
		{"pyenv, the system's", append([]string{"h/p/.python-version=system\n"}, pyenv...), "/h/.pyenv/shims:/usr/bin", "/h/p", "python", "/usr/bin/python"},
		{"pyenv, a version that is not there", append([]string{"h/p/.python-version=4\n"}, pyenv...), "/h/.pyenv/shims:/usr/bin", "/h/p", "python", ""},
		{"pyenv, a version that is a path", append([]string{"h/p/.python-version=../../../usr\n"}, pyenv...), "/h/.pyenv/shims:/usr/bin", "/h/p", "python", ""},
		{"asdf, the user's version", asdf, "/h/.asdf/shims", "/h", "node", "/h/.asdf/installs/nodejs/18.1.0/bin/node"},
		{"asdf, the directory's, the first that is there", asdf, "/h/.asdf/shims", "/h/p/deep", "node", "/h/.asdf/installs/nodejs/20.2.0/bin/node"},
		{"asdf, no choice", asdf, "/h/.asdf/shims", "/", "go", "/h/.asdf/installs/golang/1.9/go/bin/go"},
		{"rustup, the default", rustup, "/h/.cargo/bin", "/h", "rustc", "/h/.rustup/toolchains/stable-x86_64-linux/bin/rustc"},
		{"rustup, the directory's", rustup, "/h/.cargo/bin", "/h/a", "rustc", "/h/.rustup/toolchains/1.70-x86_64-linux/bin/rustc"},
		{"rustup, the directory's in TOML", rustup, "/h/.cargo/bin", "/h/b", "rustc", "/h/.rustup/toolchains/1.70-x86_64-linux/bin/rustc"},
		{"ccache passes on", []string{"usr/lib/ccache/gcc -> ../../bin/ccache", "usr/bin/ccache=#!x", "usr/bin/gcc=#!x"}, "/usr/lib/ccache:/usr/bin", "/", "gcc", "/usr/bin/gcc"},
		{"ccache to nothing", []string{"usr/lib/ccache/gcc -> ../../bin/ccache", "usr/bin/ccache=#!x"}, "/usr/lib/ccache:/usr/bin", "/", "gcc", ""},
		{"update-alternatives", []string{"usr/bin/awk -> /etc/alternatives/awk", "etc/alternatives/awk -> /usr/bin/mawk", "usr/bin/mawk=#!x"}, "/usr/bin", "/", "awk", "/usr/bin/awk"},
		{"one that decides in code", []string{"h/mise=#!x", "h/bin/node -> ../mise"}, "/h/bin", "/", "node", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := newTools(files(t, c.machine...), Options{Path: c.path, Dir: c.dir}).search(c.ask)
			if got != c.want || (c.want == "") != (wire.CauseOf(err) == wire.CauseInvalid && strings.Contains(err.Error(), "stand-in")) {
				t.Errorf("search(%s) = %q, %v, want %q", c.ask, got, err, c.want)
			}
		})
	}
}

// A name "node" means Node.js, never gaggle's own, of which the test binary is one.
func TestNodeIsNotOurs(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip("no /proc")
	}
	dir := files(t, "gaggle/bin/node=#!", "usr/bin/node=#!x")
	if err := os.WriteFile(dir+"/gaggle/bin/node", self, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := newTools(dir, Options{Path: "/gaggle/bin:/usr/bin"}).search("node"); got != "/usr/bin/node" {
		t.Errorf("search(node) = %q, %v, want the one after gaggle's", got, err)
	}
	_, err = newTools(dir, Options{Path: "/gaggle/bin"}).search("node")
	if wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "gaggle's own") {
		t.Errorf("with gaggle's alone the error is %v", err)
	}
}

func TestShellCalls(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"names and builtins", "set -e\ncd /x && sort a | uniq -c; if test -f b; then tr a b; fi", "set cd sort uniq test tr"},
		{"starters", "exec env -i A=b nice -n real", "exec env nice real"},
		{"a path of variables", `BASE=/opt/x; LIB="$BASE/lib"; exec "${LIB}/real" "$@"`, "exec /opt/x/lib/real"},
		{"beside itself", `here=$(cd "$(dirname "$0")" && pwd); "$here/../lib/real"`, "cd dirname pwd /bin/../lib/real"},
		{"by suffix", `exec "${0%/*}/real"`, "exec /bin/real"},
		{"resolved", `p=$(readlink -f "$0"); $(dirname $p)/real`, "readlink /real/bin/real dirname"},
		{"a default", `${JAVA:-java} -jar x`, "java"},
		{"its own functions", "f() { sed x; }\nf a", "sed"},
		{"what only a run tells", `$1 a; "$(uname)" b`, "uname"},
		{"not shell", "def f(:\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(shellCalls("/bin/tool", c.text, func(p string) (string, error) { return "/real" + p, nil }), " ")
			if got != c.want {
				t.Errorf("calls %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzShellCalls(f *testing.F) {
	f.Add("A=/x; exec \"$A/y\" $(dirname $0) ${B:-c} ${0%/*}\n")
	f.Fuzz(func(t *testing.T, text string) {
		shellCalls("/bin/tool", text, func(p string) (string, error) { return p, nil })
	})
}
