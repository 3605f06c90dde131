package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gaggle/sandbox"
	"gaggle/sandbox/capture"
	"gaggle/wire"
)

// A Minimal is a task with the smallest root that its command needs, as found by watching it.
type Minimal struct {
	Trace *capture.Trace
	Bytes int64 // of the root
	Files int

	name   string
	task   minimalTask
	stdout []byte // of the run that was watched, up to maxCompared
}

// A minimalTask is it in the form of the graph file.
type minimalTask struct {
	Tools   []string          `json:"tools,omitempty"`
	Include []string          `json:"include,omitempty"`
	Inputs  map[string]string `json:"inputs,omitempty"`
	Run     []string          `json:"run"`
	Outputs []string          `json:"outputs"`
}

// maxCompared bounds the standard output that is compared between here and the sandbox.
const maxCompared = 1 << 20

// Watch runs a command on this machine, in the environment of a task but for PATH, HOME and TMPDIR
// and with nothing on its standard input, and works out what it needs. Its standard output goes to
// out too. A command that fails is an error: what a failing one needs says little.
func Watch(ctx context.Context, argv []string, searchPath, dir, home string, out, errOut io.Writer) (*Minimal, error) {
	// Not /tmp, as in a sandbox: there others could lay down settings and modules that it would load.
	own, err := os.MkdirTemp("", "gaggle-capture-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(own)
	var stdout bytes.Buffer
	env := sandbox.Environment([]string{"PATH=" + searchPath, "PWD=" + dir, "HOME=" + own, "TMPDIR=" + own})
	run := capture.Traced{Argv: argv, Env: env, Path: searchPath, Dir: dir, Home: home,
		Stdout: io.MultiWriter(out, &limited{&stdout, maxCompared}), Stderr: errOut}
	t, err := run.Run(ctx)
	if err != nil {
		return nil, err
	}
	if t.Exit != 0 {
		return nil, wire.Errorf(wire.CauseInvalid, "capture a run that does what the task will do", "the command ended here with exit code %d", t.Exit)
	}
	m := &Minimal{Trace: t, name: (&Run{Words: argv[:1]}).kind(), stdout: stdout.Bytes()}
	m.task = minimalTask{Include: t.Include(), Inputs: map[string]string{}, Run: slices.Clone(argv), Outputs: []string{wire.Stdout}}
	for _, in := range t.Inputs {
		m.task.Inputs[in] = "./" + in
	}
	switch rel, below := strings.CutPrefix(t.Program, dir+"/"); {
	case below:
		m.task.Run[0] = "./" + rel
	case !slices.Contains([]string{"/usr/local/bin", "/usr/bin", "/bin"}, path.Dir(t.Program)):
		m.task.Run[0] = t.Program
	}
	if m.task.Include == nil { // a root has to have something
		m.task.Tools = []string{"sh"}
	}
	m.Bytes, m.Files, err = capture.Measure(ctx, m.task.Tools, capture.Options{Path: searchPath, Include: m.task.Include})
	return m, err
}

// A limited takes the beginning of what is written.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(l.left, len(p))
	l.left -= n
	l.to.Write(p[:n])
	return len(p), nil
}

// Snippet is the task as lines of a graph file.
func (m *Minimal) Snippet() ([]byte, error) {
	b, err := indented(map[string]minimalTask{m.name: m.task})
	return append(b, '\n'), err
}

// Graph is a whole graph file of the task.
func (m *Minimal) Graph() ([]byte, error) {
	b, err := indented(map[string]any{"gaggle": 1, "tasks": map[string]minimalTask{m.name: m.task},
		"targets": map[string]string{m.name + ".out": "@" + m.name + "/" + wire.Stdout}})
	return append(b, '\n'), err
}

// indented is JSON for people, who read paths as they are.
func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Explain says what the command used that its root does not have, and how large that is.
func (m *Minimal) Explain(w io.Writer) {
	const shown = 20
	for i, l := range m.Trace.LeftOut {
		if i == shown {
			fmt.Fprintf(w, "left out  %d more\n", len(m.Trace.LeftOut)-shown)
			break
		}
		fmt.Fprintf(w, "left out  %s: %s\n", l.Path, l.Why)
	}
	if len(m.Trace.Ended) > 0 {
		fmt.Fprintf(w, "ended     %s: still running after the command had ended\n", strings.Join(m.Trace.Ended, ", "))
	}
	fmt.Fprintf(w, "root      %s in %d files\n", Bytes(m.Bytes), m.Files)
}

// Check runs the task in the sandbox of this machine with nothing but its root. The error says
// what is missing there as far as the task tells. same is whether its output was that from here.
func (m *Minimal) Check(ctx context.Context, opt Options, dir string) (same bool, err error) {
	text, err := m.Graph()
	if err != nil {
		return false, err
	}
	out, err := os.MkdirTemp("", "coord-capture-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(out)
	cmd := &Command{
		Local: true, Dir: dir, Path: os.Getenv("PATH"), Submit: &Submit{GraphDir: dir, Out: out, Passing: true},
	}
	v := new(failures)
	end, err := Execute(ctx, opt, cmd, bytes.NewReader(text), v, nil)
	switch {
	case err != nil:
		return false, err
	case len(v.failed) > 0:
		f := v.failed[0].Failure
		return false, wire.Errorf(wire.CauseExit, "if it needs a file that was left out, make that an input or name it in include",
			"with that root alone it fails: %s\n%s", f.Message, bytes.TrimSpace(f.Stderr))
	case ExitCode(end, nil) != ExitOK:
		return false, wire.Errorf(wire.CauseUnknown, "", "the check did not end")
	}
	f, err := os.Open(filepath.Join(out, m.name+".out"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	got, err := io.ReadAll(io.LimitReader(f, maxCompared))
	return bytes.Equal(got, m.stdout), err
}

// A failures is a View that keeps why tasks failed.
type failures struct{ failed []*FailedTask }

// Event notes a failed task.
func (v *failures) Event(e *Event, _ time.Time) error {
	if e.Failed != nil {
		v.failed = append(v.failed, e.Failed)
	}
	return nil
}

// Tick does nothing.
func (v *failures) Tick(time.Time) error { return nil }

// End does nothing: Execute returns it.
func (v *failures) End(*End, time.Time) error { return nil }
