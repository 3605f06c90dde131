package graph

import (
	"cmp"
	"fmt"
	"strings"

	"gaggle/wire"
)

// A pos is a place in the graph file.
type pos struct {
	line int32  // from 1
	path string // "tasks.count.outputs[0]"
}

// problems collects what is wrong with a file, so that a user sees several at once.
type problems struct {
	file    string // "": nobody wrote it, so places in it say nothing
	cause   wire.Cause
	seen    map[string]bool
	texts   []string // "file:line: path: message"
	hints   []string
	more    int // not kept
	stopped bool
}

func newProblems(file string) *problems {
	return &problems{file: file, cause: wire.CauseInvalid, seen: make(map[string]bool)}
}

// add notes a problem at p and what to do about it. The same problem twice is one.
func (ps *problems) add(p pos, hint, format string, args ...any) {
	text := ps.where(p) + fmt.Sprintf(format, args...)
	switch {
	case ps.seen[text]:
		return
	case len(ps.texts) == maxProblems:
		ps.more++
		return
	}
	ps.seen[text] = true
	ps.texts = append(ps.texts, text)
	ps.hints = append(ps.hints, hint)
}

// where writes "file:line: path: ".
func (ps *problems) where(p pos) string {
	if ps.file == "" {
		return ""
	}
	where := ps.file
	if p.line > 0 {
		where = fmt.Sprintf("%s:%d", where, p.line)
	}
	if p.path != "" {
		where += ": " + p.path
	}
	return where + ": "
}

// any reports whether there is a problem.
func (ps *problems) any() bool { return len(ps.texts) > 0 }

// stop notes a problem that makes looking for more pointless.
func (ps *problems) stop(p pos, hint, format string, args ...any) {
	ps.cause, ps.stopped = wire.CauseTooLarge, true
	ps.add(p, hint, format, args...)
}

// full reports whether further problems would only be counted, or need not be looked for.
func (ps *problems) full() bool { return ps.stopped || ps.more > 0 }

// count returns how many problems were noted, for comparing before and after.
func (ps *problems) count() int { return len(ps.texts) + ps.more }

// err returns the problems as one error, nil if there are none.
func (ps *problems) err() error {
	switch len(ps.texts) {
	case 0:
		return nil
	case 1:
		return &wire.Error{Cause: ps.cause, Message: ps.texts[0], Hint: ps.hints[0]}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s has %d problems:", cmp.Or(ps.file, "it"), len(ps.texts)+ps.more)
	for i, t := range ps.texts {
		b.WriteString("\n  " + t)
		if ps.hints[i] != "" {
			b.WriteString(": " + ps.hints[i])
		}
	}
	if ps.more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", ps.more)
	}
	return &wire.Error{Cause: ps.cause, Message: b.String()}
}

// Nearest returns `did you mean "x"?` for the known name nearest to name, else a list of them if
// they are few, else "".
func Nearest(name string, known []string) string {
	best, dist := "", len(name)/3+2 // as far as cmd/go and git go
	for _, k := range known {
		if d := distance(name, k, dist); d < dist && d < len(k) {
			best, dist = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", clip(best))
	case len(known) == 1:
		return fmt.Sprintf("there is only %q", clip(known[0]))
	case len(known) > 0 && len(known) <= 30:
		return "known here: " + strings.Join(known, ", ")
	}
	return ""
}

// distance is the edit distance of a and b in bytes, with swapped neighbours as one edit
// (optimal string alignment); it may stop at limit.
func distance(a, b string, limit int) int {
	if abs(len(a)-len(b)) >= limit || len(a) > 200 || len(b) > 200 {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

func abs(n int) int { return max(n, -n) }

// clip shortens foreign text for a message.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}
