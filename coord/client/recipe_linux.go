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
// its work: neither what it prints nor how it ends is looked at, but for make's giving up.
func recipe(pid int, build streams) bool {
	if s, err := streamsOf(pid); err != nil || !s.asOf(build) {
		return false
	}
	parent, err := placeholder.ParentOf(pid)
	if err != nil {
		return false
	}
	if placeholder.IsMake(parent.Name) {
		return true
	}
	if above, err := placeholder.ParentOf(parent.PID); err != nil || !placeholder.IsMake(above.Name) {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", parent.PID))
	if err != nil {
		return false
	}
	script, ok := scriptOf(parent.Name, strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"))
	return ok && plainScript(script)
}

// scriptOf returns the script that make has a shell run.
func scriptOf(program string, words []string) (script string, ok bool) {
	if !slices.Contains(recipeShells, program) || len(words) != 3 || !strings.HasPrefix(words[1], "-") || !strings.HasSuffix(words[1], "c") {
		return "", false
	}
	return words[2], true
}

// harmless are commands that look neither at what was made before them nor at how it ended, and of
// which no harm is done if they run though a call before them has failed.
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
