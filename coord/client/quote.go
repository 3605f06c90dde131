package client

import (
	"cmp"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gaggle/wire"
)

// quote returns s as one word of a POSIX shell.
func quote(s string) string {
	safe := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-./:=@%+,", c)
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !safe(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// quoteAll returns a command line.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// again returns the shell line that runs a task of the job once more. A task of a sub-graph is
// run by its top-most ancestor.
func (r *record) again(task string) string {
	line := []string{"coord"}
	if r.Run != nil {
		line = append(line, "run")
	} else {
		line = append(line, "submit")
	}
	line = append(line, r.meshFlags()...)
	if r.Twice {
		line = append(line, "--check-determinism")
	}
	if r.Verify > 0 {
		line = append(line, "--verify", strconv.Itoa(r.Verify)+"%")
	}
	if r.Trust != wire.TrustAny {
		line = append(line, "--trust", r.Trust.String())
	}
	if r.Run != nil {
		line = append(line, r.Run.again(task)...)
	} else {
		line = append(line, r.submitAgain(task)...)
	}
	return "cd " + quote(r.Dir) + " && " + quoteAll(line)
}

// meshFlags are those with which a command reaches the job's coordinator.
func (r *record) meshFlags() []string {
	switch {
	case r.Mesh != "":
		return []string{"--mesh", r.Mesh}
	case r.Local:
		return []string{"--local"}
	}
	return nil
}

// absence matches what programs say when they do not find a file.
var absence = regexp.MustCompile(`(?i)no such file|not found|no module named|(cannot|can't|could not|unable to) (be )?(open|find|load|locate)`)

// seek returns the shell line that tells what a task looks for in vain, "" if it did not fail for
// that as far as its last words tell.
func (r *record) seek(f *wire.FailedTask) string {
	if f.Failure.Cause != wire.CauseExit || !absence.Match(f.Failure.Stderr) && !absence.MatchString(f.Failure.Message) {
		return ""
	}
	line := append([]string{"coord", "shell"}, r.meshFlags()...)
	return quoteAll(append(line, r.Job+"/"+f.Task, "--trace"))
}

func (r *record) submitAgain(task string) (line []string) {
	switch {
	case r.GraphDir != "":
		line = []string{"--dir", r.GraphDir}
	case r.Graph == "": // it came on standard input: there is a copy
		line = []string{"--dir", r.Dir}
	}
	line = append(line, cmp.Or(r.Graph, r.Copy))
	if r.Out != "" && r.Out != r.Dir {
		line = append(line, "--out", near(r.Dir, r.Out))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Params)) {
		line = append(line, "-p", k+"="+r.Params[k])
	}
	return append(line, "--only", within(task))
}

// near returns a path as one would write it in dir.
func near(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// within cuts the long path of a task of nested sub-graphs down to that of a task around it.
func within(task string) string {
	if len(task) <= 2*maxName {
		return task
	}
	if i := strings.LastIndexByte(task[:2*maxName], '/'); i > 0 {
		return task[:i]
	}
	return task
}

func (r *Run) again(task string) (line []string) {
	if r.Out != "" {
		line = append(line, "--out", r.Out)
	}
	if r.Gang > 0 {
		line = append(line, "--gang", strconv.Itoa(r.Gang))
	}
	if r.Network {
		line = append(line, "--network")
	}
	if r.Timeout > 0 {
		line = append(line, "--timeout", r.Timeout.String())
	}
	line = append(line, r.Words...)
	if r.together() && len(r.Args) > 0 { // none runs without the others
		return append(append(line, ":::"), r.Args...)
	}
	for i, arg := range r.Args {
		if r.taskName(i) == task {
			return append(line, ":::", arg)
		}
	}
	return line
}
