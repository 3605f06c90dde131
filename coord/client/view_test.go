package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gaggle/wire"
)

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	peerA = wire.PeerID{1}
	peerB = wire.PeerID{2}
)

// jobEvents is a job of four tasks as a view sees it: one from the memo, one that fetches, one that
// runs, one that fails.
func jobEvents() []*Event {
	started := &Started{Job: wire.JobID{0xab}, Name: "wc.yaml", Tasks: 4, Kinds: map[string]Kind{"count": {Tasks: 3, Mean: 4 * time.Second}, "top": {Tasks: 1}}}
	at := noon.UnixMicro()
	return []*Event{
		{Captured: &Captured{What: "sh cut", Bytes: 4_200_000, Took: 300 * time.Millisecond}},
		{Hashing: &Hashing{Files: 12, Bytes: 34_000}},
		{Started: started, Peers: []wire.PeerInfo{{Peer: peerB, Name: "node2"}}},
		{Notices: []wire.Notice{
			{Task: "count[a]", State: wire.StateDone, How: wire.HowMemo, At: at},
			{Task: "count[b]", State: wire.StateReady, At: at},
			{Task: "count[b]", State: wire.StateOffered, Node: peerA, NodeName: "node1", At: at + 1000},
			{Task: "count[b]", State: wire.StateOffered, NodeName: "node1", At: at + 4000, Progress: &wire.Progress{Phase: "fetch", Done: 1_200_000, Total: 3_400_000, From: peerB}},
			{Task: "count[c]", State: wire.StateOffered, Node: peerB, NodeName: "node2", At: at + 1000},
			{Task: "count[c]", State: wire.StateRunning, Node: peerB, NodeName: "node2", At: at + 3000},
			{Task: "top", State: wire.StateOffered, Node: peerB, NodeName: "node2", At: at + 1000},
			{Task: "top", State: wire.StateFailed, Node: peerB, NodeName: "node2", At: at + 9000,
				Failure: &wire.Failure{Cause: wire.CauseExit, Message: "ended with exit code 3", Exit: 3}},
		}},
	}
}

func TestPlainView(t *testing.T) {
	var out, err, last bytes.Buffer
	v := NewPlain(&out, &err, &last, "out", noon)
	for _, e := range jobEvents() {
		if err := v.Event(e, noon); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Tick(noon.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := v.Tick(noon.Add(4 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// A failure that ends the job is told once, in full.
	other := wire.Notice{Task: "other", State: wire.StateFailed, Node: peerB, NodeName: "node2", Failure: &wire.Failure{Cause: wire.CauseExit, Message: "ended with exit code 4"}}
	for _, e := range []*Event{{Notices: []wire.Notice{other}}, {Failed: &FailedTask{Task: "other", Failure: *other.Failure}}} {
		if err := v.Event(e, noon.Add(4*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	end := &End{Counts: wire.Counts{Tasks: 4, Ran: 2, Memo: 1, Failed: 1, Moved: 1_500_000}, Files: 1}
	if err := v.End(end, noon.Add(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	want := `captured sh cut: 4.2 MB in 0.3s
job jab00000000000000: 4 tasks, 12 files of input (34 kB)
failed: top on node2: ended with exit code 3
2/4 done: 0 ran, 1 memo, 0 shared, 1 failed; 1 running; 0 B moved; 4.0s
FAILED other: ended with exit code 4
`
	if d := cmp.Diff(want, err.String()); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
	if want, got := "4 tasks: 2 ran, 1 memo, 0 shared, 1 failed in 5.0s; 1.5 MB moved; wrote 1 file to out\n", last.String(); got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}

// screen is a terminal that knows what a live view sends.
func screen(t *testing.T, text string) []string {
	t.Helper()
	lines, row := []string{""}, 0
	for text != "" {
		var n int
		switch {
		case text[0] == '\n':
			row++
			if row == len(lines) {
				lines = append(lines, "")
			}
			text = text[1:]
		case strings.HasPrefix(text, "\x1b["):
			i := strings.IndexAny(text, "AJ")
			if text[i] == 'A' {
				fmt.Sscanf(text[2:i], "%d", &n)
				row -= n
			} else {
				lines = lines[:row+1]
				lines[row] = ""
			}
			text = text[i+1:]
		case text[0] == '\r':
			text = text[1:]
		default:
			i := strings.IndexAny(text, "\n\x1b\r")
			if i < 0 {
				i = len(text)
			}
			lines[row] += text[:i]
			text = text[i:]
		}
		if row < 0 {
			t.Fatal("the view moves above its block")
		}
	}
	return lines[:len(lines)-1]
}

func TestLiveView(t *testing.T) {
	var out, text bytes.Buffer
	columns, rows := 100, 10
	v := NewLive(&out, &text, &text, "out", func() (int, int) { return columns, rows }, noon)
	events := jobEvents()
	for _, e := range events {
		if err := v.Event(e, noon); err != nil {
			t.Fatal(err)
		}
		if err := v.Tick(noon.Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"captured sh cut: 4.2 MB in 0.3s",
		"job jab00000000000000: 4 tasks, 12 files of input (34 kB)",
		"failed: top on node2: ended with exit code 3",
		"2/4 done: 0 ran, 1 memo, 0 shared, 1 failed; 1 running; 0 B moved",
		"[#############################                             ] 2.0s",
		"  count[b]  fetching 1.2 MB of 3.4 MB from node2",
		"  count[c]  running on node2 2.0s",
	}
	if d := cmp.Diff(want, screen(t, text.String())); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}

	t.Run("a low terminal", func(t *testing.T) {
		rows, columns = 4, 40
		defer func() { rows, columns = 10, 100 }()
		if err := v.Tick(noon.Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got := screen(t, text.String())[3:]
		if len(got) >= rows {
			t.Errorf("a block of %d lines on %d rows:\n%s", len(got), rows, strings.Join(got, "\n"))
		}
		for _, l := range got {
			if n := len([]rune(l)); n >= columns {
				t.Errorf("line of %d columns on %d: %q", n, columns, l)
			}
		}
	})
	t.Run("the end", func(t *testing.T) {
		if err := v.End(&End{Counts: wire.Counts{Tasks: 4, Ran: 3, Memo: 1}}, noon.Add(61*time.Second)); err != nil {
			t.Fatal(err)
		}
		got := screen(t, text.String())
		if want := "4 tasks: 3 ran, 1 memo, 0 shared in 1m01s; 0 B moved"; got[len(got)-1] != want || len(got) != 4 {
			t.Errorf("screen at the end:\n%s\nwant three lines and %q", strings.Join(got, "\n"), want)
		}
	})
}

func TestJSONView(t *testing.T) {
	var out bytes.Buffer
	v := NewJSON(&out, noon)
	for _, e := range jobEvents() {
		if err := v.Event(e, noon.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	end := &End{Counts: wire.Counts{Tasks: 4, Ran: 2, Memo: 1, Failed: 1, Moved: 10}, Fetched: 5, Error: wire.Errorf(wire.CauseDiskFull, "make room", "full")}
	if err := v.End(end, noon.Add(1500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, l := range lines {
		var o map[string]any
		if err := json.Unmarshal([]byte(l), &o); err != nil || o["event"] == nil {
			t.Errorf("line %q: %v", l, err)
		}
	}
	want := `{"event":"summary","job":"jab00000000000000","tasks":4,"ran":2,"memo":1,"failed":1,"wall_s":1.5,"moved_bytes":15}`
	if got := lines[len(lines)-1]; got != want {
		t.Errorf("last line %s\nwant      %s", got, want)
	}
	for _, want := range []string{
		`{"bytes":4200000,"event":"captured","took_s":0.3,"what":"sh cut"}`,
		`{"cause":"disk full","event":"error","hint":"make room","message":"full"}`,
		`{"at":1767355200.003,"event":"task","node":"node2","state":"running","task":"count[c]"}`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no line %s in\n%s", want, out.String())
		}
	}
}

func TestTraceView(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.json")
	v := NewTrace(path)
	at := noon.UnixMicro()
	events := append(jobEvents(), &Event{Notices: []wire.Notice{
		{Task: "count[b]", State: wire.StateRunning, NodeName: "node1", At: at + 5000},
		{Task: "count[b]", State: wire.StateDone, How: wire.HowRan, NodeName: "node1", Run: 4 * time.Millisecond, Fetched: 7, At: at + 10_000},
	}})
	for _, e := range events {
		if err := v.Event(e, noon); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.End(new(End), noon); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var trace struct{ TraceEvents []traceEvent }
	if err := json.Unmarshal(b, &trace); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	var got []string
	for _, e := range trace.TraceEvents {
		if strings.HasSuffix(e.Name, "count[b]") {
			got = append(got, fmt.Sprintf("%s %s +%d %d", e.Ph, e.Cat, e.Ts-at, e.Dur))
		}
	}
	want := []string{"b queue +0 0", "e queue +1000 0", "b queue +4000 0", "e queue +5000 0", "X fetch +1000 3000", "X run +5000 4000", "X store +9000 1000"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("spans of count[b] (-want +got):\n%s", d)
	}
}

func TestReport(t *testing.T) {
	f := &FailedTask{
		Task: "count[a]", Tried: 2, Command: []string{"sh", "-eu", "-c", "cat a\nexit 3"}, Env: []string{"A=1 2"},
		Failure: wire.Failure{Cause: wire.CauseExit, Message: "ended with exit code 3", Exit: 3, Stdout: []byte("one\ntwo\n"),
			Stderr: []byte("\x1b[31mred\n" + strings.Repeat("line\n", 100))},
		Again: "cd /w && coord submit g.yaml --only 'count[a]'", Seek: "coord shell 'j1/count[a]' --trace",
	}
	got := report(f, "node1")
	for _, want := range []string{
		"FAILED count[a]: ended with exit code 3\n", "  command   sh -eu -c 'cat a\n            exit 3'\n", "  directory /job", "  env       'A=1 2'\n",
		"  node      node1, attempt 2\n", "  stdout    one\n            two\n", "(61 lines left out)", "  trace     coord shell 'j1/count[a]' --trace\n", "  again     cd /w && coord submit g.yaml --only 'count[a]'\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("a terminal would act on\n%q", got)
	}
}

func TestSpanAndBytes(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.0s", 9900 * time.Millisecond: "9.9s", 42 * time.Second: "42s", 125 * time.Second: "2m05s", 130 * time.Minute: "2h10m"} {
		if got := Span(d); got != want {
			t.Errorf("Span(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_940: "9.9 kB", 12_345: "12 kB", 999_600: "1.0 MB", 3 << 40: "3.3 TB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
