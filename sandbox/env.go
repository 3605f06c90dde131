package sandbox

import (
	"strconv"
	"strings"

	"gaggle/wire"
)

// DefaultPath is PATH unless the thunk sets it.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// jobDir is where a command finds its job directory unless Spec.JobDir says otherwise.
const jobDir = "/job"

const pwdIs = "PWD="

// fixedEnv is the same on every machine. HOME and TMPDIR are where a command may write without
// leaving anything in the job directory. LC_ALL=C sorts bytes the same way everywhere.
var fixedEnv = []string{
	"HOME=/tmp",
	"LC_ALL=C",
	"LOGNAME=thunk",
	"PATH=" + DefaultPath,
	pwdIs, // the working directory
	"SOURCE_DATE_EPOCH=" + strconv.Itoa(wire.FileTime),
	"TMPDIR=/tmp",
	"TZ=UTC",
	"USER=thunk",
}

// environment returns the fixed variables that env does not set, then env.
func environment(env []string, cwd string) []string {
	all := make([]string, 0, len(fixedEnv)+len(env))
	for _, f := range fixedEnv {
		if f == pwdIs {
			f += cwd
		}
		if _, set := lookupEnv(env, nameOf(f)); !set {
			all = append(all, f)
		}
	}
	return append(all, env...)
}

func lookupEnv(env []string, name string) (string, bool) {
	for _, e := range env {
		if n, v, _ := strings.Cut(e, "="); n == name {
			return v, true
		}
	}
	return "", false
}

// nameOf returns the name of a variable.
func nameOf(v string) string {
	name, _, _ := strings.Cut(v, "=")
	return name
}

// Environment returns what a command sees whose thunk sets env, in /job.
func Environment(env []string) []string { return environment(env, jobDir) }
