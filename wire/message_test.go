package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
)

// messages are one of each kind of frame, with something in every branch.
func messages() map[string]any {
	peer, object := PeerID(fill(9)), Object{File, fill(1), 5}
	held := Held{Object: object, Peers: []PeerID{peer}}
	failure := Failure{Cause: CauseExit, Message: "exit 3", Hint: "look", Exit: 3, Node: peer, NodeName: "n", Stdout: []byte("o"), Stderr: []byte("e")}
	return map[string]any{
		"from-node": &FromNode{
			Hello: &Hello{Versions: Versions{Release: "r", Protocol: 1, Thunks: []uint64{1}, Platforms: []string{"linux/amd64"}, ABIs: []uint64{1}},
				Name: "n", Slots: 2, MemBytes: 1 << 30, StoreMax: 1 << 40, Labels: map[string]string{"k": "v"}, Epoch: 3, Running: []LeaseID{7}, Inventory: 1},
			Beat: &Beat{FreeSlots: 1, StoreUsed: 2, Draining: true}, Started: []LeaseID{1 << 33},
			Results:  []Result{{Lease: 1, Space: "anna", Thunk: ThunkID(fill(2)), Value: []byte{1}, Run: time.Second}},
			Failures: []Attempt{{Lease: 2, Space: "anna", Thunk: ThunkID(fill(3)), Failure: failure}},
			Have:     []SpaceSet{{Space: "anna", Objects: []Object{object, {Kind: Symlink}}}},
			Gone:     []Gone{{Peer: peer, Space: "anna", Digest: fill(4), Wrong: true}},
			Links:    []Link{{From: peer, BytesPerSec: 1.5e9, RTT: time.Millisecond}},
			Progress: []Progress{{Lease: 1, Phase: "run", From: peer}},
		},
		"to-node": &ToNode{
			Epoch: 4, Welcome: &Welcome{Versions: Versions{Protocol: 1}, Beat: time.Second, Now: 5}, Peers: []PeerInfo{{Peer: peer, Addrs: []string{"/ip4/1.2.3.4"}}},
			Grants: [][]byte{{1}}, Offers: []Offer{{Lease: 1, Space: "anna", Name: "t", Thunk: []byte{1}, Root: &object, Holders: []Held{held}, Lasts: time.Minute,
				Hints: Hints{MilliCPU: 500, MemBytes: 1, Timeout: time.Second, Priority: -1, Retries: 2, Labels: map[string]string{"a": "b"}}}},
			Recall: []LeaseID{1}, Pin: []Pin{{Space: "anna", Object: object, Owner: "j1"}}, Copy: []CopyOrder{{Space: "anna", Held: held}}, Probe: []PeerID{peer},
		},
		"request": &Request{Submit: &Submit{Job: JobID{1, 2}, Space: "anna", Name: "g.yaml", Tasks: 1,
			Targets: []TargetSpec{{Path: "a", Thunk: ThunkID(fill(2)), Output: "out"}}}, Nodes: &Nothing{}},
		"chunk": &SubmitChunk{Tasks: []TaskSpec{{Name: "t", Thunk: []byte{1}, RootSize: 7}}, End: true},
		"response": &Response{
			Error:   &Error{Cause: CauseBusy, Message: "m", Hint: "h"},
			Notices: []Notice{{Task: "t", State: StateRunning, Node: peer, Failure: &failure, Progress: &Progress{Lease: 1, Phase: "run"}}},
			Done:    &Done{Targets: []Target{{Path: "a", Held: held}}, Failures: []FailedTask{{Task: "t", Failure: failure}}, Counts: Counts{Tasks: 1, Ran: 1}},
			Jobs:    []JobStatus{{Job: JobID{1}, State: "done"}}, Nodes: []NodeStatus{{Labels: map[string]string{"a": "b"}}},
		},
		"log-request": &LogRequest{Grant: []byte{1}, Space: "anna", Thunk: ThunkID(fill(2)), Follow: true},
		"log-chunk":   &LogChunk{Stderr: true, Data: []byte("x"), End: true, Error: &Error{Cause: CauseNotFound, Message: "m"}},
	}
}

func blank(name string) any {
	return map[string]any{"from-node": new(FromNode), "to-node": new(ToNode), "request": new(Request), "chunk": new(SubmitChunk),
		"response": new(Response), "log-request": new(LogRequest), "log-chunk": new(LogChunk)}[name]
}

func TestMessageRoundTrip(t *testing.T) {
	for name, want := range messages() {
		t.Run(name, func(t *testing.T) {
			b, err := Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			got := blank(name)
			if err := Unmarshal(b, got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, equal...); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// Ids are byte strings and links, never arrays of numbers.
func TestMessageIDs(t *testing.T) {
	b, err := Marshal(&Gone{Peer: PeerID(fill(0x77)), Space: "anna", Digest: fill(0x44)})
	if err != nil {
		t.Fatal(err)
	}
	checkBytes(t, b, hexBytes(t, "a3", // keys in bytewise order of their encoding: shorter ones first
		"64 70656572 5820"+strings.Repeat("77", 32),     // peer
		"65 7370616365 64 616e6e61",                     // space
		"66 646967657374 5820"+strings.Repeat("44", 32), // digest
	))
	if b, err = Marshal(&JobRef{Job: JobID{1, 2, 3, 4, 5, 6, 7, 8}}); err != nil {
		t.Fatal(err)
	}
	checkBytes(t, b, hexBytes(t, "a1 63 6a6f62 48 0102030405060708"))
}

// testdata/*.hex are frames as the first released messages wrote them, and never change: what a
// version says must be understood by the next.
func TestMessageInterop(t *testing.T) {
	for name, want := range messages() {
		t.Run(name+" of the first version", func(t *testing.T) {
			file := filepath.Join("testdata", name+".hex")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := blank(name)
			if err := Unmarshal(hexBytes(t, strings.Fields(string(text))...), got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, equal...); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
		t.Run(name+" of a later version", func(t *testing.T) {
			b, err := Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			got := blank(name)
			if err := Unmarshal(extended(t, b), got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, equal...); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
		t.Run(name+" of which nothing is known", func(t *testing.T) {
			got := blank(name)
			if err := Unmarshal(hexBytes(t, "a1 63 6e6577 a2 61 61 80 61 62 f5"), got); err != nil { // {"new": {"a": [], "b": true}}
				t.Fatal(err)
			}
			if d := cmp.Diff(blank(name), got, equal...); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// extended adds an unknown key to every map in b.
func extended(t *testing.T, b []byte) []byte {
	t.Helper()
	var v any
	mode, err := cbor.DecOptions{DefaultMapType: nil, MaxNestedLevels: 24}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	if err := mode.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	b, err = cbor.Marshal(extend(v))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func extend(v any) any {
	switch v := v.(type) {
	case map[any]any:
		for k := range v {
			v[k] = extend(v[k])
		}
		if _, label := v["a"]; !label && v["k"] == nil { // labels are data
			v["zz-later"] = []any{map[string]int{"x": 1}, nil, 1.5}
		}
	case []any:
		for i := range v {
			v[i] = extend(v[i])
		}
	}
	return v
}

func FuzzMessage(f *testing.F) {
	for name, m := range messages() {
		b, err := Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, b)
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		m := blank(name)
		if m == nil || Unmarshal(b, m) != nil {
			return
		}
		again, err := Marshal(m) // whatever was understood can be said again, and means the same
		if err != nil {
			t.Fatalf("encoding what was decoded: %v", err)
		}
		other := blank(name)
		if err := Unmarshal(again, other); err != nil {
			t.Fatalf("decoding %x again: %v", again, err)
		}
		if d := cmp.Diff(m, other, equal...); d != "" {
			t.Fatalf("(-first +again):\n%s", d)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(frames(f, FromNode{Started: []LeaseID{1}}, FromNode{}))
	f.Add([]byte{0x80, 0x80, 0x80, 0x04})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewFrameReader(bytes.NewReader(b))
		for r.Read(new(FromNode)) == nil {
		}
		if cap(r.buf) > 2*len(b)+128<<10 {
			t.Errorf("%d bytes set aside for a stream of %d", cap(r.buf), len(b))
		}
	})
}

// FuzzDecode: what a decoder accepts is the one encoding of what it returns.
func FuzzDecode(f *testing.F) {
	for name, b := range samples(f) {
		f.Add(name, b)
	}
	f.Add("tree", hexBytes(f, "82 01 80"))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		decode := decoders[name]
		if decode == nil {
			return
		}
		if got, err := decode(b); err == nil && !bytes.Equal(got, b) {
			t.Errorf("%s %x decodes and encodes as %x", name, b, got)
		}
	})
}

// FuzzText: an id that is understood is written as it was read.
func FuzzText(f *testing.F) {
	f.Add(BlobID(fill(1)).String())
	f.Add(TreeID(fill(1)).String())
	f.Add(PeerID(fill(1)).String())
	f.Add(JobID{1}.String())
	f.Add(SignTicket(testKey(1), Ticket{Addrs: []string{"/ip4/1.2.3.4/udp/7070/quic-v1"}}).Text())
	f.Add("zQm" + hex.EncodeToString([]byte("x")))
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseBlobID(s); err == nil {
			if again, err := ParseBlobID(id.String()); err != nil || again != id {
				t.Errorf("blob %q is %s and then %s, %v", s, id, again, err)
			}
		}
		if id, err := ParseTreeID(s); err == nil {
			if again, err := ParseThunkID(id.String()); err != nil || TreeID(again) != id {
				t.Errorf("tree %q is %s and then %s, %v", s, id, again, err)
			}
		}
		if id, err := ParsePeerID(s); err == nil && id.String() != s {
			t.Errorf("peer %q is written %q", s, id)
		}
		if id, err := ParseJobID(s); err == nil && !strings.EqualFold(id.String(), s) {
			t.Errorf("job %q is written %q", s, id)
		}
		if k, err := ParseTicket(s); err == nil {
			if again, err := ParseTicket(k.Text()); err != nil || again.Serial != k.Serial {
				t.Errorf("ticket %q: %v", s, err)
			}
		}
	})
}
