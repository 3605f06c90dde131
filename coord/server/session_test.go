package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// startServer runs a coordinator with its tables in a temporary directory until the test ends.
func startServer(t *testing.T) *Server {
	t.Helper()
	s, err := New(Config{Key: testKey(0), Mesh: "test", Journal: openJournal(t, t.TempDir()),
		Versions: wire.Versions{Release: "test", Protocol: wire.ProtocolVersion},
		Fetch: func(context.Context, wire.Space, wire.Held) ([]byte, error) {
			return nil, wire.Errorf(wire.CauseFetch, "", "no graphs here")
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func testKey(i byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = i
	return ed25519.NewKeyFromSeed(seed)
}

func testCert(i byte, roles wire.Role) *wire.Certificate {
	return &wire.Certificate{Peer: wire.PeerOf(testKey(i)), Roles: roles, Tenants: []wire.Space{"anna"}}
}

func hello() *wire.Hello {
	return &wire.Hello{Versions: wire.Versions{Protocol: wire.ProtocolVersion, Thunks: []uint64{1},
		Platforms: []string{"linux/amd64"}, ABIs: []uint64{wire.ABI}}, Name: "n", Slots: 1, MemBytes: 1 << 30}
}

// node opens a session and returns the far end, and what ServeNode returned.
func node(t *testing.T, s *Server, cert *wire.Certificate) (net.Conn, <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	ended := make(chan error, 1)
	go func() { ended <- s.ServeNode(context.Background(), far, cert) }()
	return near, ended
}

// discard reads frames until the stream ends, so that the session can write.
func discard(c io.Reader) {
	_, _ = io.Copy(io.Discard, c) // the end of the stream is what it waits for
}

func TestNodesThatAreRefused(t *testing.T) {
	s := startServer(t)
	future := hello()
	future.Versions.Protocol = wire.ProtocolVersion + 2
	greedy := hello()
	greedy.Slots = 1 << 20
	for _, c := range []struct {
		name  string
		first wire.FromNode
		roles wire.Role
		want  wire.Cause
	}{
		{"no hello", wire.FromNode{Beat: &wire.Beat{}}, wire.RoleNode, wire.CauseInvalid},
		{"a protocol of two versions hence", wire.FromNode{Hello: future}, wire.RoleNode, wire.CauseVersion},
		{"a million slots", wire.FromNode{Hello: greedy}, wire.RoleNode, wire.CauseInvalid},
		{"slots on a client's certificate", wire.FromNode{Hello: hello()}, wire.RoleClient, wire.CauseUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, ended := node(t, s, testCert(1, c.roles))
			must(t, wire.WriteFrame(conn, &c.first))
			var r wire.ToNode
			must(t, wire.NewFrameReader(conn).Read(&r))
			if r.Refuse == nil || r.Refuse.Cause != c.want {
				t.Errorf("answer %+v, want a refusal: %s", r, c.want)
			}
			if err := <-ended; wire.CauseOf(err) != c.want {
				t.Errorf("ServeNode: %v, want %s", err, c.want)
			}
		})
	}
}

// A protocol is changed in two steps, so neighbours understand each other.
func TestNodesOfNeighbouringVersionsAreWelcome(t *testing.T) {
	s := startServer(t)
	for i, protocol := range []uint64{wire.ProtocolVersion - 1, wire.ProtocolVersion, wire.ProtocolVersion + 1} {
		h := hello()
		h.Versions.Protocol = protocol
		conn, ended := node(t, s, testCert(byte(i+1), wire.RoleNode))
		must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: h}))
		var r wire.ToNode
		must(t, wire.NewFrameReader(conn).Read(&r))
		if r.Welcome == nil || r.Welcome.Versions.Protocol != wire.ProtocolVersion {
			t.Errorf("answer to protocol %d: %+v, want a welcome with our own", protocol, r)
		}
		conn.Close()
		<-ended
	}
}

func TestNodeIsWelcomedAndReplacedByItself(t *testing.T) {
	s := startServer(t)
	conn, first := node(t, s, testCert(1, wire.RoleNode))
	must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
	var r wire.ToNode
	must(t, wire.NewFrameReader(conn).Read(&r))
	if r.Welcome == nil || r.Epoch != 1 {
		t.Fatalf("first frame %+v, want a welcome of epoch 1", r)
	}
	again, _ := node(t, s, testCert(1, wire.RoleNode))
	must(t, wire.WriteFrame(again, &wire.FromNode{Hello: hello()}))
	must(t, wire.NewFrameReader(again).Read(&r))
	if err := <-first; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the older session ended with %v", err)
	}
}

// People are told of nodes that come and go, and whether those that go have said so.
func TestPeopleAreToldOfNodes(t *testing.T) {
	s := startServer(t)
	told := make(chan string, 10)
	s.cfg.Told = func(node, what string) { told <- node + " " + what }
	for _, want := range []string{"n left", "n is gone: the connection to it broke"} {
		conn, ended := node(t, s, testCert(1, wire.RoleNode))
		go discard(conn)
		must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
		if got := <-told; got != "n joined: 1 slot" {
			t.Errorf("told %q of a node that joined", got)
		}
		if want == "n left" {
			must(t, wire.WriteFrame(conn, &wire.FromNode{Beat: &wire.Beat{Leaving: true}}))
		}
		conn.Close()
		<-ended
		if got := <-told; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// A node that restarts is another process with its key, which is as it should be; one that comes
// back after the other makes two of them, and both are refused.
func TestTwoProcessesWithOneKeyAreRefused(t *testing.T) {
	s := startServer(t)
	connect := func(life uint64) (net.Conn, wire.ToNode) {
		t.Helper()
		h := hello()
		h.Life, h.Addrs = life, []string{"/ip4/127.0.0.1/tcp/1", fmt.Sprintf("/ip4/10.0.0.%d/tcp/1", life)}
		conn, _ := node(t, s, testCert(1, wire.RoleNode))
		must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: h}))
		var r wire.ToNode
		must(t, wire.NewFrameReader(conn).Read(&r))
		return conn, r
	}
	var last net.Conn
	for _, life := range []uint64{1, 1, 2, 2, 3} {
		conn, r := connect(life)
		if r.Welcome == nil {
			t.Fatalf("process %d is refused: %v", life, r.Refuse)
		}
		last = conn
	}
	const want = "two processes use the key of n, one at 10.0.0.2 and one at 10.0.0.3; neither is given work until one is gone"
	for _, life := range []uint64{2, 3, 4} {
		if _, r := connect(life); r.Refuse == nil || r.Refuse.Cause != wire.CauseUnauthorized || r.Refuse.Message != want {
			t.Errorf("process %d: %+v, want refused: %s", life, r.Refuse, want)
		}
	}
	discard(last) // ends, as the session is closed
	r := request(t, s, testCert(9, wire.RoleClient), &wire.Request{Nodes: &wire.Nothing{}})
	if len(r.Nodes) != 1 || r.Nodes[0].State != "quarantined" || !strings.HasPrefix(r.Nodes[0].Quarantine, "two processes use the key of n") {
		t.Errorf("nodes are %+v, want it quarantined", r.Nodes)
	}
}

// Who was told of a member hears when another process has taken its place.
func TestMembersHearOfAnotherLife(t *testing.T) {
	s := startServer(t)
	connect := func(key byte, life uint64) *wire.FrameReader {
		t.Helper()
		h := hello()
		h.Life = life
		conn, _ := node(t, s, testCert(key, wire.RoleNode))
		must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: h}))
		frames := wire.NewFrameReader(conn)
		var r wire.ToNode
		must(t, frames.Read(&r))
		return frames
	}
	first, second := testCert(1, wire.RoleNode).Peer, testCert(2, wire.RoleNode).Peer
	one := connect(1, 11)
	connect(2, 21)
	s.queue(first, func(n *nodeSession, f *wire.ToNode) { s.introduce(n, f, []wire.PeerID{second}) })
	s.flushOutboxes()
	for _, want := range []uint64{21, 22} {
		var lives []uint64
		for len(lives) == 0 {
			var f wire.ToNode
			must(t, one.Read(&f))
			for _, p := range f.Peers {
				lives = append(lives, p.Life)
			}
		}
		if len(lives) != 1 || lives[0] != want {
			t.Errorf("told of lives %d, want %d", lives, want)
		}
		if want == 21 {
			connect(2, 22)
		}
	}
}

// What a node is to let go of while it is away it is told when it comes back.
func TestUnpinWaitsForANodeThatIsAway(t *testing.T) {
	s := startServer(t)
	cert := testCert(1, wire.RoleNode)
	pins := []wire.Pin{{Space: "anna", Owner: "j1", Object: wire.FileObject(wire.BlobID{1}, 1, false)}, {Space: "anna", Owner: "j1", Object: wire.FileObject(wire.BlobID{2}, 1, false)}}
	for _, p := range pins {
		s.toNode(sched.Unpin{Node: cert.Peer, Pin: p})
	}
	for range 2 { // again when it connects anew soon after: it may not have heard
		conn, _ := node(t, s, cert)
		must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
		frames := wire.NewFrameReader(conn)
		got := 0
		for range 2 { // the welcome, and what comes with it or a second later
			var r wire.ToNode
			must(t, frames.Read(&r))
			got += len(r.Unpin)
		}
		if got != len(pins) {
			t.Errorf("told to let go of %d objects, want %d", got, len(pins))
		}
	}
}

func TestNodesThatBreakTheProtocol(t *testing.T) {
	thunk, _ := testThunk(t, 1)
	_, value := wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 1, false)}).Encode()
	result := wire.Result{Space: "anna", Thunk: thunk, Value: value}
	receipt := wire.Receipt{Space: "anna", Thunk: thunk, Value: wire.Sum(value)}
	other := receipt
	other.Value = wire.Digest{9}
	forged := result
	forged.Signature = wire.SignClaim(testKey(1), "bert", thunk, wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 1, false)})).Signature
	for _, c := range []struct {
		name  string
		frame wire.FromNode
		says  string
	}{
		{"a second hello", wire.FromNode{Hello: hello()}, "second hello"},
		{"a result without receipts", wire.FromNode{Results: []wire.Result{result}}, "receipts"},
		{"a result with a receipt for another value", wire.FromNode{Results: []wire.Result{result},
			Receipts: wire.SignReceipts(testKey(1), []wire.Receipt{other}).Encode()}, "without a receipt"},
		{"receipts of another node", wire.FromNode{Results: []wire.Result{result},
			Receipts: wire.SignReceipts(testKey(2), []wire.Receipt{receipt}).Encode()}, "receipts of"},
		{"a signature of a claim in another space", wire.FromNode{Results: []wire.Result{forged},
			Receipts: wire.SignReceipts(testKey(1), []wire.Receipt{receipt}).Encode()}, "signature of the claim"},
		{"a list beyond the bound", wire.FromNode{Started: make([]wire.LeaseID, wire.MaxBatch+1)}, "list of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, ended := node(t, startServer(t), testCert(1, wire.RoleNode))
			go discard(conn)
			must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
			must(t, wire.WriteFrame(conn, &c.frame))
			if err := <-ended; err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("ServeNode: %v, want %q in it", err, c.says)
			}
		})
	}
}

// request sends a request with its chunks and returns the first response.
func request(t *testing.T, s *Server, cert *wire.Certificate, req *wire.Request, chunks ...wire.SubmitChunk) wire.Response {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.ServeClient(context.Background(), far, cert) // a refusal is in the response
	}()
	go func() {
		_ = wire.WriteFrame(near, req) // a server that answers early does not read on
		for _, c := range chunks {
			_ = wire.WriteFrame(near, &c)
		}
	}()
	var r wire.Response
	must(t, wire.NewFrameReader(near).Read(&r))
	near.Close()
	<-ended
	return r
}

func TestRequestsThatAreRefused(t *testing.T) {
	s := startServer(t)
	for _, c := range []struct {
		name string
		req  wire.Request
		want wire.Cause
	}{
		{"nothing", wire.Request{}, wire.CauseVersion},
		{"a job that is not there", wire.Request{Attach: &wire.JobRef{Job: wire.JobID{7}}}, wire.CauseNotFound},
		{"cancelling one", wire.Request{Cancel: &wire.JobRef{Job: wire.JobID{7}}}, wire.CauseNotFound},
		{"holders in another's space", wire.Request{Where: &wire.Where{Space: "ben"}}, wire.CauseUnauthorized},
		{"values in another's space", wire.Request{Known: &wire.Known{Space: "ben"}}, wire.CauseUnauthorized},
		{"too many holders", wire.Request{Where: &wire.Where{Space: "anna", Objects: make([]wire.Object, wire.MaxBatch+1)}}, wire.CauseTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, s, testCert(2, wire.RoleClient), &c.req)
			if r.Error == nil || r.Error.Cause != c.want {
				t.Errorf("answer %+v, want %s", r, c.want)
			}
		})
	}
}

func TestOutboxCutsOffANodeThatDoesNotRead(t *testing.T) {
	var o outbox
	o.init()
	for i := range maxWaiting*frameItems + 1 {
		o.add(func(f *wire.ToNode) { f.Recall = append(f.Recall, wire.LeaseID(i)) })
	}
	if frames := o.take(); frames != nil {
		t.Errorf("take gives %d frames of an outbox that overflowed, want none", len(frames))
	}
}

func TestWatcherJoinsNotices(t *testing.T) {
	var rs []wire.Response
	for i := range wire.MaxBatch + 10 {
		rs = append(rs, wire.Response{Notices: []wire.Notice{{Task: fmt.Sprint(i)}}})
	}
	rs = append(rs, wire.Response{Done: &wire.Done{}})
	got := join(rs)
	if len(got) != 3 || len(got[0].Notices) != wire.MaxBatch || len(got[1].Notices) != 10 || got[2].Done == nil {
		t.Errorf("join gives %d responses", len(got))
	}
}

// large is a failure with as much as one can carry.
func large() wire.Failure {
	return wire.Failure{Cause: wire.CauseExit, Stdout: make([]byte, wire.MaxTail), Stderr: make([]byte, wire.MaxTail)}
}

func TestNoticesOfManyFailuresFitFrames(t *testing.T) {
	failure := large()
	var ns []wire.Notice
	for range 200 {
		ns = append(ns, wire.Notice{Failure: &failure})
	}
	n := 0
	for _, r := range join([]wire.Response{{Notices: ns}}) {
		must(t, wire.WriteFrame(io.Discard, &r))
		n += len(r.Notices)
	}
	if n != len(ns) {
		t.Errorf("join keeps %d notices of %d", n, len(ns))
	}
}

func TestEndOfAJobLargerThanAFrame(t *testing.T) {
	done := wire.Done{Counts: wire.Counts{Failed: 300}}
	for i := range 300 {
		f := wire.FailedTask{Task: fmt.Sprint(i), Failure: large()}
		f.Attempts = []wire.Failure{large(), large()}
		done.Failures = append(done.Failures, f)
	}
	for i := range 50_000 {
		done.Targets = append(done.Targets, wire.Target{Path: fmt.Sprint("t", i), Held: wire.Held{
			Object: wire.FileObject(wire.BlobID{1}, 1, false), Peers: make([]wire.PeerID, wire.MaxHolders)}})
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if err := (&client{rw: far}).writeDone(done, []byte("grant")); err != nil {
			t.Error(err)
		}
	}()
	targets, failures := 0, 0
	for frames := wire.NewFrameReader(near); ; {
		var r wire.Response
		must(t, frames.Read(&r))
		part := r.Part
		if r.Done != nil {
			part = r.Done
		}
		targets, failures = targets+len(part.Targets), failures+len(part.Failures)
		if r.Done != nil {
			if targets != len(done.Targets) || failures != len(done.Failures) || string(r.Done.Grant) != "grant" || r.Done.Counts.Failed != 300 {
				t.Errorf("the parts hold %d targets and %d failures", targets, failures)
			}
			return
		}
	}
}

func TestAClientMayNotReportRunsOrForeignSpaces(t *testing.T) {
	thunk, _ := testThunk(t, 1)
	_, value := wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 1, false)}).Encode()
	set := []wire.SpaceSet{{Space: "ben", Objects: []wire.Object{wire.FileObject(wire.BlobID{1}, 1, false)}}}
	for _, c := range []struct {
		name  string
		frame wire.FromNode
	}{
		{"a result", wire.FromNode{Results: []wire.Result{{Space: "anna", Thunk: thunk, Value: value}},
			Receipts: wire.SignReceipts(testKey(1), []wire.Receipt{{Space: "anna", Thunk: thunk, Value: wire.Sum(value)}}).Encode()}},
		{"a start", wire.FromNode{Started: []wire.LeaseID{1}}},
		{"holding another's object", wire.FromNode{Have: set}},
		{"durability of another's object", wire.FromNode{Stored: set}},
		{"a loss of another's object", wire.FromNode{Lost: set}},
		{"a loss of another's object elsewhere", wire.FromNode{Gone: []wire.Gone{{Peer: wire.PeerID{9}, Space: "ben"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, ended := node(t, startServer(t), testCert(1, wire.RoleClient))
			go discard(conn)
			h := hello()
			h.Slots = 0
			must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: h}))
			must(t, wire.WriteFrame(conn, &c.frame))
			if err := <-ended; wire.CauseOf(err) != wire.CauseUnauthorized {
				t.Errorf("ServeNode: %v, want unauthorized", err)
			}
		})
	}
}

func TestJobIDsOfOthersAreTaken(t *testing.T) {
	s := startServer(t)
	id, enc := testThunk(t, 1)
	sub := &wire.Submit{Job: wire.JobID{1}, Space: "anna", Tasks: 1, Targets: []wire.TargetSpec{{Path: "out", Thunk: id, Output: "out"}}}
	chunk := wire.SubmitChunk{Tasks: []wire.TaskSpec{{Name: "t", Thunk: enc}}, End: true}
	request(t, s, testCert(2, wire.RoleClient), &wire.Request{Submit: sub}, chunk)
	ben := testCert(3, wire.RoleClient)
	ben.Tenants = []wire.Space{"ben"}
	theirs := *sub
	theirs.Space = "ben"
	r := request(t, s, ben, &wire.Request{Submit: &theirs}, chunk)
	if r.Error == nil || !strings.Contains(r.Error.Message, "is taken") {
		t.Errorf("answer %+v, want that the id is taken", r)
	}
}

func TestNothingBeginsAfterTheEnd(t *testing.T) {
	s, err := New(Config{Key: testKey(0), Journal: openJournal(t, t.TempDir())})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	conn, session := node(t, s, testCert(1, wire.RoleNode))
	go discard(conn)
	must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
	cancel() // with a session open, whose own context does not end
	must(t, <-ended)
	<-session
	_, late := node(t, s, testCert(2, wire.RoleNode))
	if err := <-late; !errors.Is(err, ErrClosed) {
		t.Errorf("ServeNode after the end: %v, want ErrClosed", err)
	}
}

// A node that is told nothing for a while gets an empty frame, one that was told something none.
func TestOutboxSaysSomething(t *testing.T) {
	var o outbox
	o.init()
	o.say(time.Now())
	if frames := o.take(); len(frames) != 1 || len(frames[0].Offers) != 0 {
		t.Errorf("%d frames after a silence, want an empty one", len(frames))
	}
	o.say(time.Now().Add(-time.Minute))
	o.add(func(f *wire.ToNode) { f.Recall = []wire.LeaseID{1} })
	o.flush()
	if frames := o.take(); len(frames) != 1 || len(frames[0].Recall) != 1 {
		t.Errorf("%d frames just after another, want the one that was added", len(frames))
	}
	o.say(time.Now().Add(time.Minute))
	if frames := o.take(); len(frames) != 1 {
		t.Errorf("%d frames after another silence, want one", len(frames))
	}
}
