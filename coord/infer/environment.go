package infer

import (
	"slices"
	"strings"

	"gaggle/wire"
)

// passed names the variables that the results of compilers and other tools depend on. Others are not
// passed on, so that they cannot matter.
func passed(mode Mode, name string) bool {
	switch name {
	case "LIBRARY_PATH", "LD_RUN_PATH":
		return mode == Link
	case "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH", "SOURCE_DATE_EPOCH":
		return true
	}
	return strings.HasPrefix(name, "GCC_")
}

func variables(c *Call, env []string) []wire.EnvVar {
	vars := []wire.EnvVar{{Name: "LC_ALL", Value: locale(env)}}
	if c.Mode == User {
		for _, e := range c.Env {
			name, value, _ := strings.Cut(e, "=")
			vars = append(vars, wire.EnvVar{Name: name, Value: value})
		}
		return vars
	}
	seen := map[string]bool{}
	for _, e := range env {
		if name, value, _ := strings.Cut(e, "="); passed(c.Mode, name) && !seen[name] {
			seen[name] = true // as getenv, which finds the first
			vars = append(vars, wire.EnvVar{Name: name, Value: value})
		}
	}
	return vars
}

// variable returns the value of the first variable of a name, as getenv does; "" if there is none.
func variable(env []string, name string) string {
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

func isSet(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}

// locale is C.UTF-8 where the user's has UTF-8, which is how messages quote, else C. What it says
// besides, the language, is left out: a root has no translations, and values are shared by all.
func locale(env []string) string {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := variable(env, name); value != "" {
			if strings.Contains(strings.ToLower(strings.ReplaceAll(value, "-", "")), "utf8") {
				return "C.UTF-8"
			}
			return "C"
		}
	}
	return "C"
}
