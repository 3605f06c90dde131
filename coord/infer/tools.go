package infer

import (
	"path"
	"regexp"
	"strings"
)

// kinds maps the plain name of a program to who reads its command line. That of cc, c++ and ld
// depends on what they are a link to.
var kinds = map[string]string{
	"gcc": "gcc", "g++": "gcc", "clang": "clang", "clang++": "clang",
	"cc": "cc", "c++": "cc", "c89": "cc", "c99": "cc", "c89-gcc": "gcc", "c99-gcc": "gcc",
	"as": "as",
	"ld": "ld", "ld.bfd": "ld", "ld.gold": "ld", "gold": "ld", "ld.lld": "ld", "lld": "ld",
	"ar": "ar", "gcc-ar": "ar", "llvm-ar": "ar",
	"ranlib": "ranlib", "gcc-ranlib": "ranlib", "llvm-ranlib": "ranlib",
	"strip": "strip", "llvm-strip": "strip",
	"objcopy": "objcopy", "llvm-objcopy": "objcopy",
	"nm": "nm", "gcc-nm": "nm", "llvm-nm": "nm",
}

// named takes a name like x86_64-linux-gnu-gcc-12 apart: an optional triplet, the tool, and an
// optional version. Three parts at least make a triplet, or gcc-ar would be an ar.
var named = regexp.MustCompile(`^(?:[a-z0-9_]+(?:-[a-z0-9_.]+){1,3}-)?` +
	`((?:gcc-|llvm-)(?:ar|ranlib|nm|strip|objcopy)|c[89]9(?:-gcc)?|gcc|g\+\+|cc|c\+\+|` +
	`clang|clang\+\+|as|ld(?:\.bfd|\.gold|\.lld)?|gold|lld|ar|ranlib|strip|objcopy|nm)` +
	`(?:-[0-9]+(?:\.[0-9]+)*)?$`)

// plain is the name of a tool without triplet and version, "" for a program that is none.
func plain(name string) string {
	name = path.Base(name)
	if m := named.FindStringSubmatch(name); m != nil && !strings.HasPrefix(name, "llvm-bitcode-strip") {
		return m[1]
	}
	return ""
}

// Tool reports whether a program of this name is one that a shim stands in for. There is none for nm,
// whose calls only print. ccache is one, see Unwrapped.
func Tool(name string) bool {
	kind := kinds[plain(name)]
	return name == ccache || kind != "" && kind != "nm" && path.Base(name) == name
}
