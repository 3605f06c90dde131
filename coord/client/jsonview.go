package client

import (
	"encoding/json"
	"io"
	"time"

	"gaggle/wire"
)

// A jsonView prints one JSON object a line. Keys are added over time, never changed. Each has
// "event", which says what else there is:
//
//	note      text, at                                 at only if the coordinator says it
//	captured  what, bytes, took_s                      a root was made from this machine
//	hashing   files, bytes                             so far, now and then
//	accepted  job, name, tasks, mesh, detached         the job goes on without this command
//	resumed   job, tasks                               the coordinator was lost for a while; the
//	                                                   states of all tasks follow once more
//	task      task, state, how, node, run_s, fetched_bytes, at   blocked ready offered running
//	                                                   expanding done failed cancelled;
//	                                                   how: ran memo shared; at in Unix seconds
//	progress  task, node, done, total                  bytes of inputs fetched for it
//	waiting   task, why                                task is left out if it is the whole job
//	added     task, tasks                              a sub-graph of the task added so many
//	failed    task, cause, message, hint, exit, signal, node, command, env, stdout, stderr, again
//	plan      task, known, bytes                       with --plan; known: memo run depends
//	fetching  done, total                              bytes of targets
//	written   path, files, bytes                       a target is on disk
//	output    stream, text                             of coord run
//	error     cause, message, hint                     why the command failed
//	summary   job, tasks, ran, memo, failed, wall_s, moved_bytes   the last line, always
type jsonView struct {
	enc     *json.Encoder
	begun   time.Time
	shown   time.Time // last progress
	lastJob string
}

// NewJSON returns a view that prints a stable stream of JSON lines.
func NewJSON(w io.Writer, now time.Time) View {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &jsonView{enc: enc, begun: now}
}

var hows = map[wire.How]string{wire.HowRan: "ran", wire.HowMemo: "memo", wire.HowShared: "shared"}

// Event prints lines.
func (v *jsonView) Event(e *Event, now time.Time) error {
	for _, line := range v.lines(e, now) {
		if err := v.enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// obj is a JSON object.
type obj = map[string]any

func (v *jsonView) lines(e *Event, now time.Time) (lines []obj) {
	add := func(event string, o obj) {
		o["event"] = event
		lines = append(lines, o)
	}
	if e.Note != "" {
		add("note", obj{"text": e.Note})
	}
	if c := e.Captured; c != nil {
		add("captured", obj{"what": c.What, "bytes": c.Bytes, "took_s": c.Took.Seconds()})
	}
	if h := e.Hashing; h != nil && v.due(now) {
		add("hashing", obj{"files": h.Files, "bytes": h.Bytes})
	}
	if s := e.Started; s != nil {
		tasks, again := max(s.Tasks, s.Counts.Tasks), v.lastJob != ""
		v.lastJob = s.Job.String()
		if again {
			add("resumed", obj{"job": v.lastJob, "tasks": tasks})
		} else {
			add("accepted", obj{"job": v.lastJob, "name": s.Name, "tasks": tasks, "mesh": s.Mesh, "detached": s.Detached})
		}
	}
	for i := range e.Notices {
		noticeLines(&e.Notices[i], add)
	}
	if f := e.Failed; f != nil {
		add("failed", obj{"task": f.Task, "cause": f.Failure.Cause.String(), "message": f.Failure.Message, "hint": f.Failure.Hint,
			"exit": f.Failure.Exit, "signal": f.Failure.Signal, "node": f.Failure.NodeName, "command": f.Command, "env": f.Env,
			"stdout": string(f.Failure.Stdout), "stderr": string(f.Failure.Stderr), "again": f.Again})
	}
	if p := e.Plan; p != nil {
		for _, t := range p.Tasks {
			add("plan", obj{"task": t.Name, "known": t.Known, "bytes": t.Bytes})
		}
	}
	if f := e.Fetching; f != nil && v.due(now) {
		add("fetching", obj{"done": f.Done, "total": f.Total})
	}
	if w := e.Written; w != nil {
		add("written", obj{"path": w.Path, "files": w.Files, "bytes": w.Bytes})
	}
	if o := e.Output; o != nil {
		stream := "stdout"
		if o.Stderr {
			stream = "stderr"
		}
		add("output", obj{"stream": stream, "text": string(o.Data)})
	}
	return lines
}

func noticeLines(n *wire.Notice, add func(string, obj)) {
	if n.State != 0 && n.Task != "" && n.Progress == nil {
		o := obj{"task": n.Task, "state": n.State.String()}
		if n.At != 0 {
			o["at"] = float64(n.At) / 1e6
		}
		if n.NodeName != "" {
			o["node"] = n.NodeName
		}
		if n.State == wire.StateDone {
			o["how"] = hows[n.How]
			o["run_s"] = n.Run.Seconds()
			o["fetched_bytes"] = n.Fetched
		}
		add("task", o)
	}
	if p := n.Progress; p != nil && p.Phase == "fetch" {
		add("progress", obj{"task": n.Task, "node": n.NodeName, "done": p.Done, "total": p.Total})
	}
	if n.Waiting != "" {
		o := obj{"why": n.Waiting}
		if n.Task != "" {
			o["task"] = n.Task
		}
		add("waiting", o)
	}
	if n.Note != "" {
		add("note", obj{"text": n.Note, "at": float64(n.At) / 1e6})
	}
	if n.Added > 0 {
		add("added", obj{"task": n.Task, "tasks": n.Added})
	}
}

// due limits progress to one line a second.
func (v *jsonView) due(now time.Time) bool {
	if now.Sub(v.shown) < time.Second {
		return false
	}
	v.shown = now
	return true
}

// Tick prints nothing.
func (v *jsonView) Tick(time.Time) error { return nil }

// jsonSummary is the last line. Its keys and their order are promised.
type jsonSummary struct {
	Event  string  `json:"event"`
	Job    string  `json:"job"`
	Tasks  int     `json:"tasks"`
	Ran    int     `json:"ran"`
	Memo   int     `json:"memo"`
	Failed int     `json:"failed"`
	Wall   float64 `json:"wall_s"`
	Moved  int64   `json:"moved_bytes"`
}

// End prints the error, if there is one, and the summary.
func (v *jsonView) End(e *End, now time.Time) error {
	if e.Error != nil {
		err := v.enc.Encode(obj{"event": "error", "cause": e.Error.Cause.String(), "message": e.Error.Message, "hint": e.Error.Hint})
		if err != nil {
			return err
		}
	}
	c := e.Counts
	return v.enc.Encode(jsonSummary{"summary", v.lastJob, c.Tasks, c.Ran, c.Memo, c.Failed, now.Sub(v.begun).Seconds(), e.moved()})
}
