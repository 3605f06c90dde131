package client

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"gaggle/wire"
)

// Release is the version of gaggle, for people.
const Release = wire.Release

// Bytes returns n for people: "0 B", "820 B", "1.2 MB".
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if f /= 1000; f < 999.5 || unit == "TB" {
			if f < 9.95 {
				return fmt.Sprintf("%.1f %s", f, unit)
			}
			return fmt.Sprintf("%.0f %s", f, unit)
		}
	}
	return ""
}

// Span returns a duration for people: "0.4s", "12s", "3m05s", "2h10m".
func Span(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		s := int(d.Seconds())
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	m := int(d.Minutes())
	return fmt.Sprintf("%dh%02dm", m/60, m%60)
}

// count returns "1 task", "3 tasks".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// tally lists how tasks came to be done: "3 ran, 1 memo, 0 shared, 1 failed".
func tally(c wire.Counts) string {
	s := fmt.Sprintf("%d ran, %d memo, %d shared", c.Ran, c.Memo, c.Shared)
	if c.Verified > 0 {
		s += fmt.Sprintf(", %d verified", c.Verified)
	}
	if c.Failed > 0 {
		s += fmt.Sprintf(", %d failed", c.Failed)
	}
	if c.Cancelled > 0 {
		s += fmt.Sprintf(", %d cancelled", c.Cancelled)
	}
	return s
}

// tasksText counts tasks, and tells how many nobody wrote: they take what a graph names of a directory.
func tasksText(n, parts int) string {
	if parts == 0 {
		return count(n, "task")
	}
	return fmt.Sprintf("%s (%d take a part of a directory)", count(n, "task"), parts)
}

// summary is the last line about a job.
func summary(e *End, parts int, wall time.Duration, out string) string {
	s := fmt.Sprintf("%s: %s in %s; %s moved", tasksText(e.Counts.Tasks, parts), tally(e.Counts), Span(wall), Bytes(e.moved()))
	if e.Files > 0 {
		s += fmt.Sprintf("; wrote %s to %s", count(e.Files, "file"), out)
	}
	return s
}

// moved is all bytes that went over a network for a job.
func (e *End) moved() int64 { return e.Counts.Moved + e.Fetched }

// waits is why something waits, behind a word that says that it does: "for a slot".
func waits(why string) string {
	return printable(strings.TrimPrefix(why, "waiting "))
}

// printable replaces what a terminal would act on, so that no output of a task can.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
}

// cut shortens s to width columns, one to a rune.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	if width < 2 {
		return ""
	}
	r := []rune(s)
	return string(r[:width-1]) + "…"
}

func micro(unix int64) time.Time { return time.UnixMicro(unix) }
