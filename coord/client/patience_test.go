package client

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// TestAskPatiently: a coordinator that breaks off, or is away for less than patience, is asked
// again; what it refuses is not.
func TestAskPatiently(t *testing.T) {
	answer := func(rs ...wire.Response) func(*wire.FrameReader, io.Writer) {
		return func(frames *wire.FrameReader, w io.Writer) {
			var req wire.Request
			if err := frames.Read(&req); err != nil || req.Nodes == nil {
				t.Errorf("asked %+v, %v", req, err)
			}
			for i := range rs {
				if err := wire.WriteFrame(w, &rs[i]); err != nil {
					t.Errorf("answering: %v", err)
				}
			}
		}
	}
	nobody := make([]func(*wire.FrameReader, io.Writer), 1)
	breaksOff, nodes := answer(), answer(wire.Response{Nodes: []wire.NodeStatus{{Slots: 1}}})
	refusal := answer(wire.Response{Error: &wire.Error{Cause: wire.CauseUnauthorized, Message: "no"}})
	leaving := answer(wire.Response{Error: &wire.Error{Cause: wire.CauseUnreachable, Message: "the coordinator ends"}})
	for name, c := range map[string]struct {
		answers []func(*wire.FrameReader, io.Writer)
		cause   wire.Cause
		waits   bool
	}{
		"at once":            {[]func(*wire.FrameReader, io.Writer){nodes}, 0, false},
		"broken off":         {[]func(*wire.FrameReader, io.Writer){breaksOff, nobody[0], leaving, nodes}, 0, true},
		"refused":            {[]func(*wire.FrameReader, io.Writer){refusal, nodes}, wire.CauseUnauthorized, false},
		"refused in the end": {[]func(*wire.FrameReader, io.Writer){nobody[0], refusal}, wire.CauseUnauthorized, true},
		"nobody":             {nil, wire.CauseUnknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &link{coordinator: &fakeCoordinator{answers: c.answers}}
				begun := time.Now()
				r, err := l.ask(t.Context(), &wire.Request{Nodes: &wire.Nothing{}})
				took := time.Since(begun)
				if c.cause == 0 && name != "nobody" && (err != nil || len(r.Nodes) != 1) || c.cause != 0 && wire.CauseOf(err) != c.cause {
					t.Errorf("ask = %+v, %v", r, err)
				}
				if c.waits != (took > 0) || took > patience+retryMost || name == "nobody" && (err == nil || took < patience) {
					t.Errorf("it took %v: %v", took, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := (&link{coordinator: &fakeCoordinator{}}).ask(ctx, &wire.Request{Nodes: &wire.Nothing{}}); err == nil {
			t.Error("ask succeeded with nobody there")
		}
		if ctx.Err() == nil {
			t.Error("ask gave up before its context ended")
		}
	})
}
