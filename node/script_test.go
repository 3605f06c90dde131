package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gaggle/node/worker"
	"gaggle/overlay/peer"
	"gaggle/sandbox"
	"gaggle/wire"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	testscript.Main(m, map[string]func(){"node": main})
}

var update = flag.Bool("update", false, "write the expected output of the scripts anew")

// TestScripts runs the scripts in testdata against a coordinator on loopback, of which each has
// its own. Beside the usual commands they have:
//
//	welcomed N    waits until N nodes in all have heard the coordinator's welcome
//	hub down|up   stops and starts the coordinator's host
//	settings F    writes name, slots, labels and the like of the last hello to F
//	terminate     sends SIGTERM to what runs in the background
//	sees F TEXT   waits until the file has the text
//	scrape LOG F  writes the metrics of the node, which said in LOG where they are, to F
//	age D         has the node's certificate run out so long ago
//	revoke        has the mesh end the node's membership
//
// The condition rootwithslots holds for the superuser of a machine on which tasks run.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup:         setup,
		Condition: func(cond string) (bool, error) {
			if cond != "rootwithslots" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return os.Geteuid() == 0 && worker.SelfTest(t.Context(), t.TempDir()) == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"welcomed": func(ts *testscript.TestScript, _ bool, args []string) { hubOf(ts).welcomed(ts, args[0]) },
			"hub":      func(ts *testscript.TestScript, _ bool, args []string) { hubOf(ts).turn(ts, args[0]) },
			"settings": func(ts *testscript.TestScript, _ bool, args []string) { hubOf(ts).settings(ts, args[0]) },
			"terminate": func(ts *testscript.TestScript, _ bool, _ []string) {
				for _, c := range ts.BackgroundCmds() {
					ts.Check(c.Process.Signal(syscall.SIGTERM))
				}
			},
			"scrape": func(ts *testscript.TestScript, _ bool, args []string) { scrape(ts, args[0], args[1]) },
			"age":    func(ts *testscript.TestScript, _ bool, args []string) { hubOf(ts).age(ts, args[0]) },
			"revoke": func(ts *testscript.TestScript, _ bool, _ []string) { hubOf(ts).revoke(ts) },
			"sees":   func(ts *testscript.TestScript, _ bool, args []string) { sees(ts, args[0], args[1]) },
		},
	})
}

// patience is when a script gives up on something that should long have happened.
const patience = time.Minute

func sees(ts *testscript.TestScript, file, text string) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(patience)
	for {
		b, err := os.ReadFile(ts.MkAbs(file))
		if err == nil && strings.Contains(string(b), text) {
			return
		}
		select {
		case <-look.C:
		case <-late:
			ts.Fatalf("%s never had %q, but: %s", file, text, b)
		}
	}
}

type hubKey struct{}

func hubOf(ts *testscript.TestScript) *hub { return ts.Value(hubKey{}).(*hub) }

// setup starts a coordinator and writes tickets: ticket for nodes, client for submitting, expired,
// and other of another mesh.
func setup(env *testscript.Env) error {
	h := &hub{listen: "/ip4/127.0.0.1/udp/0/quic-v1"}
	h.more.L = &h.mu
	var err error
	for _, k := range []*ed25519.PrivateKey{&h.mesh, &h.key} {
		if _, *k, err = ed25519.GenerateKey(nil); err != nil {
			return err
		}
	}
	if err := h.up(); err != nil {
		return err
	}
	env.Defer(h.down)
	env.Values[hubKey{}] = h
	env.Setenv("GAGGLE_NODE_STATE", filepath.Join(env.WorkDir, "state"))
	env.Setenv("HOME", env.WorkDir)
	now := time.Now()
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	for name, t := range map[string]struct {
		mesh   ed25519.PrivateKey
		roles  wire.Role
		issued time.Time
	}{
		"ticket":  {h.mesh, wire.RoleNode, now},
		"client":  {h.mesh, wire.RoleClient, now},
		"expired": {h.mesh, wire.RoleNode, now.Add(-48 * time.Hour)},
		"future":  {h.mesh, wire.RoleNode, now.Add(48 * time.Hour)},
		"other":   {other, wire.RoleNode, now},
	} {
		ticket := wire.SignTicket(t.mesh, wire.Ticket{Coordinator: wire.PeerOf(h.key), Addrs: h.addrs, Roles: t.roles, Tenants: []wire.Space{"anna"},
			Issued: t.issued.Unix(), Expires: t.issued.Add(wire.TicketLife).Unix()})
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(ticket.Text()+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// A hub is a coordinator that welcomes nodes and has no work.
type hub struct {
	mesh, key ed25519.PrivateKey
	listen    string
	addrs     []string
	host      *peer.Host

	mu     sync.Mutex // guards the fields below
	more   sync.Cond  // signalled when there is another hello
	hellos []*wire.Hello
}

func (h *hub) up() error {
	now := time.Now()
	cert := wire.SignCertificate(h.mesh, wire.Certificate{Peer: wire.PeerOf(h.key), Roles: wire.RoleCoordinator,
		NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix()})
	host, err := peer.New(peer.Config{Key: h.key, Mesh: wire.PeerOf(h.mesh), Cert: cert, Listen: []string{h.listen}})
	if err != nil {
		return err
	}
	h.host, h.addrs = host, host.Addrs()
	if len(h.addrs) == 0 {
		return errors.New("the coordinator has no address")
	}
	h.listen = h.addrs[0] // the same port the next time
	host.ServeJoin(peer.Registry{Mesh: h.mesh, Redeem: func(_, _ uint64) bool { return true }})
	host.Handle(wire.ProtocolNode, h.serve)
	return nil
}

func (h *hub) down() {
	if h.host != nil {
		_ = h.host.Close() // a test that has ended wants nothing of it
		h.host = nil
	}
}

func (h *hub) serve(s *peer.Stream) {
	defer s.Close()
	frames := wire.NewFrameReader(s)
	var hello *wire.Hello
	for {
		var f wire.FromNode
		if frames.Read(&f) != nil {
			return
		}
		if f.Hello != nil {
			hello = f.Hello
			welcome := &wire.ToNode{Epoch: 1, Welcome: &wire.Welcome{Beat: time.Second, Now: time.Now().UnixMicro(), MemberOf: "test"}}
			if wire.WriteFrame(s, welcome) != nil {
				return
			}
		} else if hello != nil { // it goes on, so it has heard the welcome
			h.mu.Lock()
			h.hellos = append(h.hellos, hello)
			h.more.Broadcast()
			h.mu.Unlock()
			hello = nil
		}
	}
}

func (h *hub) welcomed(ts *testscript.TestScript, arg string) {
	var n int
	if _, err := fmt.Sscan(arg, &n); err != nil {
		ts.Fatalf("welcomed %q: %v", arg, err)
	}
	late := time.AfterFunc(patience, h.more.Broadcast)
	defer late.Stop()
	begun := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.hellos) < n {
		if time.Since(begun) >= patience {
			ts.Fatalf("%d nodes were welcomed after %v, want %d", len(h.hellos), patience, n)
		}
		h.more.Wait()
	}
}

func (h *hub) turn(ts *testscript.TestScript, how string) {
	switch how {
	case "down":
		h.down()
	case "up":
		ts.Check(h.up())
	default:
		ts.Fatalf("hub %q: want up or down", how)
	}
}

func (h *hub) settings(ts *testscript.TestScript, file string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.hellos) == 0 {
		ts.Fatalf("no node was welcomed yet")
	}
	last := h.hellos[len(h.hellos)-1]
	b, err := json.Marshal(map[string]any{"name": last.Name, "slots": last.Slots, "labels": last.Labels, "store": last.StoreMax, "own": last.OwnOnly, "metered": last.Metered})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(file), append(b, '\n'), 0o666))
}

// node returns the state directory of the script's node, and its key.
func (h *hub) node(ts *testscript.TestScript) (stateDir, ed25519.PrivateKey) {
	dir := stateDir(ts.Getenv("GAGGLE_NODE_STATE"))
	key, err := dir.key()
	ts.Check(err)
	return dir, key
}

func (h *hub) age(ts *testscript.TestScript, arg string) {
	ago, err := time.ParseDuration(arg)
	ts.Check(err)
	dir, key := h.node(ts)
	s, err := dir.load()
	ts.Check(err)
	end := time.Now().Add(-ago)
	s.Certificate = wire.SignCertificate(h.mesh, wire.Certificate{Peer: wire.PeerOf(key), Roles: wire.RoleNode, Owner: "anna",
		NotBefore: end.Add(-wire.CertLife).Unix(), Expires: end.Unix()}).Encode()
	ts.Check(dir.save(s))
}

func (h *hub) revoke(ts *testscript.TestScript) {
	_, key := h.node(ts)
	ts.Check(h.host.Learn([][]byte{wire.SignRevocation(h.mesh, wire.PeerOf(key), time.Now(), false).Encode()}))
}

var said = regexp.MustCompile(`http://(\S+)/metrics; the token is in (\S+)`)

func scrape(ts *testscript.TestScript, log, file string) {
	m := said.FindStringSubmatch(ts.ReadFile(log))
	if m == nil {
		ts.Fatalf("%s does not say where the metrics are", log)
	}
	token, err := os.ReadFile(m[2])
	ts.Check(err)
	for auth, want := range map[string]int{"": http.StatusUnauthorized, "Bearer " + strings.TrimSpace(string(token)): http.StatusOK} {
		r, err := http.NewRequest("GET", "http://"+m[1]+"/metrics", nil)
		ts.Check(err)
		r.Header.Set("Authorization", auth)
		answer, err := http.DefaultClient.Do(r)
		ts.Check(err)
		b, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		ts.Check(err)
		if answer.StatusCode != want {
			ts.Fatalf("the page answers %s with Authorization %q, want %d", answer.Status, auth, want)
		}
		if want == http.StatusOK {
			ts.Check(os.WriteFile(ts.MkAbs(file), b, 0o600))
		}
	}
}
