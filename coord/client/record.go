package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A record is what the agent keeps of a job that was submitted from here, as JSON.
type record struct {
	Job      string            `json:"job"`
	Mesh     string            `json:"mesh,omitempty"`
	Local    bool              `json:"local,omitempty"` // by the user's will
	Name     string            `json:"name"`
	Dir      string            `json:"dir"`                 // where the command ran
	Graph    string            `json:"graph,omitempty"`     // as it was named; "" is standard input
	GraphDir string            `json:"graph_dir,omitempty"` // absolute; what its paths are relative to, if that was said
	Copy     string            `json:"copy,omitempty"`      // of the graph, if it came there
	Params   map[string]string `json:"params,omitempty"`
	Run      *Run              `json:"run,omitempty"`   // of coord run
	Given    map[string]string `json:"given,omitempty"` // to it, see given
	Out      string            `json:"out"`             // absolute
	Replace  bool              `json:"replace,omitempty"`
	Detached bool              `json:"detached,omitempty"`
	Twice    bool              `json:"twice,omitempty"`  // every task is run again and compared
	Verify   int               `json:"verify,omitempty"` // percent
	Trust    wire.Trust        `json:"trust,omitempty"`  // whose values it believes
	Passing  bool              `json:"-"`                // nobody asks about it later, see wire.Submit
	Parts    int               `json:"parts,omitempty"`  // tasks that only take a part of a directory, but for those of sub-graphs
	Begun    time.Time         `json:"begun"`
	Ended    bool              `json:"ended,omitempty"`
}

// maxRecords is how many jobs are remembered here; a coordinator remembers 200.
const maxRecords = 200

// maxRecord bounds a record on disk: its largest part is the arguments of coord run, which fit
// the 2 MiB that a command line takes, and JSON escapes.
const maxRecord = 16 << 20

func (d stateDir) jobFile(job, ext string) string { return d.path("jobs", job+ext) }

// saveRecord writes r whole or not at all, and forgets the oldest beyond maxRecords. Of a passing job
// nothing is kept.
func (d stateDir) saveRecord(r *record) error {
	if r.Passing {
		return nil
	}
	if err := replaceJSON(d.jobFile(r.Job, ".json"), r.Trust != wire.TrustAny, r); err != nil {
		return fmt.Errorf("recording job %s: %w", r.Job, err)
	}
	return d.forgetOldJobs()
}

func (d stateDir) loadRecord(job string) (*record, error) {
	r := new(record)
	err := readJSON(d.jobFile(job, ".json"), maxRecord, r)
	if err == nil && r.Job != job {
		err = fmt.Errorf("%w: it is about job %q", fs.ErrNotExist, r.Job)
	}
	return r, err
}

// recordOf returns the record of a job, or one of what the coordinator says if the job was submitted from
// another machine, or is forgotten here.
func (d stateDir) recordOf(j *wire.JobStatus) (*record, error) {
	r, err := d.loadRecord(j.Job.String())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &record{Job: j.Job.String(), Name: j.Name, Begun: micro(j.Begun), Trust: j.Trust}, nil
	case err != nil:
		return nil, wire.Errorf(wire.CauseDisk, "repair "+d.jobFile(j.Job.String(), ".json")+", or remove it: then the coordinator's word is taken for whom the job believes",
			"what this machine knows of job %s cannot be read: %v", j.Job, err)
	}
	return r, nil
}

// records returns what is recorded, the latest first. A damaged record is none.
func (d stateDir) records() []*record {
	entries, err := os.ReadDir(d.path("jobs"))
	if err != nil {
		return nil
	}
	var all []*record
	for _, e := range entries {
		job, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		if r, err := d.loadRecord(job); err == nil {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b *record) int { return b.Begun.Compare(a.Begun) })
	return all
}

func (d stateDir) forgetOldJobs() error {
	entries, err := os.ReadDir(d.path("jobs"))
	if err != nil || len(entries) <= maxRecords {
		return err
	}
	all := d.records()
	for i, r := range all {
		if i < maxRecords || !r.Ended {
			continue
		}
		d.forgetJob(r.Job)
	}
	return nil
}

// forgetJob removes what is kept of a job. What cannot be removed is tried again with the next.
func (d stateDir) forgetJob(job string) {
	for _, ext := range []string{".json", ".graph", ".tasks", ".pins", ".thunks", ".wanted"} {
		_ = os.Remove(d.jobFile(job, ext))
	}
}

// savePins notes which objects are pinned for a job, digest after digest, so that a later agent
// can let go of them.
func (d stateDir) savePins(job string, pins []wire.Digest) error {
	b := make([]byte, 0, len(pins)*len(wire.Digest{}))
	for _, p := range pins {
		b = append(b, p[:]...)
	}
	return writeFile(d.jobFile(job, ".pins"), b)
}

// loadPins returns what savePins noted, nothing if it is gone.
func (d stateDir) loadPins(job string) (pins []wire.Digest) {
	b, err := os.ReadFile(d.jobFile(job, ".pins"))
	if err != nil {
		return nil
	}
	for digest := range slices.Chunk(b, len(wire.Digest{})) {
		if len(digest) == len(wire.Digest{}) {
			pins = append(pins, wire.Digest(digest))
		}
	}
	return pins
}

// writeJSON replaces a file by the JSON of v.
func writeJSON(path string, v any) error { return replaceJSON(path, false, v) }

func replaceJSON(path string, durable bool, v any) error {
	return replaceFile(path, durable, func(w io.Writer) error {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = w.Write(append(b, '\n'))
		return err
	})
}

// readJSON reads a file of at most limit bytes into v.
func readJSON(path string, limit int64, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, limit)).Decode(v); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// A taskLog is a file with the last Notice of each task of a job, as frames, for logs and
// explain after the coordinator has forgotten the job.
type taskLog struct {
	f *os.File
	w *bufio.Writer
}

func (d stateDir) openTaskLog(job string) (*taskLog, error) {
	if err := os.MkdirAll(d.path("jobs"), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.jobFile(job, ".tasks"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &taskLog{f, bufio.NewWriter(f)}, nil
}

func (l *taskLog) add(n *wire.Notice) error { return wire.WriteFrame(l.w, n) }

func (l *taskLog) close() error { return errors.Join(l.w.Flush(), l.f.Close()) }

// loggedTasks yields the notices of a job's task log. A log cut short by a crash ends early.
func (d stateDir) loggedTasks(job string, yield func(*wire.Notice) bool) error {
	f, err := os.Open(d.jobFile(job, ".tasks"))
	if err != nil {
		return err
	}
	defer f.Close()
	frames := wire.NewFrameReader(f)
	for {
		n := new(wire.Notice)
		if err := frames.Read(n); err != nil || !yield(n) {
			return nil
		}
	}
}
