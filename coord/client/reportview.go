package client

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// report tells of the last build, or of all that are remembered, the oldest first.
func (s *session) report(all bool) error {
	builds := s.a.tools.reports.list()
	if len(builds) == 0 {
		return s.send(&Event{Note: "no builds yet: coord make, or CC='coord cc'"})
	}
	if n := len(builds) - 1; n > 0 && !all {
		builds = builds[n:]
		if err := s.send(&Event{Note: fmt.Sprintf("%s: coord report --all", count(n, "older build"))}); err != nil {
			return err
		}
	}
	for i := range builds {
		if err := s.send(&Event{Report: &builds[i]}); err != nil {
			return err
		}
	}
	return nil
}

// A reportView prints what became of the calls of tools in builds.
type reportView struct {
	out, err io.Writer
	json     bool
}

// NewReport returns a view that prints what coord report asks for: for people, or as a line of JSON
// for each build, a BuildReport.
func NewReport(out, err io.Writer, json bool) View { return &reportView{out, err, json} }

// Event prints a build.
func (v *reportView) Event(e *Event, now time.Time) error {
	if e.Note != "" {
		if _, err := fmt.Fprintln(v.err, printable(e.Note)); err != nil {
			return err
		}
	}
	switch {
	case e.Report == nil:
		return nil
	case v.json:
		enc := json.NewEncoder(v.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(e.Report)
	}
	_, err := io.WriteString(v.out, e.Report.text(now))
	return err
}

// Tick prints nothing.
func (v *reportView) Tick(time.Time) error { return nil }

// End prints nothing.
func (v *reportView) End(*End, time.Time) error { return nil }

// text tells people of a build.
func (b *BuildReport) text(now time.Time) string {
	var s strings.Builder
	when := "going on"
	if !b.Going {
		when = Span(now.Sub(b.Last)) + " ago"
	}
	done := b.Ran + b.Memo + b.Shared
	fmt.Fprintf(&s, "%s in %s, %s, took %s\n", printable(b.Command), printable(b.Dir), when, Span(b.Last.Sub(b.Begun)))
	fmt.Fprintf(&s, "%d of %d compiler calls on the mesh: %d ran, %d memo, %d shared; %d here\n", done, done+b.Here, b.Ran, b.Memo, b.Shared, b.Here)
	if b.InferenceSeconds > 0 {
		fmt.Fprintf(&s, "%.3f s of CPU to find out what they read and write\n", b.InferenceSeconds)
	}
	for i := range b.Why {
		b.Why[i].text(&s)
	}
	if b.Others > 0 {
		fmt.Fprintf(&s, "%5d  for other reasons\n", b.Others)
	}
	if len(b.Bound) > 0 {
		s.WriteString("not portable:\n")
	}
	for i := range b.Bound {
		b.Bound[i].text(&s)
	}
	return s.String()
}

func (r *Reason) text(s *strings.Builder) {
	fmt.Fprintf(s, "%5d  %s\n", r.Calls, printable(r.Why))
	for _, e := range r.Examples {
		where := "in " + e.Dir
		if e.Source != "" {
			where = e.Source + " " + where
		}
		fmt.Fprintf(s, "         %s\n           %s\n", printable(where), printable(e.Command))
	}
}
