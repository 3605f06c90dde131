package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

// The bytes below are the formats: a change here breaks every stored object and signature. They
// were written by hand from RFC 8949 and the DAG-CBOR specification.

// rawLink and cborLink write tag 42, a byte string of 37: 00, CIDv1, codec, sha2-256, 32 bytes.
func rawLink(fill string) string  { return "d82a 5825 00 01 55 12 20" + strings.Repeat(fill, 32) }
func cborLink(fill string) string { return "d82a 5825 00 01 71 12 20" + strings.Repeat(fill, 32) }

// key writes a byte string of 32.
func key(p PeerID) string { return "5820" + hex.EncodeToString(p[:]) }

var (
	goldenTree = []string{
		"82",           // array of 2
		"01",           // version 1
		"84",           // 4 entries, ascending by name
		"83",           // an entry: name, object, target
		"65612e747874", // "a.txt"
		"83 01",        // object: kind 1, file
		rawLink("11"),  // its blob
		"05",           // 5 bytes
		"60",           // no target
		"83 63 62696e", // "bin"
		"83 03",        // kind 3, directory
		cborLink("22"), // its tree
		"19012c",       // 300 bytes below
		"60",
		"83 61 6c",     // "l"
		"83 04 f6 00",  // kind 4, symbolic link: no content, no size
		"65612e747874", // to "a.txt"
		"83 63 72756e", // "run"
		"83 02",        // kind 2, executable
		rawLink("33"),
		"1a00011170", // 70,000 bytes
		"60",
	}
	goldenThunk = []string{
		"89",                        // array of 9
		"01",                        // version 1
		"83 627368 622d63 63636174", // command: "sh", "-c", "cat"
		"81 82 6141 6162",           // environment: A=b
		cborLink("44"),              // root
		"82",                        // 2 inputs, ascending by path
		"83 62696e",                 // "in"
		"83 01" + rawLink("11") + "05",
		"60",                            // it is no output of a thunk
		"83 6178",                       // "x"
		"83 05" + cborLink("55") + "00", // kind 5, pending: the thunk that makes it
		"65 6f75742f79",                 // by its output "out/y"
		"82",                            // 2 outputs, ascending by path
		"83 63 6f7574 03 60",            // "out", a directory
		"83 66 7374646f7574 01 61 67",   // "stdout", a file, or the graph in "g"
		"62 696e",                       // standard input is "in"
		"6b 6c696e75782f616d643634",     // "linux/amd64"
		"01",                            // abi 1
	}
	goldenValue = []string{
		"82 01",                            // version 1
		"82",                               // 2 outputs
		"83 01" + rawLink("11") + "05",     // a file of 5 bytes
		"83 06" + rawLink("33") + "190400", // a graph of 1,024 bytes, not expanded
	}
)

func TestGolden(t *testing.T) {
	tree, err := NewTree([]Entry{
		{Name: "run", Object: Object{Exec, fill(0x33), 70_000}},
		{Name: "bin", Object: Object{Dir, fill(0x22), 300}},
		{Name: "l", Object: Object{Kind: Symlink}, Target: "a.txt"},
		{Name: "a.txt", Object: Object{File, fill(0x11), 5}},
	})
	if err != nil {
		t.Fatal(err)
	}
	thunk, err := NewThunk(Thunk{
		Command: []string{"sh", "-c", "cat"},
		Env:     []EnvVar{{Name: "A", Value: "b"}},
		Root:    TreeID(fill(0x44)),
		Inputs:  []Input{{Path: "x", Object: Object{Kind: Pending, Digest: fill(0x55)}, Output: "out/y"}, {Path: "in", Object: Object{File, fill(0x11), 5}}},
		Outputs: []Output{{Path: "stdout", Kind: File, Graph: "g"}, {Path: "out", Kind: Dir}},
		Stdin:   "in", Platform: "linux/amd64", ABI: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	value := NewValue([]Object{{File, fill(0x11), 5}, {Graph, fill(0x33), 1024}})

	t.Run("tree", func(t *testing.T) {
		id, got := tree.Encode()
		checkBytes(t, got, hexBytes(t, goldenTree...))
		checkString(t, id.String(), "bafyreiee7ynlje6rnzwdmivzuui3taua2oucqbuqojnil5k5vxj22sisu4")
	})
	t.Run("thunk", func(t *testing.T) {
		id, got := thunk.Encode()
		checkBytes(t, got, hexBytes(t, goldenThunk...))
		checkString(t, id.String(), "bafyreie7xasn5dwadyxndluz3wal64xwmmrhojaoxmb7huyymv2x4kb2fy")
	})
	t.Run("value", func(t *testing.T) {
		_, got := value.Encode()
		checkBytes(t, got, hexBytes(t, goldenValue...))
	})
	t.Run("empty tree", func(t *testing.T) {
		empty, err := NewTree(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, got := empty.Encode()
		checkBytes(t, got, hexBytes(t, "82 01 80"))
	})
}

func checkBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("encoded as\n\t%x, want\n\t%x", got, want)
	}
}

func checkString(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What is signed is a label and the encoding with an empty signature: built here by hand, so that
// a change of either is noticed.
func TestGoldenSigned(t *testing.T) {
	k, mesh := testKey(7), testKey(8)
	signer, ca := PeerOf(k), PeerOf(mesh)
	peer := PeerID(fill(0x99))
	at := time.Unix(1_700_000_000, 0) // 1a 6553f100
	for _, c := range []struct {
		name   string
		by     ed25519.PrivateKey
		label  string
		got    []byte
		pieces []string // but for the signature, which is last
	}{
		{"claim", k, "gaggle claim 1\x00", SignClaim(k, "anna", ThunkID(fill(0x44)), NewValue([]Object{{File, fill(0x11), 5}})).Encode(), []string{
			"86 01",                                 // version 1
			"64 616e6e61",                           // space "anna"
			cborLink("44"),                          // thunk
			"82 01 81 83 01" + rawLink("11") + "05", // value, whole
			key(signer),
		}},
		{"receipts", k, "gaggle receipts 1\x00", SignReceipts(k, []Receipt{{
			Space: "anna", Thunk: ThunkID(fill(0x44)), Value: fill(0x66), Cause: CauseSignal, Exit: -1, Signal: 9,
			Started: 1_700_000_000_000_000, Queue: 1, Fetch: 2, Run: 300, Store: 4, CPU: 5, PeakMem: 1 << 20, FetchBytes: 6,
			Stdout: Object{File, fill(0x11), 5},
		}}).Encode(), []string{
			"84 01", key(signer),
			"81",                              // one receipt
			"90",                              // of 16 fields
			"64 616e6e61",                     // space
			cborLink("44"),                    // thunk
			"5820" + strings.Repeat("66", 32), // digest of the value: bytes, no link
			"02",                              // cause: signal
			"20",                              // exit -1: none
			"09",                              // signal 9
			"1b 00060a24181e4000",             // started
			"01 02 19012c 04 05",              // queue, fetch, run, store, CPU
			"1a 00100000",                     // peak memory
			"06",                              // fetched bytes
			"83 01" + rawLink("11") + "05",    // standard output
			"83 00 f6 00",                     // no standard error
		}},
		{"certificate", mesh, "gaggle certificate 1\x00", SignCertificate(mesh, Certificate{
			Peer: peer, Roles: RoleNode | RoleClient, Owner: "anna", Tenants: []Space{"b", "a"}, NotBefore: at.Unix(), Expires: at.Unix() + 1}).Encode(), []string{
			"89 01", key(ca), key(peer),
			"03",           // node and client
			"64 616e6e61",  // owner
			"82 6161 6162", // tenants, ascending
			"1a 6553f100 1a 6553f101",
		}},
		{"grant", k, "gaggle grant 1\x00", SignGrant(k, "anna", peer, at).Encode(), []string{
			"86 01", "64 616e6e61", key(peer), "1a 6553f100", key(signer),
		}},
		{"revocation", mesh, "gaggle revocation 1\x00", SignRevocation(mesh, peer, at, true).Encode(), []string{
			"87 01", key(ca), key(peer), "1a 6553f100",
			"1a 65f22758", // 120 days and ten minutes later
			"f5",          // true: tickets, too
		}},
		{"ticket", mesh, "gaggle ticket 1\x00", ticketBytes(t, SignTicket(mesh, Ticket{
			Coordinator: peer, Addrs: []string{"/ip4/10.0.0.1/udp/7070/quic-v1"}, Roles: RoleNode, Issued: at.Unix(), Expires: at.Unix() + 1, Serial: 24})), []string{
			"8b 01", key(ca), key(peer),
			"81 781e 2f6970342f31302e302e302e312f7564702f373037302f717569632d7631",
			"01", // node
			"60", // no owner
			"80", // no tenants
			"1a 6553f100 1a 6553f101",
			"1818", // serial 24
		}},
		{"ticket for three", mesh, "gaggle ticket 1\x00", ticketBytes(t, SignTicket(mesh, Ticket{
			Coordinator: peer, Addrs: []string{"/ip4/10.0.0.1/udp/7070/quic-v1"}, Roles: RoleNode, Issued: at.Unix(), Expires: at.Unix() + 1, Serial: 24, Uses: 3})), []string{
			"8c 02", key(ca), key(peer),
			"81 781e 2f6970342f31302e302e302e312f7564702f373037302f717569632d7631",
			"01 60 80", // node, no owner, no tenants
			"1a 6553f100 1a 6553f101",
			"1818 03", // serial 24, three uses
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			unsigned := hexBytes(t, c.pieces...)
			signature := ed25519.Sign(c.by, append(append([]byte(c.label), unsigned...), 0x40))
			checkBytes(t, c.got, append(append(unsigned, 0x58, 0x40), signature...))
		})
	}
}

func ticketBytes(t *testing.T, k *Ticket) []byte {
	t.Helper()
	text := k.Text()
	if !strings.HasPrefix(text, "gag1-") {
		t.Fatalf("ticket %q", text)
	}
	return k.encode()
}
