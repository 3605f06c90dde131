package wire

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The key of libp2p's test vectors (specs/peer-ids) with the text that go-libp2p 0.51 gives it.
func TestPeerIDIsOfLibp2p(t *testing.T) {
	p := PeerID(hexBytes(t, "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"))
	const want = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
	checkString(t, p.String(), want)
	checkString(t, p.Short(), want[len(want)-8:])
	checkBytes(t, p.Bytes(), hexBytes(t, "00 24 08 01 12 20 1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"))
	if got, err := ParsePeerID(want); err != nil || got != p {
		t.Errorf("ParsePeerID = %v, %v", got, err)
	}
	if got, err := PeerFromBytes(p.Bytes()); err != nil || got != p {
		t.Errorf("PeerFromBytes = %v, %v", got, err)
	}
	k := testKey(1)
	if !PeerOf(k).Key().Equal(k.Public()) || PeerOf(k).IsZero() {
		t.Error("the id of a private key is not its public key")
	}
	for _, bad := range []string{
		"", "12D3KooW", want + "x", "Q" + want[1:], strings.Repeat("1", 65), "0" + want,
		"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", // an RSA key
	} {
		if _, err := ParsePeerID(bad); !errors.Is(err, ErrBadID) {
			t.Errorf("ParsePeerID(%q) = %v, want ErrBadID", bad, err)
		}
	}
}

func TestParseID(t *testing.T) {
	blob, tree := BlobID(Sum(nil)).String(), TreeID(Sum(nil)).String()
	// ipfs add --raw-leaves --cid-version 1 of an empty file
	checkString(t, blob, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
	if _, err := ParseBlobID(tree); !errors.Is(err, ErrBadID) {
		t.Errorf("a tree as a blob: %v", err)
	}
	if _, err := ParseTreeID(blob); !errors.Is(err, ErrBadID) {
		t.Errorf("a blob as a tree: %v", err)
	}
	if id, err := ParseThunkID(tree); err != nil || id != ThunkID(Sum(nil)) {
		t.Errorf("ParseThunkID = %v, %v", id, err)
	}
	for _, bad := range []string{"", "x", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", blob[:20], blob + "a"} {
		if _, err := ParseBlobID(bad); !errors.Is(err, ErrBadID) {
			t.Errorf("ParseBlobID(%q) = %v, want ErrBadID", bad, err)
		}
	}
	job := JobID{0xab, 1}
	if got, err := ParseJobID(job.String()); err != nil || got != job {
		t.Errorf("ParseJobID(%s) = %v, %v", job, got, err)
	}
	for _, bad := range []string{"", "j", "x0102030405060708", "j010203040506070g", "j01020304050607080"} {
		if _, err := ParseJobID(bad); !errors.Is(err, ErrBadID) {
			t.Errorf("ParseJobID(%q) = %v, want ErrBadID", bad, err)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, good := range []string{"a", "a/b", "a b/é", "...", strings.Repeat("a/", 255) + "a", strings.Repeat("x", 255)} {
		if err := CheckPath(good); err != nil {
			t.Errorf("CheckPath(%.20q) = %v", good, err)
		}
	}
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", ".", "a/..", "./a", "a/./b", "a\x00", "\xff", strings.Repeat("a/", 256) + "a", strings.Repeat("x", 256), strings.Repeat("abc/", 1000) + "a"} {
		if err := CheckPath(bad); !errors.Is(err, ErrBadPath) {
			t.Errorf("CheckPath(%.20q) = %v, want ErrBadPath", bad, err)
		}
	}
	for s, want := range map[Space]bool{"public": true, "a.b-c_D9": true, "": false, ".": false, "..": false, "a/b": false, "é": false, Space(strings.Repeat("x", 101)): false} {
		if s.Valid() != want {
			t.Errorf("Space(%.20q).Valid() = %v", s, !want)
		}
	}
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestCertificateVerify(t *testing.T) {
	mesh, peer := testKey(1), PeerID(fill(9))
	ca := PeerOf(mesh)
	c := SignCertificate(mesh, Certificate{Peer: peer, Roles: RoleNode | RoleClient, Tenants: []Space{"anna"}, NotBefore: noon.Unix(), Expires: noon.Add(time.Hour).Unix()})
	forged, future := *c, *c
	forged.Roles, future.Version = RoleCoordinator, 2
	for _, x := range []struct {
		name       string
		c          *Certificate
		mesh, peer PeerID
		now        time.Time
		want       Cause
	}{
		{"good", c, ca, peer, noon.Add(time.Minute), CauseUnknown},
		{"a little early, by clocks that differ", c, ca, peer, noon.Add(-MaxClockSkew), CauseUnknown},
		{"early", c, ca, peer, noon.Add(-MaxClockSkew - 2*time.Second), CauseClock},
		{"late", c, ca, peer, noon.Add(time.Hour + MaxClockSkew + 2*time.Second), CauseExpired},
		{"of another mesh", c, PeerOf(testKey(2)), peer, noon, CauseUnauthorized},
		{"shown by another", c, ca, PeerID(fill(8)), noon, CauseUnauthorized},
		{"with more roles", &forged, ca, peer, noon, CauseUnauthorized},
		{"of a later format", &future, ca, peer, noon, CauseVersion},
	} {
		t.Run(x.name, func(t *testing.T) {
			if err := x.c.Verify(x.mesh, x.peer, x.now); CauseOf(err) != x.want || (err == nil) != (x.want == CauseUnknown) {
				t.Errorf("Verify = %v, want cause %v", err, x.want)
			}
		})
	}
	if !c.Has(RoleNode) || c.Has(RoleNode|RoleCoordinator) || !c.May("anna") || !c.May(Public) || c.May("bob") {
		t.Error("roles or tenants are not those that were signed")
	}
}

func TestGrantVerify(t *testing.T) {
	k, peer := testKey(1), PeerID(fill(9))
	g := SignGrant(k, "anna", peer, noon)
	forged, bad := *g, *SignGrant(k, "no/space", peer, noon)
	forged.Space = "bob"
	yes, no := func(p PeerID) bool { return p == PeerOf(k) }, func(PeerID) bool { return false }
	for _, x := range []struct {
		name    string
		g       *Grant
		peer    PeerID
		now     time.Time
		trusted func(PeerID) bool
		want    Cause
		ok      bool
	}{
		{"good", g, peer, noon, yes, CauseUnknown, true},
		{"late", g, peer, noon.Add(MaxClockSkew + 2*time.Second), yes, CauseExpired, false},
		{"used by another", g, PeerID(fill(8)), noon, yes, CauseUnauthorized, false},
		{"signed by nobody", g, peer, noon, no, CauseUnauthorized, false},
		{"for another space", &forged, peer, noon, yes, CauseUnauthorized, false},
		{"for what is no space", &bad, peer, noon, yes, CauseUnknown, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			if err := x.g.Verify(x.peer, x.now, x.trusted); CauseOf(err) != x.want || (err == nil) != x.ok {
				t.Errorf("Verify = %v, want cause %v", err, x.want)
			}
		})
	}
}

func TestTicket(t *testing.T) {
	mesh := testKey(1)
	k := SignTicket(mesh, Ticket{Coordinator: PeerID(fill(9)), Addrs: []string{"/ip4/10.0.0.1/udp/7070/quic-v1"}, Roles: RoleNode,
		Issued: noon.Unix(), Expires: noon.Add(TicketLife).Unix()})
	text := k.Text()
	got, err := ParseTicket("  " + text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Verify(PeerOf(mesh), noon); err != nil {
		t.Errorf("Verify = %v", err)
	}
	if err := got.Verify(PeerOf(testKey(2)), noon); CauseOf(err) != CauseUnauthorized {
		t.Errorf("Verify with another mesh = %v", err)
	}
	if err := got.Verify(PeerOf(mesh), noon.Add(2*TicketLife)); CauseOf(err) != CauseExpired {
		t.Errorf("Verify two days later = %v", err)
	}
	if err := got.Verify(PeerOf(mesh), noon.Add(-TicketLife)); CauseOf(err) != CauseClock {
		t.Errorf("Verify the day before = %v", err)
	}
	for n := range text {
		if _, err := ParseTicket(text[:n]); CauseOf(err) != CauseInvalid {
			t.Fatalf("the first %d characters: %v, want cause invalid", n, err)
		}
		changed := []byte(text)
		if changed[n]++; changed[n] == text[n] {
			continue
		}
		if p, err := ParseTicket(string(changed)); err == nil && p.Text() == text {
			t.Fatalf("character %d changed, and the ticket is the same", n)
		}
	}
	three := SignTicket(mesh, Ticket{Addrs: k.Addrs, Serial: 7, Uses: 3})
	if got, err := ParseTicket(three.Text()); err != nil || got.Uses != 3 || got.Serial != 7 || got.Verify(PeerOf(mesh), time.Unix(0, 0)) != nil {
		t.Errorf("a ticket for three joins is read as %+v, %v", got, err)
	}
	more := *three
	more.Uses = 4
	if _, err := ParseTicket(more.Text()); CauseOf(err) != CauseInvalid {
		t.Errorf("a ticket whose uses were changed: %v, want cause invalid", err)
	}
	alone := SignTicket(mesh, Ticket{})
	if _, err := ParseTicket(alone.Text()); CauseOf(err) != CauseInvalid {
		t.Errorf("a ticket without addresses: %v", err)
	}
	later := k.encode()
	later[1] = 3
	if _, err := ParseTicket(ticketPrefix + encode64(later)); CauseOf(err) != CauseVersion {
		t.Errorf("a ticket of a later format: %v, want cause version", err)
	}
	if ed25519.PublicKeySize != len(PeerID{}) {
		t.Error("a PeerID is not a key")
	}
}

func TestHintsWidest(t *testing.T) {
	for _, c := range []struct {
		name       string
		a, b, want Hints
	}{
		{"both default", Hints{}, Hints{}, Hints{MilliCPU: DefaultMilliCPU, MemBytes: DefaultMemory, Timeout: DefaultTimeout}},
		{"less than default does not narrow it", Hints{}, Hints{MilliCPU: 100, MemBytes: 1, Timeout: time.Second},
			Hints{MilliCPU: DefaultMilliCPU, MemBytes: DefaultMemory, Timeout: DefaultTimeout}},
		{"larger of each", Hints{MilliCPU: 100, MemBytes: 9, Timeout: time.Second, Priority: -5}, Hints{MilliCPU: 50, MemBytes: 10, Timeout: time.Minute, Priority: -7, Retries: 2},
			Hints{MilliCPU: 100, MemBytes: 10, Timeout: time.Minute, Priority: -5, Retries: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, got := range []Hints{c.a.Widest(c.b), c.b.Widest(c.a)} {
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
			}
		})
	}
}

func TestAsError(t *testing.T) {
	typed := Errorf(CauseBusy, "wait", "too many %s", "streams")
	for _, c := range []struct {
		name string
		err  error
		want Error
	}{
		{"typed", typed, *typed},
		{"wrapped", fmt.Errorf("asking: %w", typed), Error{Cause: CauseBusy, Message: "asking: too many streams", Hint: "wait"}},
		{"wrapped in the middle", fmt.Errorf("asking: %w (twice)", typed), Error{Cause: CauseBusy, Message: "asking: too many streams: wait (twice)"}},
		{"cancelled", fmt.Errorf("asking: %w", context.Canceled), Error{Cause: CauseCancelled, Message: "asking: context canceled"}},
		{"late", context.DeadlineExceeded, Error{Cause: CauseUnreachable, Message: "context deadline exceeded"}},
		{"other", errors.New("x"), Error{Message: "x"}},
		{"long", errors.New(strings.Repeat("é", MaxText)), Error{Message: strings.Repeat("é", MaxText/2)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := AsError(c.err); *got != c.want {
				t.Errorf("AsError = %+v, want %+v", got, c.want)
			}
			if CauseOf(c.err) != c.want.Cause && !errors.Is(c.err, context.Canceled) && !errors.Is(c.err, context.DeadlineExceeded) {
				t.Errorf("CauseOf = %v", CauseOf(c.err))
			}
		})
	}
	if AsError(nil) != nil {
		t.Error("AsError(nil) is an error")
	}
}

func TestCauseNames(t *testing.T) {
	for c := range causeNames {
		if c.Task() && c.Infrastructure() {
			t.Errorf("%v is both a task's and the infrastructure's", c)
		}
	}
	checkString(t, Cause(999).String(), "cause 999")
	checkString(t, CauseDiskFull.String(), "disk full")
	if !CauseExit.Task() || !CauseFetch.Infrastructure() || CauseInvalid.Task() || CauseInvalid.Infrastructure() || CauseUnknown.Task() {
		t.Error("causes stand in the wrong class")
	}
}
