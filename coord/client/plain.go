package client

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A jobView is what every view for people keeps of a job, and the lines that all of them print.
type jobView struct {
	out  io.Writer // what the tasks wrote
	err  io.Writer // about the job
	dir  string    // as the user named the directory of the targets
	last io.Writer // the summary

	begun    time.Time
	started  *Started
	board    *Board
	names    map[wire.PeerID]string
	hashing  *Hashing
	fetching *Fetching
	failing  []failing // not told yet
}

// A failing is a line about a task that failed. The job's end tells it in full: if that comes
// within tellFailing the line is not needed.
type failing struct {
	task, line string
	at         time.Time
}

// tellFailing is how long after a failure the end of its job may still come of it.
const tellFailing = 2 * time.Second

func newJobView(out, err, last io.Writer, dir string, now time.Time) jobView {
	return jobView{out: out, err: err, last: last, dir: dir, begun: now, names: map[wire.PeerID]string{}}
}

// take notes what an event says and returns the text to print for it, if any.
func (v *jobView) take(e *Event, now time.Time) (text string) {
	var b strings.Builder
	for _, p := range e.Peers {
		v.names[p.Peer] = p.Name
	}
	if e.Note != "" {
		fmt.Fprintln(&b, printable(e.Note))
	}
	if c := e.Captured; c != nil {
		fmt.Fprintln(&b, c)
	}
	if e.Hashing != nil {
		v.hashing = e.Hashing
	}
	if s := e.Started; s != nil {
		again := v.started != nil
		v.started, v.board = s, NewBoard(s, now)
		if !again {
			fmt.Fprintf(&b, "job %s: %s%s\n", s.Job, tasksText(v.board.Counts.Tasks, v.started.Parts), v.where())
		}
	}
	for i := range e.Notices {
		v.notice(&b, &e.Notices[i], now)
	}
	if e.Fetching != nil {
		v.fetching = e.Fetching
	}
	if e.Failed != nil {
		v.failing = slices.DeleteFunc(v.failing, func(f failing) bool { return f.task == e.Failed.Task })
		fmt.Fprint(&b, report(e.Failed, v.nameOf(e.Failed.Failure.Node, e.Failed.Failure.NodeName)))
	}
	return b.String()
}

func (v *jobView) where() string {
	s := ""
	if v.started.Mesh != "" {
		s = " on " + v.started.Mesh
	}
	if v.hashing != nil && v.hashing.Files > 0 {
		s += fmt.Sprintf(", %s of input (%s)", count(int(v.hashing.Files), "file"), Bytes(v.hashing.Bytes))
	}
	return s
}

// notice takes a notice in and writes a line if it must not be missed.
func (v *jobView) notice(b *strings.Builder, n *wire.Notice, now time.Time) {
	if v.board == nil {
		return
	}
	before := v.board.Waiting
	v.board.Apply(n, now)
	switch {
	case n.Note != "":
		fmt.Fprintln(b, printable(n.Note))
	case n.Task == "" && n.Waiting != "" && n.Waiting != before:
		fmt.Fprintln(b, printable(n.Waiting))
	case n.Task == "" && n.Waiting == "" && before != "":
		fmt.Fprintln(b, "going on")
	case n.State == wire.StateFailed && n.Failure != nil && n.Failure.Cause != wire.CauseDependency:
		where := v.nameOf(n.Node, n.NodeName)
		if where != "" {
			where = " on " + where
		}
		line := fmt.Sprintf("failed: %s%s: %s\n", printable(brief(n.Task)), where, printable(ending(n.Failure)))
		v.failing = append(v.failing, failing{n.Task, line, now})
	}
}

// failed returns the lines about tasks that failed before some time, once.
func (v *jobView) failed(before time.Time) string {
	var b strings.Builder
	for len(v.failing) > 0 && !v.failing[0].at.After(before) {
		b.WriteString(v.failing[0].line)
		v.failing = v.failing[1:]
	}
	return b.String()
}

func (v *jobView) nameOf(p wire.PeerID, name string) string {
	switch {
	case name != "":
		return printable(name)
	case v.names[p] != "":
		return printable(v.names[p])
	case p.IsZero():
		return ""
	}
	return p.Short()
}

// progress is where the job stands; "" if there is nothing to tell.
func (v *jobView) progress() string {
	switch f := v.fetching; {
	case v.board == nil && v.hashing == nil:
		return ""
	case v.board == nil:
		return fmt.Sprintf("reading inputs: %s, %s", count(int(v.hashing.Files), "file"), Bytes(v.hashing.Bytes))
	case f != nil:
		return fmt.Sprintf("fetching targets: %s of %s from %s", Bytes(f.Done), Bytes(f.Total), v.nameOf(f.From, ""))
	}
	c := v.board.Counts
	return fmt.Sprintf("%d/%d done: %s; %d running; %s moved", v.board.Done(), c.Tasks, tally(c), v.board.running, Bytes(c.Moved))
}

// time is how long the job has taken, and how long it may still take.
func (v *jobView) time(now time.Time) string {
	s := Span(now.Sub(v.begun))
	if left := v.board.Remaining(now); left > time.Second {
		s += ", about " + Span(left) + " left"
	}
	return s
}

// finish prints the end of a job.
func (v *jobView) finish(e *End, now time.Time) error {
	switch {
	case v.started == nil: // the command tells the error
		return nil
	case v.started.Detached && e.Error == nil:
		_, err := fmt.Fprintf(v.last, "job %s goes on without this machine; coord get %s fetches its targets\n", v.started.Job, v.started.Job)
		return err
	}
	if e.Counts.Tasks == 0 && v.board != nil { // whoever counts is gone
		e.Counts = v.board.Counts
	}
	if _, err := io.WriteString(v.err, v.failed(now)); err != nil || e.left { // those beyond maxReports
		return err
	}
	_, err := fmt.Fprintln(v.last, summary(e, v.started.Parts, now.Sub(v.begun), v.dir))
	return err
}

// A plainView prints lines: one for each notable change, and progress now and then.
type plainView struct {
	jobView
	every time.Duration // between two progress lines
	next  time.Time
	said  string
}

// progressEvery is the time between two progress lines on a pipe.
const progressEvery = 3 * time.Second

// NewPlain returns a view that prints lines about a job to err, what its tasks wrote to out, and
// the summary to last. The directory of the targets is named as in dir.
func NewPlain(out, err, last io.Writer, dir string, now time.Time) View {
	return &plainView{jobView: newJobView(out, err, last, dir, now), every: progressEvery, next: now.Add(progressEvery)}
}

// Event prints what is notable.
func (v *plainView) Event(e *Event, now time.Time) error {
	if e.Output != nil {
		return v.output(e.Output)
	}
	_, err := io.WriteString(v.err, v.take(e, now))
	return err
}

func (v *jobView) output(o *Output) error {
	to := v.out
	if o.Stderr {
		to = v.err
	}
	_, err := to.Write(o.Data)
	return err
}

// Tick prints progress if it is time and there is any.
func (v *plainView) Tick(now time.Time) error {
	if _, err := io.WriteString(v.err, v.failed(now.Add(-tellFailing))); err != nil {
		return err
	}
	if now.Before(v.next) {
		return nil
	}
	v.next = now.Add(v.every)
	line := v.progress()
	if v.board != nil {
		if task, why := v.board.Stuck(now); task != "" {
			line += "; " + printable(task) + " is " + printable(why)
		} else if v.board.Idle(now) {
			line += "; coord status " + v.started.Job.String() + " says what it waits for"
		}
	}
	if line == "" || line == v.said {
		return nil
	}
	v.said = line
	if v.board != nil {
		line += "; " + v.time(now)
	}
	_, err := fmt.Fprintln(v.err, line)
	return err
}

// End prints the summary.
func (v *plainView) End(e *End, now time.Time) error { return v.finish(e, now) }
