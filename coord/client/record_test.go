package client

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gaggle/wire"
)

func TestRecords(t *testing.T) {
	d := stateDir(t.TempDir())
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, job := range []string{"j01", "j02", "j03"} {
		r := &record{Job: job, Name: "g.yaml", Dir: "/w", Params: map[string]string{"a": "b"}, Begun: begun.Add(time.Duration(i) * time.Hour)}
		if err := d.saveRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.jobFile("j02", ".json"), []byte(`{"job":`), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range d.records() {
		got = append(got, r.Job)
	}
	if diff := cmp.Diff([]string{"j03", "j01"}, got); diff != "" {
		t.Errorf("records, one of them damaged (-want +got):\n%s", diff)
	}
	if _, err := d.loadRecord("j09"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loadRecord of none: %v", err)
	}
}

func TestPins(t *testing.T) {
	d := stateDir(t.TempDir())
	want := []wire.Digest{{1}, {2}, {3}}
	if err := d.savePins("j1", want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, d.loadPins("j1")); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
	if got := d.loadPins("j2"); got != nil {
		t.Errorf("pins of an unknown job: %v", got)
	}
}

func TestTaskLog(t *testing.T) {
	d := stateDir(t.TempDir())
	l, err := d.openTaskLog("j1")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range []string{"a", "b"} {
		if err := l.add(&wire.Notice{Task: task, State: wire.StateDone, How: wire.HowRan}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	path := d.jobFile("j1", ".tasks")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{200, 1, 0xa1}); err != nil { // cut short
		t.Fatal(err)
	}
	f.Close()
	var got []string
	err = d.loggedTasks("j1", func(n *wire.Notice) bool {
		got = append(got, n.Task)
		return true
	})
	if diff := cmp.Diff([]string{"a", "b"}, got); err != nil || diff != "" {
		t.Errorf("tasks %v (-want +got):\n%s", err, diff)
	}
}

func TestHistory(t *testing.T) {
	d := stateDir(t.TempDir())
	b := &backend{dir: d, history: loadHistory(d.path("history.json"))}
	b.learn("wc.yaml", map[string]Kind{"count": {Tasks: 3, Mean: 4 * time.Second}})
	b.learn("wc.yaml", map[string]Kind{"count": {Tasks: 3, Mean: 2 * time.Second}})
	if err := b.history.save(); err != nil {
		t.Fatal(err)
	}
	b = &backend{dir: d, history: loadHistory(d.path("history.json"))}
	got := b.kinds("wc.yaml", []wire.TaskSpec{{Name: "count[a]"}, {Name: "count[b]"}, {Name: "top"}})
	want := map[string]Kind{"count": {Tasks: 2, Mean: 3 * time.Second}, "top": {Tasks: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func TestBoardRemaining(t *testing.T) {
	b := NewBoard(&Started{Tasks: 10, Kinds: map[string]Kind{"a": {Tasks: 8, Mean: 10 * time.Second}, "b": {Tasks: 2}}}, noon)
	if got := b.Remaining(noon); got != 80*time.Second {
		t.Errorf("before anything ran: %v, want 80s on one slot", got)
	}
	for _, task := range []string{"a[1]", "a[2]"} {
		b.Apply(&wire.Notice{Task: task, State: wire.StateRunning}, noon)
	}
	for _, task := range []string{"a[1]", "a[2]"} {
		b.Apply(&wire.Notice{Task: task, State: wire.StateDone, How: wire.HowRan, Run: 4 * time.Second}, noon)
	}
	if got := b.Remaining(noon.Add(4 * time.Second)); got != 12*time.Second {
		t.Errorf("after two of 4 s at once: %v, want 6 of them on 2 slots: 12s", got)
	}
	if b.running != 0 || b.Done() != 2 {
		t.Errorf("%d running, %d done, want 0 and 2", b.running, b.Done())
	}
}

// What is left of a gang, and so of its job, is not told by what its tasks took before.
func TestBoardRemainingOfAGang(t *testing.T) {
	kinds := map[string]Kind{"db": {Tasks: 1, Mean: time.Minute, Gang: true}, "a": {Tasks: 8, Mean: 10 * time.Second}}
	b := NewBoard(&Started{Tasks: 9, Kinds: kinds}, noon)
	if got := b.Remaining(noon); got != 0 {
		t.Errorf("while the gang is to end: %v, want nothing", got)
	}
	b.Apply(&wire.Notice{Task: "db", State: wire.StateRunning}, noon)
	b.Apply(&wire.Notice{Task: "db", State: wire.StateDone, How: wire.HowMemo}, noon)
	if got := b.Remaining(noon); got != 80*time.Second {
		t.Errorf("then: %v, want 80s", got)
	}
}
