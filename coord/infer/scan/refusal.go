package scan

import (
	"path/filepath"
	"slices"
	"strings"
)

// foreignFlags begin options that have files read, or text read otherwise, than is known here.
var foreignFlags = []string{
	"-fmodule", "-fprebuilt-module", "-fimplicit-module", "-fbuiltin-module-map", "-fcxx-modules",
	"-fplugin", "-fpch", "-fpreprocessed", "-fdirectives-only", "-fmax-include-depth",
	"-finput-charset", "-traditional", "-include-pch", "-ivfsoverlay", "-imultilib", "-iprefix", "-iwithprefix",
	"-F", "-iframework", "-remap", "-fms-compat", "-cxx-isystem", "-M", "-o",
}

// refusal says why the scanner does not serve a unit at all, or "".
func (u *Unit) refusal() string {
	switch {
	case u.Source == "-" || u.Source == "":
		return "standard input"
	case !filepath.IsAbs(u.Dir) || !filepath.IsAbs(u.Compiler):
		return "a directory or compiler that is not absolute"
	case languageDirs[u.Language] == "":
		return "language " + clip(u.Language)
	}
	for _, f := range u.Flags {
		if f == "-I-" || f == "-fmodules-ts" || slices.ContainsFunc(foreignFlags, func(p string) bool { return strings.HasPrefix(f, p) }) {
			return "flag " + clip(f)
		}
	}
	for _, d := range slices.Concat(u.Quote, u.Include, u.System, u.After) {
		if strings.HasPrefix(d, "=") || strings.HasPrefix(d, "$SYSROOT") || d == "" || d == "-" {
			return "directory " + clip(d)
		}
	}
	return ""
}
