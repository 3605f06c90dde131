package worker

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

// A logStream is a pipe opened by a peer.
type logStream struct {
	net.Conn
	peer wire.PeerID
}

func (s logStream) Peer() wire.PeerID { return s.peer }

var (
	hubKey    = testKey(3)
	readerKey = testKey(4)
)

// logs opens a stream to the worker and sends a request, with a grant unless there is one.
func (l *lab) logs(req wire.LogRequest) *wire.FrameReader {
	l.t.Helper()
	near, far := net.Pipe()
	go l.w.ServeLogs(logStream{far, wire.PeerOf(readerKey)})
	if req.Grant == nil {
		req.Grant = wire.SignGrant(hubKey, req.Space, wire.PeerOf(readerKey), time.Now().Add(time.Hour)).Encode()
	}
	if err := wire.WriteFrame(near, &req); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { near.Close() })
	return wire.NewFrameReader(near)
}

// rest reads chunks up to the last and returns standard output, standard error and the error.
func rest(t *testing.T, frames *wire.FrameReader) (stdout, stderr string, err *wire.Error) {
	t.Helper()
	for {
		var c wire.LogChunk
		if err := frames.Read(&c); err != nil {
			t.Fatal(err)
		}
		if c.Stderr {
			stderr += string(c.Data)
		} else {
			stdout += string(c.Data)
		}
		if c.End {
			return stdout, stderr, c.Error
		}
	}
}

func logLab(t *testing.T) *lab {
	l := newLab(t, 1)
	l.cfg.Trusted = func(p wire.PeerID) bool { return p == wire.PeerOf(hubKey) }
	return l
}

func thunkID(o wire.Offer) wire.ThunkID { return wire.ThunkID(wire.Sum(o.Thunk)) }

func TestLogsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logLab(t)
		l.do(func(_ context.Context, _ string, spec sandbox.Spec) (string, *wire.Failure, error) {
			for i := range 3 {
				fmt.Fprintf(spec.Stdout, "out %d\n", i)
				fmt.Fprintf(spec.Stderr, "err %d\n", i)
				time.Sleep(time.Minute)
			}
			return "done", nil, nil
		})
		l.start()
		s := l.accept()
		o := l.thunk(1, "a")
		s.offer(o)
		time.Sleep(time.Second)
		if out, errs, err := rest(t, l.logs(wire.LogRequest{Space: space, Thunk: thunkID(o)})); out != "out 0\n" || errs != "err 0\n" || err != nil {
			t.Errorf("so far %q, %q, %v", out, errs, err)
		}
		out, errs, err := rest(t, l.logs(wire.LogRequest{Space: space, Thunk: thunkID(o), Follow: true}))
		if out != "out 0\nout 1\nout 2\n" || errs != "err 0\nerr 1\nerr 2\n" || err != nil {
			t.Errorf("followed %q, %q, %v", out, errs, err)
		}
	})
}

func TestLogsOfWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logLab(t)
		l.cfg.Executor = stageFunc(func(context.Context, wire.Space, *wire.Thunk) (Staged, error) { return endsStage{}, nil })
		l.start()
		s := l.accept()
		o := l.thunk(1, "a")
		s.offer(o)
		got := s.heard()
		if len(got.Failures) != 1 {
			t.Fatalf("failures %v", got.Failures)
		}
		for range 2 {
			out, errs, err := rest(t, l.logs(wire.LogRequest{Space: space, Thunk: thunkID(o)}))
			if out != strings.Repeat("o", 50_000) || errs != "the end of stderr" || err != nil {
				t.Errorf("%d bytes, %q, %v", len(out), errs, err)
			}
		}
		if _, _, err := rest(t, l.logs(wire.LogRequest{Space: space, Thunk: wire.ThunkID{1}})); err == nil || err.Cause != wire.CauseNotFound {
			t.Errorf("logs of an unknown thunk: %v", err)
		}
	})
}

// endsStage fails with output.
type endsStage struct{}

func (endsStage) Run(context.Context, sandbox.Spec) (sandbox.Report, error) {
	return sandbox.Report{Failure: &wire.Failure{Cause: wire.CauseExit, Exit: 1}, Stdout: []byte(strings.Repeat("o", 50_000)), Stderr: []byte("the end of stderr")}, nil
}

func (endsStage) Release() {}

func TestLogsNeedAGrant(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where synctest begins
	reader := wire.PeerOf(readerKey)
	for name, grant := range map[string][]byte{
		"rubbish":              []byte("x"),
		"of another space":     wire.SignGrant(hubKey, "ben", reader, now.Add(time.Hour)).Encode(),
		"of another peer":      wire.SignGrant(hubKey, space, wire.PeerOf(testKey(5)), now.Add(time.Hour)).Encode(),
		"run out":              wire.SignGrant(hubKey, space, reader, now.Add(-time.Hour)).Encode(),
		"signed by a stranger": wire.SignGrant(readerKey, space, reader, now.Add(time.Hour)).Encode(),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := logLab(t).start()
				s := l.accept()
				o := l.thunk(1, "a")
				s.offer(o)
				s.heard()
				if _, _, err := rest(t, l.logs(wire.LogRequest{Grant: grant, Space: space, Thunk: thunkID(o)})); err == nil || err.Cause == wire.CauseNotFound {
					t.Errorf("logs with a grant %s: %v", name, err)
				}
			})
		})
	}
}

// A reader that asks for nothing, or goes away, is let go.
func TestLogsOfARudeReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logLab(t)
		l.sleeps(time.Hour)
		l.start()
		s := l.accept()
		o := l.thunk(1, "a")
		s.offer(o)
		synctest.Wait()
		near, far := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			l.w.ServeLogs(logStream{far, wire.PeerOf(readerKey)})
		}()
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read = %v, want the stream closed", err)
		}
		<-served
		var c wire.LogChunk
		frames := l.logs(wire.LogRequest{Space: space, Thunk: thunkID(o), Follow: true})
		if err := frames.Read(&c); err != nil || c.End || len(c.Data) > 0 {
			t.Errorf("chunk %+v, %v, want an empty one to see whether anybody is there", c, err)
		}
		for range maxLogReaders {
			if _, _, err := rest(t, l.logs(wire.LogRequest{Space: space, Thunk: wire.ThunkID{9}})); err == nil || err.Cause != wire.CauseNotFound {
				t.Fatalf("a later reader: %v", err)
			}
		}
	})
}
