package client

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"gaggle/wire"
)

// A liveView keeps one block at the bottom of a terminal up to date:
//
//	37/121 done: 20 ran, 16 memo, 0 shared; 4 running; 1.2 MB moved
//	[###########                           ] 12s, about 30s left
//	  count[src/a]   running on node2 3.2s
//	  merge[0]       fetching 1.2 of 3.4 MB from node1
//	  ... and 2 more
//
// Lines that stay are printed above it.
type liveView struct {
	jobView
	size  func() (columns, rows int)
	lines int // of the block, as it stands on the terminal
}

// NewLive returns a view for a terminal, whose size may change.
func NewLive(out, err, last io.Writer, dir string, size func() (columns, rows int), now time.Time) View {
	return &liveView{jobView: newJobView(out, err, last, dir, now), size: size}
}

// Event prints what stays.
func (v *liveView) Event(e *Event, now time.Time) error {
	if e.Output != nil {
		if err := v.erase(); err != nil {
			return err
		}
		return v.output(e.Output)
	}
	text := v.take(e, now)
	if text == "" {
		return nil
	}
	_, err := v.err.Write(append(v.up(), text...))
	return err
}

// Tick redraws the block.
func (v *liveView) Tick(now time.Time) error {
	columns, rows := v.size()
	block := v.block(columns, rows, now)
	b := bytes.NewBuffer(append(v.up(), v.failed(now.Add(-tellFailing))...))
	for _, l := range block {
		b.WriteString(cut(l, columns-1))
		b.WriteByte('\n')
	}
	v.lines = len(block)
	_, err := v.err.Write(b.Bytes())
	return err
}

// End leaves the summary where the block was.
func (v *liveView) End(e *End, now time.Time) error {
	if err := v.erase(); err != nil {
		return err
	}
	return v.finish(e, now)
}

func (v *liveView) erase() error {
	_, err := v.err.Write(v.up())
	return err
}

// up returns what moves to the first line of the block and clears from there on.
func (v *liveView) up() []byte {
	if v.lines == 0 {
		return nil
	}
	b := fmt.Appendf(nil, "\x1b[%dA\r\x1b[J", v.lines)
	v.lines = 0
	return b
}

// block returns the lines to show, fewer than the terminal has.
func (v *liveView) block(columns, rows int, now time.Time) []string {
	head := v.progress()
	if head == "" || rows < 2 {
		return nil
	}
	if v.board == nil {
		return []string{head}
	}
	lines := []string{head}
	if rows > 4 {
		lines = append(lines, bar(v.board.Done(), v.board.Counts.Tasks, min(columns-26, 60))+" "+v.time(now))
	}
	if v.board.Waiting != "" {
		lines = append(lines, "  "+printable(v.board.Waiting))
	}
	room := max(0, rows-1-len(lines))
	tasks := v.board.list()
	if len(tasks) > room && room > 0 {
		tasks = tasks[:room-1]
	} else if room == 0 {
		tasks = nil
	}
	width := 0
	for _, t := range tasks {
		width = max(width, min(len(t.notice.Task), columns/2))
	}
	for _, t := range tasks {
		name := cut(printable(t.notice.Task), width)
		lines = append(lines, fmt.Sprintf("  %-*s  %s", width, name, v.phase(t, now)))
	}
	if more := len(v.board.active) - len(tasks); more > 0 && room > 0 {
		lines = append(lines, fmt.Sprintf("  ... and %d more", more))
	}
	return lines
}

// phase says what happens to a task.
func (v *liveView) phase(t *activeTask, now time.Time) string {
	n := &t.notice
	node := v.nameOf(n.Node, n.NodeName)
	switch {
	case n.State == wire.StateExpanding:
		return "its sub-graph runs"
	case t.doing != nil && t.doing.Phase == "fetch":
		return fmt.Sprintf("fetching %s of %s from %s", Bytes(t.doing.Done), Bytes(t.doing.Total), v.nameOf(t.doing.From, ""))
	case t.doing != nil && t.doing.Phase == "store":
		return "storing its outputs on " + node
	case t.doing != nil && t.doing.Phase == "wait" && n.State != wire.StateRunning:
		return "on " + node + ", " + cmp.Or(printable(n.Waiting), "waiting for others of its gang")
	case n.State == wire.StateRunning:
		return fmt.Sprintf("running on %s %s", node, Span(now.Sub(t.since)))
	case n.Waiting != "":
		return printable(n.Waiting)
	}
	return "waiting for a slot of " + node
}

// bar draws how much of a whole is done.
func bar(done, of, width int) string {
	if width < 3 {
		return ""
	}
	full := 0
	if of > 0 {
		full = min(width-2, done*(width-2)/of)
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(" ", width-2-full) + "]"
}
