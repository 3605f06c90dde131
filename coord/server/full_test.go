package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// A fullJournal has no room while full is set, or a disk that fails.
type fullJournal struct {
	Journal
	cause atomic.Int32
}

func (j *fullJournal) Write(rows []sched.Row) error {
	if c := wire.Cause(j.cause.Load()); c != 0 {
		return wire.Errorf(c, "do something", "no luck with the disk")
	}
	return j.Journal.Write(rows)
}

// serveOn runs a coordinator on a journal and returns a function that ends it.
func serveOn(t *testing.T, j Journal) (s *Server, end func() error) {
	t.Helper()
	s, err := New(Config{Key: testKey(0), Mesh: "test", Journal: j, Versions: wire.Versions{Release: "test", Protocol: wire.ProtocolVersion}})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	end = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() { _ = end() })
	return s, end
}

// A follower is a client that reads what it is told of a job.
type follower struct {
	t      *testing.T
	conn   net.Conn
	frames *wire.FrameReader
}

// follow sends a request that has a stream of answers.
func follow(t *testing.T, s *Server, req *wire.Request, chunks ...wire.SubmitChunk) *follower {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	go func() {
		_ = s.ServeClient(context.Background(), far, testCert(2, wire.RoleClient)) // its answers are looked at
	}()
	go func() {
		_ = wire.WriteFrame(near, req)
		for _, c := range chunks {
			_ = wire.WriteFrame(near, &c)
		}
	}()
	return &follower{t, near, wire.NewFrameReader(near)}
}

// next returns the next answer in which is says something, having seen that none of those before was
// one that not says something in.
func (f *follower) next(what string, is, not func(*wire.Response) bool) *wire.Response {
	f.t.Helper()
	for {
		var r wire.Response
		if err := f.frames.Read(&r); err != nil {
			f.t.Fatalf("waiting for %s: %v", what, err)
		}
		switch {
		case is(&r):
			return &r
		case not(&r):
			f.t.Fatalf("%+v instead of %s", r, what)
		}
	}
}

func accepted(r *wire.Response) bool { return r.Accepted != nil }
func isDone(r *wire.Response) bool   { return r.Done != nil }
func never(*wire.Response) bool      { return false }

func noted(text string) func(*wire.Response) bool {
	return func(r *wire.Response) bool {
		for _, n := range r.Notices {
			if strings.Contains(n.Note, text) {
				return true
			}
		}
		return false
	}
}

// submission is a job of one task, whose thunk takes about so many bytes that do not compress.
func submission(t *testing.T, id byte, bytes int) (*wire.Request, wire.SubmitChunk) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(id), 1))
	var noise strings.Builder
	for noise.Len() < bytes {
		fmt.Fprintf(&noise, "%x", rnd.Uint64())
	}
	th, err := wire.NewThunk(wire.Thunk{Command: []string{"true", noise.String()}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI})
	must(t, err)
	thunk, enc := th.Encode()
	return &wire.Request{Submit: &wire.Submit{Job: wire.JobID{id}, Space: "anna", Tasks: 1, Targets: []wire.TargetSpec{{Path: "out", Thunk: thunk, Output: "out"}}}},
		wire.SubmitChunk{Tasks: []wire.TaskSpec{{Name: "t", Thunk: enc}}, End: true}
}

// TestFullDiskIsWaitedOut: without room a job is neither accepted nor told to have ended, everybody hears
// why, and all goes on when there is room.
func TestFullDiskIsWaitedOut(t *testing.T) {
	j := &fullJournal{Journal: openJournal(t, t.TempDir())}
	s, _ := serveOn(t, j)
	cert := testCert(2, wire.RoleClient)
	req, chunk := submission(t, 1, 10)
	f := follow(t, s, req, chunk)
	f.next("acceptance", accepted, isDone)

	j.cause.Store(int32(wire.CauseDiskFull))
	request(t, s, cert, &wire.Request{Cancel: &wire.JobRef{Job: wire.JobID{1}}})
	f.next("why it does not end", noted("no luck with the disk: do something"), isDone)
	r := request(t, s, cert, &wire.Request{Status: &wire.JobRef{}})
	if len(r.Jobs) != 1 || r.Jobs[0].State != "waiting" || r.Jobs[0].Waiting != "waiting for room on the coordinator's disk" {
		t.Errorf("jobs are %+v, want that one waits for room", r.Jobs)
	}
	if r.Trouble == nil || r.Trouble.Cause != wire.CauseDiskFull || r.Trouble.Hint == "" {
		t.Errorf("trouble is %+v, want disk full, and what to do", r.Trouble)
	}
	req, chunk = submission(t, 2, 10)
	if r := request(t, s, cert, req, chunk); r.Error == nil || r.Error.Cause != wire.CauseDiskFull || r.Error.Hint == "" {
		t.Errorf("answer to another job is %+v, want disk full, and what to do", r)
	}

	j.cause.Store(0)
	f.next("room", noted("has room again"), isDone)
	f.next("the end", isDone, never)
	follow(t, s, req, chunk).next("acceptance of another", accepted, isDone)
	if r := request(t, s, cert, &wire.Request{Status: &wire.JobRef{}}); r.Trouble != nil {
		t.Errorf("trouble is %v after there was room", r.Trouble)
	}
}

// TestAttachPromisesNothingEarly: who attaches to a job hears that it is accepted when the submitter does.
func TestAttachPromisesNothingEarly(t *testing.T) {
	j := &fullJournal{Journal: openJournal(t, t.TempDir())}
	s, _ := serveOn(t, j)
	j.cause.Store(int32(wire.CauseDiskFull))
	req, chunk := submission(t, 1, 10)
	f := follow(t, s, req, chunk)
	f.next("why it is not accepted", noted("no luck with the disk"), accepted)
	other := follow(t, s, &wire.Request{Attach: &wire.JobRef{Job: wire.JobID{1}}})
	other.next("why it is not accepted", noted("no luck with the disk"), accepted)
	j.cause.Store(0)
	f.next("acceptance", accepted, never)
	other.next("acceptance", accepted, never)
}

// TestFailingDiskEndsTheCoordinator, which says why to all that ask.
func TestFailingDiskEndsTheCoordinator(t *testing.T) {
	j := &fullJournal{Journal: openJournal(t, t.TempDir())}
	s, end := serveOn(t, j)
	req, chunk := submission(t, 1, 10)
	f := follow(t, s, req, chunk)
	f.next("acceptance", accepted, isDone)
	j.cause.Store(int32(wire.CauseDisk))
	must(t, s.send(sched.Cancelled{Job: wire.JobID{1}}))
	r := f.next("why it ends", func(r *wire.Response) bool { return r.Error != nil }, isDone)
	if !strings.Contains(r.Error.Message, "no luck with the disk: do something") || r.Error.Hint == "" {
		t.Errorf("the client is told %v", r.Error)
	}
	if err := end(); wire.CauseOf(err) != wire.CauseDisk {
		t.Errorf("Run = %v, want cause disk", err)
	}
	if r := request(t, s, testCert(2, wire.RoleClient), &wire.Request{Status: &wire.JobRef{}}); r.Error == nil || r.Error.Cause != wire.CauseDisk {
		t.Errorf("answer after the end is %+v, want cause disk", r)
	}
}
