package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// A fakeCoordinator answers streams one after the other; there is nobody when it has no answer.
type fakeCoordinator struct {
	coordinator
	answers []func(frames *wire.FrameReader, w io.Writer)
}

func (f *fakeCoordinator) Open(context.Context) (io.ReadWriteCloser, error) {
	if len(f.answers) == 0 || f.answers[0] == nil {
		f.answers = f.answers[min(1, len(f.answers)):]
		return nil, errors.New("no route to host")
	}
	answer := f.answers[0]
	f.answers = f.answers[1:]
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		answer(wire.NewFrameReader(far), far)
	}()
	return near, nil
}

// takes reads a submission of one chunk and answers.
func takes(t *testing.T, rs ...wire.Response) func(*wire.FrameReader, io.Writer) {
	return func(frames *wire.FrameReader, w io.Writer) {
		var req wire.Request
		var chunk wire.SubmitChunk
		if err := errors.Join(frames.Read(&req), frames.Read(&chunk)); err != nil || req.Submit == nil || !chunk.End {
			t.Errorf("submitted %+v %+v, %v", req, chunk, err)
		}
		for i := range rs {
			if err := wire.WriteFrame(w, &rs[i]); err != nil {
				t.Errorf("answering: %v", err)
			}
		}
	}
}

// TestLostBeforeAcceptance: a coordinator that has begun with a job is waited for; one that has said
// nothing is given up. That it is away is told once, and so is that it is back.
func TestLostBeforeAcceptance(t *testing.T) {
	began := wire.Response{Notices: []wire.Notice{{Task: "a", State: wire.StateReady}}}
	end := []wire.Response{{Accepted: &wire.Accepted{Job: wire.JobID{1}}}, {Done: new(wire.Done)}}
	for _, c := range []struct {
		name    string
		answers []func(*wire.FrameReader, io.Writer)
		fails   bool
		lasts   time.Duration // at least
	}{
		{"begun", append([]func(*wire.FrameReader, io.Writer){takes(t, began)}, append(make([]func(*wire.FrameReader, io.Writer), 60), takes(t, end...))...), false, time.Minute},
		{"unknown", nil, true, submitTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := stateDir(t.TempDir())
			if err := os.Mkdir(dir.path("jobs"), 0o700); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				b := &backend{dir: dir, log: slog.New(slog.DiscardHandler), ctx: t.Context(), history: loadHistory(dir.path("history.json"))}
				l := &link{coordinator: &fakeCoordinator{answers: c.answers}, name: "mesh", space: "anna"}
				j := b.newJob(l, &record{Job: wire.JobID{1}.String(), Begun: time.Now()}, wire.JobID{1})
				j.submit = &submission{head: wire.Submit{Job: j.id, Space: l.space, Tasks: 1}, tasks: []wire.TaskSpec{{Name: "a"}}}
				w := j.subscribe()
				begun := time.Now()
				j.run(t.Context())
				var notes []string
				events, _ := w.take()
				for _, e := range events {
					if e.Note != "" {
						notes = append(notes, e.Note)
					}
				}
				want := []string{"the coordinator cannot be reached, trying again", "the coordinator is back"}
				if c.fails {
					want = want[:1]
				}
				if !slices.Equal(notes, want) {
					t.Errorf("told %q, want %q", notes, want)
				}
				if got := j.end.End; (got.Error != nil) != c.fails || time.Since(begun) < c.lasts {
					t.Errorf("after %v it ends with %v", time.Since(begun), got.Error)
				}
			})
		})
	}
}
