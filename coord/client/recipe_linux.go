package client

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"gaggle/coord/infer"
	"gaggle/coord/placeholder"
)

// recipeShells are those that run the recipes of make.
var recipeShells = []string{"sh", "dash", "bash", "ksh", "mksh", "zsh", "busybox"}

// streams are where the standard output and error of a process lead.
type streams [2]string

// streamsOf returns those of a process, named as by /proc.
func streamsOf(pid int) (s streams, err error) {
	for i := range s {
		if s[i], err = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, i+1)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// asOf reports whether what a process says goes where the build's does, or into the files in which
// make -O gathers it.
func (s streams) asOf(build streams) bool {
	for i := range s {
		if s[i] != build[i] && !strings.HasSuffix(s[i], " (deleted)") {
			return false
		}
	}
	return true
}

// recipe reports whether a process was started by a recipe of make that asks nothing of it but to do
// its work: neither what it prints nor how it ends is looked at, but for make's giving up. Nor is how
// that make ends, up to the build's command.
func recipe(pid int, build streams, command int) bool {
	if s, err := streamsOf(pid); err != nil || !s.asOf(build) {
		return false
	}
	parent, err := placeholder.ParentOf(pid)
	if err != nil {
		return false
	}
	if !placeholder.IsMake(parent.Name) {
		above, err := placeholder.ParentOf(parent.PID)
		if err != nil || !placeholder.IsMake(above.Name) || !runs(parent, plainScript) {
			return false
		}
		parent = above
	}
	return below(parent, command)
}

// below reports whether a make was started by the build's command, or by a make that was, directly or by
// a shell of a recipe with a script that has nothing happen after it but programs, which are held back.
func below(from placeholder.Process, command int) bool {
	for range maxDepth {
		parent, err := placeholder.ParentOf(from.PID)
		switch {
		case err != nil:
			return false
		case parent.PID == command:
			return true
		case !placeholder.IsMake(parent.Name) && !runs(parent, writesNothing):
			return false
		}
		from = parent
	}
	return false
}

// maxDepth bounds the processes between a call and the build's command.
const maxDepth = 64

// runs reports whether a process is a shell that runs a script of a recipe, and the script is such.
func runs(p placeholder.Process, such func(script string) bool) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil {
		return false
	}
	script, ok := scriptOf(p.Name, strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"))
	return ok && such(script)
}

// writesNothing reports whether a shell that runs a script neither makes nor reads files by itself.
func writesNothing(script string) bool {
	return !strings.ContainsAny(quiet.ReplaceAllString(script, " $2"), "<>")
}

// scriptOf returns the script that make has a shell run.
func scriptOf(program string, words []string) (script string, ok bool) {
	if !slices.Contains(recipeShells, program) || len(words) != 3 || !strings.HasPrefix(words[1], "-") || !strings.HasSuffix(words[1], "c") {
		return "", false
	}
	return words[2], true
}

// harmless are commands that look neither at what was made before them nor at how it ended, and of
// which no harm is done if they run though a call before them has failed; blind says of which files.
var harmless = []string{":", "true", "echo", "printf", "cd", "mkdir", "mv", "ln", "rm", "chmod"}

// plainScript reports whether a script does nothing but call tools that are modelled, harmless commands
// and other makes, whose recipes are looked at in turn, one after the other.
func plainScript(script string) bool {
	script = quiet.ReplaceAllString(strings.ReplaceAll(script, "\\\n", " "), " $2")
	for _, special := range []string{"$?", "${?", "$(", "`", "||", "<", ">"} {
		if strings.Contains(script, special) {
			return false
		}
	}
	isEnd := func(r rune) bool { return strings.ContainsRune(";\n(){}", r) }
	for command := range strings.FieldsFuncSeq(strings.ReplaceAll(script, "&&", ";"), isEnd) {
		if strings.ContainsAny(command, "&|!") {
			return false
		}
		words := strings.Fields(command)
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		name := filepath.Base(strings.Trim(words[0], `"'@`))
		if !slices.Contains(harmless, name) && !infer.Tool(name) && !placeholder.IsMake(name) {
			return false
		}
	}
	return true
}

// quiet are redirections that make no file. Where a tool's own streams lead is looked at by itself.
var quiet = regexp.MustCompile(`[12]?>(&[12]|\s*/dev/null)(\s|;|$)`)

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z_0-9]*=`)

// notifyWaiting has a signal sent on when somebody begins to wait for a placeholder.
func notifyWaiting(c chan<- os.Signal) { signal.Notify(c, syscall.SIGIO) }
