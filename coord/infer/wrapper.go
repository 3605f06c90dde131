package infer

import (
	"path"
	"path/filepath"
	"strings"
)

// ccache is the program that runs a compiler unless it remembers what that made. The mesh remembers it
// as well, so that a call of it is one of the compiler.
const ccache = "ccache"

// Unwrapped returns the call of a compiler that a call of ccache is; search is $PATH of the call, whose
// stand-ins are passed over. It is false for a call of another tool, a question to ccache, and where the
// compiler is not found.
func Unwrapped(tool string, args []string, dir, search string) (compiler string, rest []string, ok bool) {
	if path.Base(tool) != ccache || len(args) == 0 || !Tool(path.Base(args[0])) {
		return "", nil, false
	}
	compiler = args[0]
	if !strings.Contains(compiler, "/") {
		compiler = foundReal(compiler, search)
	} else if compiler = filepath.Join(dir, compiler); path.IsAbs(args[0]) {
		compiler = args[0]
	}
	if !runnable(compiler) || standsIn(compiler) {
		compiler = foundReal(path.Base(args[0]), search) // CMake keeps the name of the stand-in that it has found
	}
	return compiler, args[1:], compiler != "" && path.Base(compiler) != ccache
}

// foundReal returns the program of a name that is no stand-in, "" if there is none.
func foundReal(name, search string) string {
	for _, dir := range filepath.SplitList(search) {
		if p := filepath.Join(dir, name); filepath.IsAbs(p) && runnable(p) && !standsIn(p) {
			return p
		}
	}
	return ""
}

// standsIn reports whether a program is the one that stands in for tools.
func standsIn(p string) bool {
	real, err := filepath.EvalSymlinks(p)
	return err == nil && filepath.Base(real) == ShimName
}
