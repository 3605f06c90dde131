package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// A court is a mesh with two nodes of anna, one of bert and one of carl, and a coordinator that shows
// claims as a test has them.
type court struct {
	coordinator
	t       *testing.T
	mesh    ed25519.PrivateKey
	now     time.Time
	certs   map[wire.PeerID][]byte
	claims  map[wire.ThunkID][][]byte
	room    int              // thunks that an answer has room for; 0 is all
	asked   [][]wire.ThunkID // each time
	revoked map[wire.PeerID]bool
	done    *wire.Done // of the job that is submitted or attached to
}

const (
	anna1 byte = iota + 1
	anna2
	bert
	carl
	meshKey byte = 100
)

func proofKey(i byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{i}, ed25519.SeedSize))
}

func newCourt(t *testing.T) *court {
	c := &court{t: t, mesh: proofKey(meshKey), now: time.Unix(1_700_000_000, 0), certs: map[wire.PeerID][]byte{}, claims: map[wire.ThunkID][][]byte{}, revoked: map[wire.PeerID]bool{}}
	for node, owner := range map[byte]string{anna1: "anna", anna2: "anna", bert: "bert", carl: "carl"} {
		c.certify(c.mesh, node, wire.Certificate{Owner: owner, Roles: wire.RoleNode})
	}
	return c
}

// certify gives a node a certificate that lasts a day.
func (c *court) certify(mesh ed25519.PrivateKey, node byte, cert wire.Certificate) {
	cert.Peer = wire.PeerOf(proofKey(node))
	if cert.Expires == 0 {
		cert.NotBefore, cert.Expires = c.now.Unix(), c.now.Add(24*time.Hour).Unix()
	}
	c.certs[cert.Peer] = wire.SignCertificate(mesh, cert).Encode()
}

func (c *court) link() *link {
	return &link{coordinator: c, name: "mesh", space: "s", authority: &authority{
		mesh: wire.PeerOf(c.mesh), owner: func() string { return "anna" }, now: func() time.Time { return c.now },
		revoked: func(p wire.PeerID) error {
			if c.revoked[p] {
				return errors.New("it was revoked")
			}
			return nil
		},
	}}
}

// Open answers one request.
func (c *court) Open(context.Context) (io.ReadWriteCloser, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		frames := wire.NewFrameReader(far)
		var req wire.Request
		if frames.Read(&req) != nil {
			return
		}
		for _, r := range c.answer(frames, &req) {
			_ = wire.WriteFrame(far, &r)
		}
	}()
	return near, nil
}

func (c *court) answer(frames *wire.FrameReader, req *wire.Request) []wire.Response {
	switch {
	case req.Claims != nil:
		r := wire.Response{}
		c.asked = append(c.asked, req.Claims.Thunks)
		for i, id := range req.Claims.Thunks {
			if c.room > 0 && i == c.room {
				r.Left = len(req.Claims.Thunks) - i
				break
			}
			r.Claims = append(r.Claims, c.claims[id]...)
		}
		for _, b := range c.certs {
			r.Certs = append(r.Certs, b)
		}
		return []wire.Response{r}
	case req.Submit != nil:
		var chunk wire.SubmitChunk
		if frames.Read(&chunk) != nil {
			return nil
		}
		return []wire.Response{{Accepted: &wire.Accepted{Job: req.Submit.Job, Trust: req.Submit.Trust, Proves: true}}, {Done: c.done}}
	}
	return []wire.Response{{}}
}

// claim has nodes claim that a resolved thunk has a value.
func (c *court) claim(id wire.ThunkID, outs []wire.Object, nodes ...byte) {
	for _, n := range nodes {
		c.claims[id] = append(c.claims[id], wire.SignClaim(proofKey(n), "s", id, wire.NewValue(outs)).Encode())
	}
}

// A suit is a job of tasks a and b, which needs a, and what they give.
type suit struct {
	tasks      []wire.TaskSpec
	a, b       wire.ThunkID // b resolved
	outA, outB []wire.Object
	target     wire.TargetSpec
}

func proofTask(t *testing.T, name string, th wire.Thunk) (wire.TaskSpec, wire.ThunkID) {
	t.Helper()
	th.Command, th.Platform, th.ABI = []string{"make", name}, "linux/amd64", wire.ABI
	if th.Outputs == nil {
		th.Outputs = []wire.Output{{Path: "out", Kind: wire.File}}
	}
	made, err := wire.NewThunk(th)
	if err != nil {
		t.Fatal(err)
	}
	id, enc := made.Encode()
	return wire.TaskSpec{Name: name, Thunk: enc}, id
}

func proofFile(text string) wire.Object {
	return wire.FileObject(wire.BlobID(wire.Sum([]byte(text))), uint64(len(text)), false)
}

func outputOf(id wire.ThunkID) []wire.Input {
	return []wire.Input{{Path: "in", Output: "out", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(id)}}}
}

func newSuit(t *testing.T) *suit {
	s := &suit{outA: []wire.Object{proofFile("A")}, outB: []wire.Object{proofFile("B")}}
	var a, b wire.TaskSpec
	a, s.a = proofTask(t, "a", wire.Thunk{})
	b, s.target.Thunk = proofTask(t, "b", wire.Thunk{Inputs: outputOf(s.a)})
	_, s.b = proofTask(t, "b", wire.Thunk{Inputs: []wire.Input{{Path: "in", Object: s.outA[0]}}})
	s.tasks = []wire.TaskSpec{a, b}
	s.target.Path, s.target.Output = "b.txt", "out"
	return s
}

func (s *suit) prover(c *court, trust wire.Trust) *prover {
	p := newProver(c.link(), trust)
	for i := range s.tasks {
		p.add(&s.tasks[i])
	}
	return p
}

func TestWhatClaimsProve(t *testing.T) {
	good := func(c *court, s *suit) {
		c.claim(s.a, s.outA, anna1, bert)
		c.claim(s.b, s.outB, anna2, bert)
	}
	forge := func(b []byte) []byte {
		b = slices.Clone(b)
		b[len(b)-1] ^= 1 // the end of the signature
		return b
	}
	for _, c := range []struct {
		name  string
		trust wire.Trust
		plan  func(*court, *suit)
		says  string // "" is proven
	}{
		{"own nodes", wire.TrustOwn, good, ""},
		{"two owners", 2, good, ""},
		{"three owners, of which two claimed", 3, good, `only that those of 2 did`},
		{"nothing", wire.TrustOwn, func(*court, *suit) {}, "of task a it is not shown that a node of anna gave its value"},
		{"another owner's", wire.TrustOwn, func(c *court, s *suit) {
			c.claim(s.a, s.outA, bert, carl)
			c.claim(s.b, s.outB, anna1)
		}, "of task a it is not shown"},
		{"one owner twice", 2, func(c *court, s *suit) {
			c.claim(s.a, s.outA, anna1, anna2)
		}, `only that those of 1 did ["anna"]`},
		{"two owners, two values", 2, func(c *court, s *suit) {
			c.claim(s.a, s.outA, anna1)
			c.claim(s.a, s.outB, bert)
		}, "of task a it is not shown"},
		{"a forged signature", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.claims[s.b] = [][]byte{forge(c.claims[s.b][0])}
		}, "of task b it is not shown that a node of anna gave its value (decoding a claim: signature of the claim by"},
		{"one claim twice for two", 2, func(c *court, s *suit) {
			c.claim(s.a, s.outA, anna1, anna1)
		}, "of task a it is not shown"},
		{"a certificate of another mesh", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.certify(proofKey(99), anna1, wire.Certificate{Owner: "anna", Roles: wire.RoleNode})
		}, "belongs to another mesh"},
		{"a certificate with another's name on it", wire.TrustOwn, func(c *court, s *suit) {
			c.claim(s.a, s.outA, bert)
			cert, err := wire.DecodeCertificate(c.certs[wire.PeerOf(proofKey(bert))])
			if err != nil {
				c.t.Fatal(err)
			}
			cert.Owner = "anna"
			c.certs[cert.Peer] = cert.Encode()
		}, "signature of the certificate"},
		{"a certificate that ran out", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.certify(c.mesh, anna2, wire.Certificate{Owner: "anna", Roles: wire.RoleNode, NotBefore: 1, Expires: c.now.Add(-time.Hour).Unix()})
		}, "of task b it is not shown that a node of anna gave its value (certificate of"},
		{"a member that is no node", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.certify(c.mesh, anna1, wire.Certificate{Owner: "anna", Roles: wire.RoleClient})
		}, "is no node"},
		{"a member that was revoked", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.revoked[wire.PeerOf(proofKey(anna1))] = true
		}, "it was revoked"},
		{"no certificate", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			delete(c.certs, wire.PeerOf(proofKey(anna1)))
		}, "the certificate is missing of " + wire.PeerOf(proofKey(anna1)).Short()},
		{"a claim of another space", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.claims[s.a] = [][]byte{wire.SignClaim(proofKey(anna1), "other", s.a, wire.NewValue(s.outA)).Encode()}
		}, "of task a it is not shown"},
		{"a claim of another thunk", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.claims[s.a] = [][]byte{wire.SignClaim(proofKey(anna1), "s", s.b, wire.NewValue(s.outA)).Encode()}
		}, "of task a it is not shown"},
		{"another value of what comes before", wire.TrustOwn, func(c *court, s *suit) {
			c.claim(s.a, s.outB, anna1)
			c.claim(s.b, s.outB, anna1)
		}, "of task b it is not shown"},
		{"another value of the target", wire.TrustOwn, func(c *court, s *suit) {
			c.claim(s.a, s.outA, anna1)
			c.claim(s.b, s.outA, anna1)
		}, "target b.txt was delivered as"},
		{"two values", wire.TrustOwn, func(c *court, s *suit) {
			good(c, s)
			c.claim(s.a, s.outB, anna2)
		}, "of task a the nodes that the job believes claim 2 different values"},
		{"a value of another shape", wire.TrustOwn, func(c *court, s *suit) {
			c.claim(s.a, append(s.outA, s.outB...), anna1)
		}, "of task a it is not shown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, s := newCourt(t), newSuit(t)
			c.plan(k, s)
			err := s.prover(k, c.trust).target(t.Context(), &s.target, s.outB[0])
			if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("target = %v, want %q in it", err, c.says)
			}
		})
	}
}

// TestSignerIsAway: of nodes that have not connected since the coordinator began it has no certificates: that is
// not held against it, and when they are back the proof succeeds.
func TestSignerIsAway(t *testing.T) {
	c, s := newCourt(t), newSuit(t)
	c.claim(s.a, s.outA, anna1)
	c.claim(s.b, s.outB, anna2)
	away := wire.PeerOf(proofKey(anna2))
	cert := c.certs[away]
	delete(c.certs, away)
	for job, hint := range map[string]string{"j1": "coord get j1 checks it again", "": "try again when they are connected"} {
		p := s.prover(c, wire.TrustOwn)
		p.job = job
		var e *wire.Error
		if err := p.target(t.Context(), &s.target, s.outB[0]); !errors.As(err, &e) || e.Cause != wire.CauseUnproven || !strings.Contains(e.Message, away.Short()) || !strings.Contains(e.Hint, hint) {
			t.Errorf("while a signer is away target = %v, want a hint with %q", err, hint)
		}
	}
	c.certs[away] = cert
	if err := s.prover(c, wire.TrustOwn).target(t.Context(), &s.target, s.outB[0]); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// TestProofOfASubGraph: what a thunk wrote is expanded here, and all of it proven.
func TestProofOfASubGraph(t *testing.T) {
	const text = `{"gaggle": 1, "tasks": {"x": {"run": ["x"], "outputs": ["out"]}, "y": {"inputs": {"in": "@x/out"}, "run": ["y"], "outputs": ["out"]}}, "targets": {"out": "@y/out"}}`
	wrote := wire.Object{Kind: wire.Graph, Digest: wire.Sum([]byte(text)), Size: uint64(len(text))}
	spec, id := proofTask(t, "top", wire.Thunk{Root: wire.TreeID{7}, Outputs: []wire.Output{{Path: "out", Kind: wire.File, Graph: "next.json"}}})
	sub := func(name string, in []wire.Input) wire.ThunkID {
		th, err := wire.NewThunk(wire.Thunk{Command: []string{name}, Root: wire.TreeID{7}, Inputs: in, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI})
		if err != nil {
			t.Fatal(err)
		}
		id, _ := th.Encode()
		return id
	}
	x, got := proofFile("X"), proofFile("Y")
	c := newCourt(t)
	c.claim(id, []wire.Object{wrote}, anna1)
	c.claim(sub("x", nil), []wire.Object{x}, anna2)
	c.claim(sub("y", []wire.Input{{Path: "in", Object: x}}), []wire.Object{got}, anna1)
	target := wire.TargetSpec{Path: "t", Thunk: id, Output: "out"}
	prove := func(read func(context.Context, wire.Object) ([]byte, error)) error {
		p := newProver(c.link(), wire.TrustOwn)
		p.add(&spec)
		p.read = read
		return p.target(t.Context(), &target, got)
	}
	here := func(context.Context, wire.Object) ([]byte, error) { return []byte(text), nil }
	if err := prove(here); err != nil {
		t.Errorf("of the sub-graph: %v", err)
	}
	err := prove(func(context.Context, wire.Object) ([]byte, error) { return nil, errors.New("nobody has it") })
	if err == nil || !strings.Contains(err.Error(), "the sub-graph that task top wrote cannot be read") {
		t.Errorf("of a sub-graph that is lost: %v", err)
	}
	delete(c.claims, sub("x", nil))
	if err := prove(here); err == nil || !strings.Contains(err.Error(), "of task top/x it is not shown") {
		t.Errorf("of a sub-graph of which a task is not claimed: %v", err)
	}
}

// TestProofOfAGang: what hangs on a gang is named, the rest is proven.
func TestProofOfAGang(t *testing.T) {
	c, s := newCourt(t), newSuit(t)
	c.claim(s.a, s.outA, anna1)
	c.claim(s.b, s.outB, anna1)
	member, id := proofTask(t, "member", wire.Thunk{})
	member.Gang = &wire.Gang{Name: "g", Size: 1}
	after, afterID := proofTask(t, "after", wire.Thunk{Inputs: outputOf(id)})
	s.tasks = append(s.tasks, member, after)
	wanted := map[string]wire.TargetSpec{"b.txt": s.target, "m": {Path: "m", Thunk: id, Output: "out"}, "after": {Path: "after", Thunk: afterID, Output: "out"}, "again": {Path: "again", Thunk: afterID, Output: "out"}}
	var targets []wire.Target
	for _, path := range []string{"m", "after", "again", "b.txt"} {
		targets = append(targets, wire.Target{Path: path, Held: wire.Held{Object: s.outB[0]}})
	}
	var notes []string
	if err := s.prover(c, wire.TrustOwn).all(t.Context(), wanted, targets, func(e *Event) { notes = append(notes, e.Note) }); err != nil {
		t.Fatal(err)
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "was signed by nodes of anna (2 tasks)") || !strings.Contains(notes[1], "m, after, again is (3 targets)") {
		t.Errorf("said %q", notes)
	}
	delete(wanted, "b.txt")
	if err := s.prover(c, wire.TrustOwn).all(t.Context(), wanted, targets, func(*Event) {}); err == nil || !strings.Contains(err.Error(), "not asked for") {
		t.Errorf("of a target that nobody wanted: %v", err)
	}
}

// TestProofOfACall: what a tool's call comes to is checked in the same way.
func TestProofOfACall(t *testing.T) {
	c, s := newCourt(t), newSuit(t)
	c.claim(s.a, s.outA, anna1)
	b := new(backend)
	for _, x := range []struct {
		trust wire.Trust
		outs  []wire.Object
		good  bool
	}{{wire.TrustOwn, s.outA, true}, {wire.TrustOwn, s.outB, false}, {2, s.outA, false}, {wire.TrustAny, s.outB, true}} {
		err := b.proveOne(t.Context(), c.link(), request{name: "cc", trust: x.trust}, s.tasks[0].Thunk, x.outs)
		if (err == nil) != x.good || err != nil && wire.CauseOf(err) != wire.CauseUnproven {
			t.Errorf("trust %s, %v: %v", x.trust, x.outs, err)
		}
	}
}

// TestProofAsksInBatches: a long chain is no chain of questions where the coordinator said what it
// resolved, and an answer may leave some out.
func TestProofAsksInBatches(t *testing.T) {
	const length = 3 * wire.MaxBatch
	c, dir := newCourt(t), stateDir(t.TempDir())
	p := newProver(c.link(), wire.TrustOwn)
	log, err := dir.openTaskLog("j")
	if err != nil {
		t.Fatal(err)
	}
	var last wire.TargetSpec
	before, in := wire.ThunkID{}, []wire.Input(nil)
	for i := range length {
		var pending []wire.Input
		if i > 0 {
			pending = outputOf(before)
		}
		spec, id := proofTask(t, fmt.Sprint(i), wire.Thunk{Inputs: pending})
		_, resolved := proofTask(t, fmt.Sprint(i), wire.Thunk{Inputs: in})
		p.add(&spec)
		out := proofFile(fmt.Sprint("out", i))
		c.claim(resolved, []wire.Object{out}, anna1)
		if err := log.add(&wire.Notice{Task: spec.Name, Thunk: id, Resolved: resolved, State: wire.StateDone}); err != nil {
			t.Fatal(err)
		}
		before, in = id, []wire.Input{{Path: "in", Object: out}}
		last = wire.TargetSpec{Path: "t", Thunk: id, Output: "out"}
	}
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	c.room = wire.MaxBatch / 2
	if err := p.prefetch(t.Context(), dir, "j"); err != nil {
		t.Fatal(err)
	}
	if err := p.target(t.Context(), &last, in[0].Object); err != nil {
		t.Fatal(err)
	}
	if len(c.asked) != 6 {
		t.Errorf("asked %d times, want 6", len(c.asked))
	}
	q := newProver(c.link(), wire.TrustOwn)
	q.link.coordinator = &fakeCoordinator{answers: []func(*wire.FrameReader, io.Writer){func(frames *wire.FrameReader, w io.Writer) {
		var req wire.Request
		_ = frames.Read(&req)
		_ = wire.WriteFrame(w, &wire.Response{Left: 1})
	}}}
	if err := q.claims.ask(t.Context(), q.link, []wire.ThunkID{{1}}); wire.CauseOf(err) != wire.CauseUnproven {
		t.Errorf("of an answer that leaves all out: %v", err)
	}
}

// TestLyingCoordinator: of a job that believes own nodes, targets that they did not give are not put in
// their place, whatever the coordinator says; and no job succeeds of which a target is left out.
func TestLyingCoordinator(t *testing.T) {
	honest := map[string]string{"a.txt": "A", "b.txt": "B"}
	for _, c := range []struct {
		name      string
		trust     wire.Trust
		delivered map[string]string
		failed    int
		cause     wire.Cause
		says      string
	}{
		{"what own nodes gave", wire.TrustOwn, honest, 0, 0, ""},
		{"what others gave", wire.TrustOwn, map[string]string{"a.txt": "A", "b.txt": "what bert gave"}, 0, wire.CauseUnproven, "target b.txt was delivered as"},
		{"one is left out", wire.TrustOwn, map[string]string{"b.txt": "B"}, 0, wire.CauseUnproven, "did not deliver 1 target of those that were wanted, first a.txt"},
		{"all are left out", wire.TrustOwn, nil, 0, wire.CauseUnproven, "did not deliver 2 targets of those that were wanted, first a.txt"},
		{"one failed", wire.TrustOwn, map[string]string{"a.txt": "A"}, 1, 0, ""},
		{"anybody's", wire.TrustAny, honest, 0, 0, ""},
		{"one of anybody's is left out", wire.TrustAny, map[string]string{"b.txt": "B"}, 0, wire.CauseInternal, "first a.txt"},
		{"all of anybody's are left out", wire.TrustAny, nil, 0, wire.CauseInternal, "first a.txt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, out := lyingJob(t, c.trust, c.delivered)
			j.link.coordinator.(*court).done.Counts.Failed = c.failed
			j.run(t.Context())
			end := j.end.End
			if c.says == "" && end.Error != nil || c.says != "" && (end.Error == nil || end.Error.Cause != c.cause || !strings.Contains(end.Error.Message, c.says)) {
				t.Errorf("the job ended with %v, want cause %d and %q", end.Error, c.cause, c.says)
			}
			for p, text := range honest {
				b, err := os.ReadFile(filepath.Join(out, p))
				switch there := c.says == "" && c.delivered[p] != ""; {
				case there && (err != nil || string(b) != text):
					t.Errorf("%s holds %q (%v), want %q", p, b, err, text)
				case !there && !errors.Is(err, fs.ErrNotExist):
					t.Errorf("%s is there: %q (%v)", p, b, err)
				}
			}
		})
	}
}

// lyingJob returns a job that wants a.txt and b.txt, of which it is delivered what the coordinator likes, and
// where they are written.
func lyingJob(t *testing.T, trust wire.Trust, delivered map[string]string) (*job, string) {
	t.Helper()
	dir := stateDir(t.TempDir())
	store, err := blobstore.Open(dir.path("store"), blobstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	c, s := newCourt(t), newSuit(t)
	c.claim(s.a, s.outA, anna1)
	c.claim(s.b, s.outB, anna1)
	c.done = &wire.Done{Counts: wire.Counts{Tasks: 2, Ran: 2}}
	for p, text := range delivered {
		if _, _, err := store.Put(t.Context(), "s", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		c.done.Targets = append(c.done.Targets, wire.Target{Path: p, Held: wire.Held{Object: proofFile(text)}})
	}
	b := &backend{dir: dir, log: slog.New(slog.DiscardHandler), ctx: t.Context(), store: store, history: loadHistory(dir.path("history.json"))}
	out := t.TempDir()
	rec := &record{Job: wire.JobID{1}.String(), Out: out, Trust: trust, Begun: time.Now()}
	j := b.newJob(c.link(), rec, wire.JobID{1})
	j.targets = []wire.TargetSpec{s.target, {Path: "a.txt", Thunk: s.a, Output: "out"}}
	j.submit = &submission{head: wire.Submit{Job: j.id, Space: "s", Tasks: 2, Trust: trust}, tasks: s.tasks}
	if err := errors.Join(dir.saveThunks(rec.Job, s.tasks, true), dir.saveWanted(rec.Job, j.targets)); err != nil {
		t.Fatal(err)
	}
	return j, out
}

// TestWhatIsNotChecked: only what was never submitted from here is taken by the coordinator's word, and that
// is said; what is here and cannot be read is an error.
func TestWhatIsNotChecked(t *testing.T) {
	job := wire.JobID{7}
	status := &wire.JobStatus{Job: job, Name: "theirs", Trust: wire.TrustOwn}
	mine := `{"job":"` + job.String() + `","trust":1,"out":"/x"}`
	for _, c := range []struct {
		name  string
		files map[string]string
		cause wire.Cause
		note  string
	}{
		{"of another machine", nil, 0, "this machine does not have what was submitted"},
		{"of a version that kept nothing", map[string]string{".json": mine}, 0, "this machine does not have what was submitted"},
		{"a record cut short", map[string]string{".json": mine[:9]}, wire.CauseDisk, ""},
		{"an empty list of targets", map[string]string{".json": mine, ".wanted": ""}, wire.CauseDisk, ""},
		{"a list of targets cut short", map[string]string{".json": mine, ".wanted": "\x05"}, wire.CauseDisk, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := stateDir(t.TempDir())
			b := &backend{dir: dir}
			for ext, text := range c.files {
				if err := writeFile(dir.jobFile(job.String(), ext), []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			note := ""
			rec, err := dir.recordOf(status)
			if err == nil {
				_, err = b.wanted(newCourt(t).link(), rec, func(e *Event) { note += e.Note })
			}
			if wire.CauseOf(err) != c.cause || !strings.Contains(note, c.note) {
				t.Errorf("error %v, note %q; want cause %d, %q", err, note, c.cause, c.note)
			}
		})
	}
}

// TestNothingToProveBy: with a policy a job is not submitted if what it is made of cannot be kept, and of one
// whose tasks are gone from here the coordinator is not blamed.
func TestNothingToProveBy(t *testing.T) {
	j, out := lyingJob(t, wire.TrustOwn, map[string]string{"a.txt": "A", "b.txt": "B"})
	thunks := j.b.dir.jobFile(j.rec.Job, ".thunks")
	if err := os.Remove(thunks); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(thunks, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.keepSubmitted(nil); err == nil || !strings.Contains(err.Error(), "keeping what is submitted") {
		t.Errorf("keepSubmitted = %v, want an error", err)
	}
	if err := os.RemoveAll(thunks); err != nil {
		t.Fatal(err)
	}
	j.run(t.Context())
	if e := j.end.End.Error; e == nil || e.Cause != wire.CauseDisk || e.Hint != hintUnkept {
		t.Errorf("without the tasks the job ended with %v", e)
	}
	if _, err := os.Stat(filepath.Join(out, "b.txt")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unproven target is there: %v", err)
	}
}

// TestDue: of a job that is over coord get asks for all that it made; of one under way for what there is.
func TestDue(t *testing.T) {
	c := newCourt(t)
	w := wantsOf([]wire.TargetSpec{{Path: "bin/a"}, {Path: "bin/b"}, {Path: "doc"}})
	rec := &record{Trust: wire.TrustOwn}
	there := []wire.Target{{Path: "bin/a"}, {Path: "doc"}}
	for _, d := range []struct {
		name   string
		status wire.JobStatus
		names  []string
		says   string // "" is no error
		note   string
	}{
		{"over", wire.JobStatus{Ended: 1}, nil, "first bin/b", ""},
		{"over, and a part is asked for", wire.JobStatus{Ended: 1}, []string{"bin/"}, "first bin/b", ""},
		{"over, and what is there is asked for", wire.JobStatus{Ended: 1}, []string{"doc", "bin/a"}, "", ""},
		{"failed", wire.JobStatus{Ended: 1, Counts: wire.Counts{Failed: 1}}, nil, "", ""},
		{"under way", wire.JobStatus{State: "running"}, nil, "", "the job is running: 1 target not there yet"},
	} {
		d.status.Targets = there
		note := ""
		err := w.due(c.link(), rec, &d.status, d.names, func(e *Event) { note += e.Note })
		if d.says == "" && err != nil || d.says != "" && (wire.CauseOf(err) != wire.CauseUnproven || !strings.Contains(err.Error(), d.says)) || note != d.note {
			t.Errorf("%s: error %v, note %q; want %q, %q", d.name, err, note, d.says, d.note)
		}
	}
}

// BenchmarkProof is what a task costs whose value one node claims: 10^4 tasks that hang on one.
func BenchmarkProof(b *testing.B) {
	const tasks = 10_000
	c := &court{mesh: proofKey(meshKey), now: time.Unix(1_700_000_000, 0), certs: map[wire.PeerID][]byte{}, claims: map[wire.ThunkID][][]byte{}}
	c.certify(c.mesh, anna1, wire.Certificate{Owner: "anna", Roles: wire.RoleNode})
	thunk := func(n int, in []wire.Input) (wire.TaskSpec, wire.ThunkID) {
		th, err := wire.NewThunk(wire.Thunk{Command: []string{"make", fmt.Sprint(n)}, Inputs: in, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI})
		if err != nil {
			b.Fatal(err)
		}
		id, enc := th.Encode()
		return wire.TaskSpec{Name: fmt.Sprint(n), Thunk: enc}, id
	}
	dir, out := stateDir(b.TempDir()), proofFile("out")
	log, err := dir.openTaskLog("j")
	if err != nil {
		b.Fatal(err)
	}
	first, root := thunk(0, nil)
	c.claim(root, []wire.Object{out}, anna1)
	specs, targets := []wire.TaskSpec{first}, []wire.TargetSpec(nil)
	for i := 1; i < tasks; i++ {
		spec, id := thunk(i, outputOf(root))
		_, resolved := thunk(i, []wire.Input{{Path: "in", Object: out}})
		c.claim(resolved, []wire.Object{out}, anna1)
		if err := log.add(&wire.Notice{Thunk: id, Resolved: resolved, State: wire.StateDone}); err != nil {
			b.Fatal(err)
		}
		specs, targets = append(specs, spec), append(targets, wire.TargetSpec{Path: fmt.Sprint(i), Thunk: id, Output: "out"})
	}
	if err := log.close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p := newProver(c.link(), wire.TrustOwn)
		for i := range specs {
			p.add(&specs[i])
		}
		if err := p.prefetch(b.Context(), dir, "j"); err != nil {
			b.Fatal(err)
		}
		for i := range targets {
			if err := p.target(b.Context(), &targets[i], out); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/tasks, "us/task")
}
