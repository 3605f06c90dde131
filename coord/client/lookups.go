package client

import (
	"fmt"
	"regexp"
	"strings"

	"gaggle/sandbox"
)

// shownLookups is how many of each list a person is shown: the last that were looked for, which say
// most of why a command failed.
const shownLookups = 60

// doneWithout matches files that most programs look for and almost no machine has: of the dynamic
// linker settings, its cache and directories for kinds of processors; of Python compiled modules
// beside their source, and packages that are one shared object.
var doneWithout = regexp.MustCompile(`^/etc/ld\.so\.(preload|cache)$|/glibc-hwcaps/[^/]+$|/tls(/|$)|/x86_64$|/__pycache__(/[^/]+\.pyc)?$|/__init__(\.[^/]+)?\.so$`)

// lookupsText tells a person what a command looked for in vain.
func lookupsText(l *sandbox.Lookups) string {
	var b strings.Builder
	var vain []sandbox.Missing
	elsewhere, optional := 0, 0
	for _, m := range l.Missing {
		switch {
		case m.Elsewhere:
			elsewhere++
		case doneWithout.MatchString(m.Path):
			optional++
		default:
			vain = append(vain, m)
		}
	}
	if len(vain) == 0 {
		b.WriteString("trace: it looked for nothing in vain")
	} else {
		b.WriteString("trace: it looked in vain for, in this order")
	}
	fmt.Fprintf(&b, " (beside %d that it then found elsewhere, %d that programs do without)\n", elsewhere, optional)
	if more := len(vain) - min(len(vain), shownLookups) + l.Earlier; more > 0 {
		fmt.Fprintf(&b, "  ... %d before these\n", more)
	}
	for _, m := range vain[max(0, len(vain)-shownLookups):] {
		fmt.Fprintf(&b, "  %-7s  %s\n", m.Use, printable(m.Path))
	}
	if len(l.Listed) > 0 {
		b.WriteString("trace: it read these directories, and need not look for what is not in them\n")
	}
	for _, d := range l.Listed[:min(len(l.Listed), shownLookups)] {
		fmt.Fprintf(&b, "  list     %s\n", printable(d))
	}
	if more := len(l.Listed) - shownLookups; more > 0 {
		fmt.Fprintf(&b, "  ... and %d more\n", more)
	}
	if l.Unread > 0 {
		fmt.Fprintf(&b, "trace: %s could not be read (see kernel.yama.ptrace_scope)\n", count(l.Unread, "file name"))
	}
	return b.String()
}
