package server

import (
	"context"
	"math"
	"net"
	"strings"
	"testing"

	"gaggle/coord/sched"
	"gaggle/wire"
)

func TestJobsThatAreRefused(t *testing.T) {
	s := startServer(t)
	id, enc := testThunk(t, 1)
	later, laterEnc := testThunk(t, 2, wire.Input{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(id)}, Output: "out"})
	bad, badEnc := testThunk(t, 3, wire.Input{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(id)}, Output: "nothing"})
	task := func(enc []byte) wire.TaskSpec { return wire.TaskSpec{Name: "t", Thunk: enc} }
	target := func(id wire.ThunkID) []wire.TargetSpec {
		return []wire.TargetSpec{{Path: "out", Thunk: id, Output: "out"}}
	}
	hinted := task(enc)
	hinted.Hints.Priority = 1000
	greedy := hinted
	greedy.Hints = wire.Hints{MilliCPU: math.MaxInt64}
	of := func(enc []byte, g wire.Gang) []wire.TaskSpec {
		g.Name, g.Size = "g", 1
		return []wire.TaskSpec{{Name: "t", Thunk: enc, Gang: &g}}
	}
	networked, netEnc := abiThunk(t, wire.ABINetworked, wire.Output{Path: "out", Kind: wire.File})
	_, silentEnc := abiThunk(t, wire.ABINetworked)
	_, graphEnc := abiThunk(t, wire.ABINetworked, wire.Output{Path: "out", Kind: wire.File, Graph: "next"})
	on := wire.Gang{Network: true, Task: "t", Count: 1}
	serving := on
	serving.Service = true
	for _, c := range []struct {
		name    string
		space   wire.Space
		tasks   []wire.TaskSpec
		targets []wire.TargetSpec
		want    wire.Cause
		says    string
	}{
		{"another tenant's space", "ben", []wire.TaskSpec{task(enc)}, target(id), wire.CauseUnauthorized, "ben"},
		{"a space that is no name", "a/b", []wire.TaskSpec{task(enc)}, target(id), wire.CauseInvalid, "a/b"},
		{"no tasks", "anna", nil, target(id), wire.CauseInvalid, "does nothing"},
		{"no targets", "anna", []wire.TaskSpec{task(enc)}, nil, wire.CauseInvalid, "does nothing"},
		{"a task before what it needs", "anna", []wire.TaskSpec{task(laterEnc), task(enc)}, target(later), wire.CauseInvalid, "not among the tasks before it"},
		{"an output that nobody makes", "anna", []wire.TaskSpec{task(enc), task(badEnc)}, target(bad), wire.CauseInvalid, `no output "nothing"`},
		{"a target that nobody makes", "anna", []wire.TaskSpec{task(enc)}, target(later), wire.CauseInvalid, "target"},
		{"a target that escapes", "anna", []wire.TaskSpec{task(enc)}, []wire.TargetSpec{{Path: "../x", Thunk: id, Output: "out"}}, wire.CauseInvalid, "../x"},
		{"garbage", "anna", []wire.TaskSpec{task([]byte("garbage"))}, target(id), wire.CauseInvalid, "decoding a thunk"},
		{"hints beyond their range", "anna", []wire.TaskSpec{hinted}, target(id), wire.CauseInvalid, "hints"},
		{"a network without a gang", "anna", []wire.TaskSpec{task(netEnc)}, target(networked), wire.CauseInvalid, "sandbox profile 3, but on a network: false"},
		{"a network of another profile", "anna", of(enc, on), target(id), wire.CauseInvalid, "sandbox profile 1, but on a network: true"},
		{"no outputs and no service", "anna", of(silentEnc, on), target(id), wire.CauseInvalid, "0 outputs, but a service: false"},
		{"a service with outputs", "anna", of(netEnc, serving), target(networked), wire.CauseInvalid, "1 outputs, but a service: true"},
		{"a graph of a gang", "anna", of(graphEnc, on), target(networked), wire.CauseInvalid, "writes no graphs"},
		{"more cores than there are", "anna", []wire.TaskSpec{greedy}, target(id), wire.CauseInvalid, "hints"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := &wire.Submit{Job: wire.JobID{1}, Space: c.space, Tasks: len(c.tasks), Targets: c.targets}
			r := request(t, s, testCert(2, wire.RoleClient), &wire.Request{Submit: sub}, wire.SubmitChunk{Tasks: c.tasks, End: true})
			if r.Error == nil || r.Error.Cause != c.want || !strings.Contains(r.Error.Error(), c.says) {
				t.Errorf("answer %+v, want %s with %q", r.Error, c.want, c.says)
			}
		})
	}
}

// abiThunk is testThunk of another sandbox profile.
func abiThunk(t *testing.T, abi uint64, outputs ...wire.Output) (wire.ThunkID, []byte) {
	t.Helper()
	th, err := wire.NewThunk(wire.Thunk{Command: []string{"true"}, Outputs: outputs, Platform: "linux/amd64", ABI: abi})
	must(t, err)
	return th.Encode()
}

func TestJobIsAnnouncedInFullOrNotAtAll(t *testing.T) {
	s := startServer(t)
	id, enc := testThunk(t, 1)
	sub := &wire.Submit{Job: wire.JobID{1}, Space: "anna", Tasks: 2, Targets: []wire.TargetSpec{{Path: "out", Thunk: id, Output: "out"}}}
	r := request(t, s, testCert(2, wire.RoleClient), &wire.Request{Submit: sub},
		wire.SubmitChunk{Tasks: []wire.TaskSpec{{Name: "t", Thunk: enc}}, End: true})
	if r.Error == nil || !strings.Contains(r.Error.Message, "announced 2 tasks and sent 1") {
		t.Errorf("answer %+v", r.Error)
	}
}

// streams has a job of two tasks begin to come in. It returns when the first is known to the
// scheduler, with the far end of the stream and what closes when the server has left it.
func streams(t *testing.T, s *Server) (conn net.Conn, frames *wire.FrameReader, second wire.TaskSpec, ended <-chan struct{}) {
	t.Helper()
	id, enc := testThunk(t, 1)
	target, secondEnc := testThunk(t, 2, wire.Input{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(id)}, Output: "out"})
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ServeClient(context.Background(), far, testCert(2, wire.RoleClient))
	}()
	sub := &wire.Submit{Job: wire.JobID{1}, Space: "anna", Tasks: 2, Targets: []wire.TargetSpec{{Path: "out", Thunk: target, Output: "out"}}}
	must(t, wire.WriteFrame(near, &wire.Request{Submit: sub}))
	must(t, wire.WriteFrame(near, &wire.SubmitChunk{Tasks: []wire.TaskSpec{{Name: "first", Thunk: enc}}}))
	frames = wire.NewFrameReader(near)
	for {
		var r wire.Response
		must(t, frames.Read(&r))
		for _, n := range r.Notices {
			if n.Task == "first" {
				return near, frames, wire.TaskSpec{Name: "second", Thunk: secondEnc}, done
			}
		}
		if r.Accepted != nil || r.Error != nil || r.Done != nil {
			t.Fatalf("before the job is whole the client is told %+v", r)
		}
	}
}

// jobs returns what the scheduler knows.
func jobs(t *testing.T, s *Server) (list []wire.JobStatus) {
	t.Helper()
	must(t, s.ask(func(st *sched.State) { list = st.Jobs() }))
	return list
}

func TestJobBeginsBeforeItIsWhole(t *testing.T) {
	s := startServer(t)
	conn, frames, second, _ := streams(t, s)
	if list := jobs(t, s); len(list) != 1 || list[0].Counts.Tasks != 1 {
		t.Fatalf("half a job is %+v", list)
	}
	go func() { _ = wire.WriteFrame(conn, &wire.SubmitChunk{Tasks: []wire.TaskSpec{second}, End: true}) }()
	for {
		var r wire.Response
		must(t, frames.Read(&r))
		if r.Accepted != nil {
			break
		}
	}
	if list := jobs(t, s); len(list) != 1 || list[0].Counts.Tasks != 2 {
		t.Errorf("the whole job is %+v", list)
	}
}

func TestJobThatBreaksOffIsForgotten(t *testing.T) {
	s := startServer(t)
	conn, _, _, ended := streams(t, s)
	conn.Close()
	<-ended
	if list := jobs(t, s); len(list) != 0 {
		t.Errorf("left of it: %+v", list)
	}
	conn, _, _, ended = streams(t, s) // the same id is free
	conn.Close()
	<-ended
}

// TestPassingJobEndsWithItsStream: nobody else knows of it, so it is cancelled when who waits for it
// has gone, and is not listed then.
func TestPassingJobEndsWithItsStream(t *testing.T) {
	s := startServer(t)
	id, enc := testThunk(t, 1)
	sub := &wire.Submit{Job: wire.JobID{9}, Space: "anna", Name: "gcc", Tasks: 1, Passing: true, Targets: []wire.TargetSpec{{Path: "out", Thunk: id, Output: "out"}}}
	here, there := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer there.Close()
		_ = s.ServeClient(t.Context(), there, testCert(1, wire.RoleClient))
	}()
	must(t, wire.WriteFrame(here, &wire.Request{Submit: sub}))
	must(t, wire.WriteFrame(here, &wire.SubmitChunk{Tasks: []wire.TaskSpec{{Name: "gcc", Thunk: enc}}, End: true}))
	var r wire.Response
	must(t, wire.NewFrameReader(here).Read(&r)) // that it waits for a node
	if list := jobs(t, s); len(list) != 1 || !list[0].Passing || list[0].Ended != 0 {
		t.Fatalf("while it is waited for: %+v", list)
	}
	here.Close()
	<-ended
	if list := jobs(t, s); len(list) != 1 || list[0].State != "cancelled" {
		t.Errorf("when nobody waits for it: %+v", list)
	}
	c := &client{s: s, cert: testCert(1, wire.RoleClient)}
	if list, err := c.jobs(); err != nil || len(list) != 0 {
		t.Errorf("listed: %+v, %v", list, err)
	}
}

func TestJobOfWhichALaterPartIsBad(t *testing.T) {
	s := startServer(t)
	conn, frames, _, ended := streams(t, s)
	go func() {
		_ = wire.WriteFrame(conn, &wire.SubmitChunk{Tasks: []wire.TaskSpec{{Name: "second", Thunk: []byte("garbage")}}, End: true})
	}()
	for {
		var r wire.Response
		must(t, frames.Read(&r))
		if r.Error == nil {
			continue
		}
		if r.Error.Cause != wire.CauseInvalid || !strings.Contains(r.Error.Error(), `task "second": decoding a thunk`) {
			t.Errorf("answer %v", r.Error)
		}
		break
	}
	conn.Close()
	<-ended
	if list := jobs(t, s); len(list) != 0 {
		t.Errorf("left of it: %+v", list)
	}
}

// TestJobOfLongTexts: what a submission takes is bounded whatever it is made of.
func TestJobOfLongTexts(t *testing.T) {
	in := &incoming{c: &client{s: &Server{}}, sub: &wire.Submit{Tasks: wire.MaxJobThunks}, check: newTaskCheck()}
	long := strings.Repeat("x", wire.MaxFrame/2) // the tasks share it here
	for i := range 2 * maxJobBytes / len(long) {
		_, enc := testThunk(t, i)
		spec := wire.TaskSpec{Name: "t", Thunk: enc, Hints: wire.Hints{Labels: map[string]string{"k": long}}}
		if i%2 == 1 {
			spec.Hints.Labels, spec.Gang = nil, &wire.Gang{Name: long, Size: 2}
		}
		if err := in.add(&spec); err != nil {
			if wire.CauseOf(err) != wire.CauseTooLarge {
				t.Errorf("refused with %v", err)
			}
			return
		}
	}
	t.Errorf("%d tasks that take %d bytes are taken", in.tasks, in.tasks*len(long))
}
