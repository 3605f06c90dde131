package infer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// asked remembers what tools said of themselves, by their files' paths, times and sizes.
var asked sync.Map

// An answer is what a tool said, or why it did not.
type answer struct {
	text string
	err  error
	at   time.Time
}

type askedKey struct {
	programKey
	question string
}

// askFor bounds how long a tool may think about itself. Whoever is busy takes tenths of a second.
const askFor = 10 * time.Second

// askAgain is how long a tool that did not answer is not asked again: a build has thousands of calls, and
// a machine that was too busy is not for ever.
const askAgain = time.Minute

// maxAsked bounds an answer: a linker's script has 10,000 bytes.
const maxAsked = 1 << 20

// ask runs a tool with a question for it, one that only prints.
func ask(tool, question string) (string, error) {
	real, err := filepath.EvalSymlinks(tool)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	k := askedKey{programKey{real, info.ModTime().UnixNano(), info.Size()}, tool + " " + question}
	if known, ok := asked.Load(k); ok {
		if a := known.(answer); a.err == nil || time.Since(a.at) < askAgain {
			return a.text, a.err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, question)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C", "PATH=" + standardPath}
	out, err := cmd.Output()
	if err == nil && len(out) > maxAsked {
		err = fmt.Errorf("it says %d bytes", len(out))
	}
	a := answer{text: string(out), at: time.Now()}
	if err != nil {
		a.text, a.err = "", fmt.Errorf("asking %s %s: %w", tool, question, err)
	}
	asked.Store(k, a)
	return a.text, a.err
}

// timesDefault is how the help of ar, ranlib, strip and objcopy says that they record no times and
// owners unless told to, which is how they are built where people want equal archives.
var timesDefault = regexp.MustCompile(`\[D\] .*\(default\)|-D  .*\(default\)|archives \(default\)`)

// timeless returns why a tool for archives writes the times of files down, nil if it does not.
func timeless(c *Call) error {
	real, err := filepath.EvalSymlinks(c.Tool)
	if err != nil {
		return local("%v", err)
	}
	if strings.Contains(plain(real), "llvm") { // LLVM's do so if told to
		return nil
	}
	text, err := ask(c.Tool, "--help")
	if err != nil {
		return local("%v", err)
	}
	if !timesDefault.MatchString(text) {
		return local("%s records times and owners of files", c.Model)
	}
	return nil
}
