package client

import (
	"fmt"
	"strings"
	"syscall"

	"gaggle/wire"
)

// reportLines is how much of the end of each stream a report shows; coord logs shows the rest.
const reportLines = 40

// report returns what a person reads about a failed task.
func report(f *FailedTask, node string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "FAILED %s: %s\n", printable(brief(f.Task)), printable(ending(&f.Failure)))
	if f.Failure.Hint != "" {
		fmt.Fprintf(&b, "  hint      %s\n", printable(f.Failure.Hint))
	}
	if len(f.Command) > 0 {
		fmt.Fprintf(&b, "  command   %s\n", strings.ReplaceAll(printableText(quoteAll(f.Command)), "\n", "\n            "))
		fmt.Fprintf(&b, "  directory /job of its sandbox\n")
	}
	if len(f.Env) > 0 {
		fmt.Fprintf(&b, "  env       %s\n", printable(quoteAll(f.Env)))
	}
	if node != "" {
		fmt.Fprintf(&b, "  node      %s", printable(node))
		if f.Tried > 1 {
			fmt.Fprintf(&b, ", attempt %d", f.Tried)
		}
		b.WriteByte('\n')
	}
	tail(&b, "stdout", f.Failure.Stdout)
	tail(&b, "stderr", f.Failure.Stderr)
	if f.Seek != "" {
		fmt.Fprintf(&b, "  trace     %s\n", printableText(f.Seek))
	}
	if f.Again != "" {
		fmt.Fprintf(&b, "  again     %s\n", printableText(f.Again))
	}
	return b.String()
}

// maxName is how much of a task's name a line shows. That of a task of nested sub-graphs is its
// path, which may take kilobytes.
const maxName = 160

// brief leaves the middle out of a long name.
func brief(name string) string { return briefTo(name, maxName) }

// briefTo leaves the middle out of a text of more than most bytes.
func briefTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	half := most/2 - 2
	return strings.ToValidUTF8(text[:half], "") + "..." + strings.ToValidUTF8(text[len(text)-half:], "")
}

// ending says how a run ended.
func ending(f *wire.Failure) string {
	s := f.Message
	if s == "" {
		s = f.Cause.String()
	}
	switch {
	case f.Cause == wire.CauseExit && f.Exit != 0 && !strings.Contains(s, fmt.Sprint(f.Exit)):
		s += fmt.Sprintf(" (exit code %d)", f.Exit)
	case f.Signal != 0 && !strings.Contains(s, "signal"):
		s += fmt.Sprintf(" (signal %d, %s)", f.Signal, syscall.Signal(f.Signal))
	}
	return s
}

// tail shows the end of a stream.
func tail(b *strings.Builder, name string, data []byte) {
	text := strings.TrimRight(string(data), "\n")
	if text == "" {
		return
	}
	lines := strings.Split(text, "\n")
	if left := len(lines) - reportLines; left > 0 {
		fmt.Fprintf(b, "  %-9s (%d lines left out)\n", name, left)
		lines, name = lines[left:], ""
	}
	for i, l := range lines {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(b, "  %-9s %s\n", name, printable(l))
	}
}

// printableText is printable but keeps line ends.
func printableText(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
