package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// decoders read one hashed or signed value each and return it encoded again.
var decoders = map[string]func([]byte) ([]byte, error){
	"tree":        recode(DecodeTree),
	"thunk":       recode(DecodeThunk),
	"value":       recode(DecodeValue),
	"claim":       recode(DecodeClaim),
	"receipts":    recode(DecodeReceiptBatch),
	"certificate": recode(DecodeCertificate),
	"grant":       recode(DecodeGrant),
	"revocation":  recode(DecodeRevocation),
}

func recode[T any](decode func([]byte) (*T, error)) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		v, err := decode(b)
		if err != nil {
			return nil, err
		}
		return encodeHashed(v), nil
	}
}

// samples are one encoding for each of decoders.
func samples(t testing.TB) map[string][]byte {
	k := testKey(7)
	return map[string][]byte{
		"tree":  hexBytes(t, goldenTree...),
		"thunk": hexBytes(t, goldenThunk...),
		"value": hexBytes(t, goldenValue...),
		"claim": SignClaim(k, "anna", ThunkID(fill(1)), NewValue([]Object{{File, fill(2), 3}})).Encode(),
		"receipts": SignReceipts(k, []Receipt{{Space: "anna", Thunk: ThunkID(fill(1)), Exit: -1,
			Stdout: Object{File, fill(2), 3}}}).Encode(),
		"certificate": SignCertificate(k, Certificate{Peer: PeerID(fill(3)), Roles: RoleNode, Tenants: []Space{"a"}, Expires: 1}).Encode(),
		"grant":       SignGrant(k, "anna", PeerID(fill(3)), time.Unix(1, 0)).Encode(),
		"revocation":  SignRevocation(k, PeerID(fill(3)), time.Unix(1, 0), true).Encode(),
	}
}

// Every value has one encoding; whatever else a lenient reader would take for it is refused.
func TestDecodeCanonicalOnly(t *testing.T) {
	tree := "82 01 81 83 61 61 83 01" + rawLink("11") + "05 60" // {a: a file of 5 bytes}
	if _, err := DecodeTree(hexBytes(t, tree)); err != nil {
		t.Fatalf("decoding the tree that the cases are made of: %v", err)
	}
	for _, c := range []struct{ name, from, to string }{
		{"long version", "82 01", "82 1801"},
		{"long array length", "82 01 81", "82 01 9801"},
		{"long string length", "61 61", "7801 61"},
		{"long size", "05 60", "1805 60"},
		{"eight-byte size", "05 60", "1b0000000000000005 60"},
		{"indefinite array", "82 01 81", "9f 01 81"},
		{"indefinite string", "61 61", "7f 61 61 ff"},
		{"float size", "05 60", "f94500 60"},
		{"negative size", "05 60", "20 60"},
		{"null name", "61 61 83", "f6 83"},
		{"byte string as a name", "61 61 83", "41 61 83"},
		{"name that is not UTF-8", "61 61 83", "61 ff 83"},
		{"wrong codec", "01 55 12", "01 71 12"},
		{"wrong hash", "55 12 20", "55 13 20"},
		{"CID of version 0", "00 01 55", "00 00 55"},
		{"no zero before the CID", "00 01 55", "01 01 55"},
		{"other tag", "d82a", "d82b"},
		{"long tag", "d82a", "d9002a"},
		{"link as bytes", "d82a 5825", "5825"},
		{"map for a struct", "82 01 81", "a1 01 81"},
		{"missing element", "05 60", "05"},
		{"extra element", "82 01 81", "83 00 01 81"},
		{"unknown kind", "83 01", "83 07"},
		{"pending in a tree", "83 01d82a 5825 00 01 55", "83 05d82a 5825 00 01 71"},
		{"link target on a file", "05 60", "05 61 62"},
		{"size beyond any blob", "05 60", "1b0000010000000001 60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(tree, c.from) {
				t.Fatalf("%q is not in the encoding", c.from)
			}
			if _, err := DecodeTree(hexBytes(t, strings.Replace(tree, c.from, c.to, 1))); err == nil {
				t.Error("accepted")
			}
		})
	}
	for name, b := range samples(t) {
		t.Run("trailing byte after a "+name, func(t *testing.T) {
			if _, err := decoders[name](append(bytes.Clone(b), 0)); err == nil {
				t.Error("accepted")
			}
		})
		t.Run("every cut of a "+name, func(t *testing.T) {
			for n := range b {
				if _, err := decoders[name](b[:n]); err == nil {
					t.Errorf("%d of %d bytes are accepted", n, len(b))
				}
			}
		})
	}
}

// A format from the future is called that, whatever else has changed in it.
func TestDecodeUnknownVersion(t *testing.T) {
	for name, b := range samples(t) {
		for what, change := range map[string]func([]byte) []byte{
			"another version":            func(b []byte) []byte { b[1] = 9; return b },
			"and a field more":           func(b []byte) []byte { b[0]++; b[1] = 9; return append(b, 0) },
			"of two bytes, and no field": func(b []byte) []byte { return []byte{0x81, 0x18, 0x20} },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				_, err := decoders[name](change(bytes.Clone(b)))
				if CauseOf(err) != CauseVersion || !strings.Contains(err.Error(), "update gaggle") {
					t.Errorf("error %v, want cause version", err)
				}
			})
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	file := Object{File, fill(1), 1}
	for _, c := range []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"a name twice", []Entry{{Name: "a", Object: file}, {Name: "a", Object: file}}, "twice"},
		{"no name", []Entry{{Object: file}}, "not a usable path"},
		{"dots", []Entry{{Name: "..", Object: file}}, "not a usable path"},
		{"a slash", []Entry{{Name: "a/b", Object: file}}, "not a usable path"},
		{"a name too long", []Entry{{Name: strings.Repeat("a", 256), Object: file}}, "longer than"},
		{"a link without target", []Entry{{Name: "l", Object: Object{Kind: Symlink}}}, "target"},
		{"a link to a NUL", []Entry{{Name: "l", Object: Object{Kind: Symlink}, Target: "a\x00"}}, "target"},
		{"no object", []Entry{{Name: "a"}}, "kind 0"},
		{"sizes beyond a blob", []Entry{{Name: "a", Object: Object{File, fill(1), MaxBlob}}, {Name: "b", Object: file}}, "exceeds the bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewTree(c.entries); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestThunkRefuses(t *testing.T) {
	good := func() Thunk {
		return Thunk{Command: []string{"true"}, Root: TreeID(fill(1)), Platform: "linux/amd64", ABI: ABI,
			Inputs: []Input{{Path: "in", Object: Object{File, fill(2), 1}}}, Outputs: []Output{{Path: "out", Kind: File}}}
	}
	if _, err := NewThunk(good()); err != nil {
		t.Fatalf("the thunk that the cases are made of: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*Thunk)
		want   string
	}{
		{"no command", func(k *Thunk) { k.Command = nil }, "no command"},
		{"empty command", func(k *Thunk) { k.Command = []string{""} }, "no command"},
		{"a NUL in an argument", func(k *Thunk) { k.Command = []string{"a", "b\x00"} }, "NUL"},
		{"a variable twice", func(k *Thunk) { k.Env = []EnvVar{{Name: "A"}, {Name: "A"}} }, "twice"},
		{"a variable with =", func(k *Thunk) { k.Env = []EnvVar{{Name: "A=B"}} }, "badly named"},
		{"an input twice", func(k *Thunk) { k.Inputs = append(k.Inputs, k.Inputs[0]) }, "twice"},
		{"an input below another", func(k *Thunk) {
			k.Inputs = append(k.Inputs, Input{Path: "in/x", Object: Object{File, fill(2), 1}}, Input{Path: "in!", Object: Object{File, fill(2), 1}})
		}, "lies below"},
		{"an input that escapes", func(k *Thunk) { k.Inputs[0].Path = "../in" }, "not a usable path"},
		{"an absolute input", func(k *Thunk) { k.Inputs[0].Path = "/in" }, "not a usable path"},
		{"a graph as an input", func(k *Thunk) { k.Inputs[0].Object.Kind = Graph }, "is graph"},
		{"a pending input without output name", func(k *Thunk) { k.Inputs[0].Object = Object{Kind: Pending, Digest: fill(3)} }, "output name"},
		{"an output name on a file", func(k *Thunk) { k.Inputs[0].Output = "x" }, "output name"},
		{"standard input that is none", func(k *Thunk) { k.Stdin = "other" }, "is not an input"},
		{"no outputs", func(k *Thunk) { k.Outputs = nil }, "no outputs"},
		{"an output twice", func(k *Thunk) { k.Outputs = append(k.Outputs, k.Outputs[0]) }, "twice"},
		{"an output that escapes", func(k *Thunk) { k.Outputs[0].Path = "a/../../b" }, "not a usable path"},
		{"an output that is a link", func(k *Thunk) { k.Outputs[0].Kind = Symlink }, "want file or directory"},
		{"a graph that escapes", func(k *Thunk) { k.Outputs[0].Graph = "/g" }, "not a usable path"},
		{"no platform", func(k *Thunk) { k.Platform = "linux" }, "os/arch"},
		{"an unknown builtin", func(k *Thunk) { k.Command = []string{"gaggle:fly"} }, "not known here"},
		{"a job directory that is relative", func(k *Thunk) { k.JobDir, k.ABI = "home/u", ABIPlaced }, "not a clean absolute path"},
		{"a job directory that escapes", func(k *Thunk) { k.JobDir, k.ABI = "/home/../u", ABIPlaced }, "not a clean absolute path"},
		{"a job directory in /proc", func(k *Thunk) { k.JobDir, k.ABI = "/proc/self", ABIPlaced }, "which the sandbox fills"},
		{"a job directory that is /tmp", func(k *Thunk) { k.JobDir, k.ABI = "/tmp", ABIPlaced }, "temporary files"},
		{"a job directory in the plain profile", func(k *Thunk) { k.JobDir = "/home/u" }, "sandbox profile 1"},
		{"a working directory alone", func(k *Thunk) { k.WorkDir = "src" }, "without a job directory"},
		{"a working directory that escapes", func(k *Thunk) { k.JobDir, k.ABI, k.WorkDir = "/home/u", ABIPlaced, "../v" }, "not a usable path"},
		{"a builtin of a wrong form", func(k *Thunk) { k.Command = []string{BuiltinSelect} }, "wants one path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := good()
			c.change(&k)
			if _, err := NewThunk(k); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

var (
	genName   = rapid.StringMatching(`[a-zé]{1,8}`)
	genPath   = rapid.StringMatching(`[a-z]{1,3}/[a-zé]{1,8}`)
	genDigest = rapid.Custom(func(t *rapid.T) Digest { return fill(rapid.Byte().Draw(t, "digest")) })
	genObject = rapid.Custom(func(t *rapid.T) Object {
		return Object{rapid.SampledFrom([]Kind{File, Exec, Dir}).Draw(t, "kind"), genDigest.Draw(t, "digest"), rapid.Uint64Range(0, 1<<33).Draw(t, "size")}
	})
	genEntry = rapid.Custom(func(t *rapid.T) Entry {
		if rapid.Bool().Draw(t, "link") {
			return Entry{Name: genName.Draw(t, "name"), Object: Object{Kind: Symlink}, Target: genPath.Draw(t, "target")}
		}
		return Entry{Name: genName.Draw(t, "name"), Object: genObject.Draw(t, "object")}
	})
	genInput = rapid.Custom(func(t *rapid.T) Input {
		in := Input{Path: genPath.Draw(t, "path"), Object: genObject.Draw(t, "object")}
		if rapid.Bool().Draw(t, "pending") {
			in.Object, in.Output = Object{Kind: Pending, Digest: genDigest.Draw(t, "thunk")}, genPath.Draw(t, "output")
		}
		return in
	})
	genThunk = rapid.Custom(func(t *rapid.T) *Thunk {
		k := Thunk{
			Command:  rapid.SliceOfN(genName, 1, 5).Draw(t, "command"),
			Root:     TreeID(genDigest.Draw(t, "root")),
			Inputs:   rapid.SliceOfNDistinct(genInput, 0, 12, func(i Input) string { return i.Path }).Draw(t, "inputs"),
			Platform: "linux/amd64", ABI: rapid.Uint64().Draw(t, "abi"),
		}
		if rapid.Bool().Draw(t, "placed") {
			k.ABI, k.JobDir, k.WorkDir = ABIPlaced, "/"+genPath.Draw(t, "job directory"), rapid.SampledFrom([]string{"", "src", "a/b"}).Draw(t, "working directory")
		}
		for _, name := range rapid.SliceOfNDistinct(genName, 0, 4, rapid.ID).Draw(t, "env") {
			k.Env = append(k.Env, EnvVar{Name: name, Value: genName.Draw(t, "value")})
		}
		for _, p := range rapid.SliceOfNDistinct(genPath, 1, 4, rapid.ID).Draw(t, "outputs") {
			k.Outputs = append(k.Outputs, Output{Path: p, Kind: rapid.SampledFrom([]Kind{File, Dir}).Draw(t, "kind"), Graph: rapid.SampledFrom([]string{"", "g/g"}).Draw(t, "graph")})
		}
		made, err := NewThunk(k)
		if err != nil {
			t.Fatalf("making a thunk: %v", err)
		}
		return made
	})
)

func TestTreeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, err := NewTree(rapid.SliceOfNDistinct(genEntry, 0, 20, func(e Entry) string { return e.Name }).Draw(t, "entries"))
		if err != nil {
			t.Fatal(err)
		}
		_, b := tree.Encode()
		if want := reflectHashed(tree); !bytes.Equal(b, want) {
			t.Fatalf("encoded as %x, by reflection %x", b, want)
		}
		got, err := DecodeTree(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tree, got, equal...); d != "" {
			t.Fatalf("decoded otherwise (-want +got):\n%s", d)
		}
		for _, e := range tree.Entries {
			if found, ok := got.Lookup(e.Name); !ok || found != e {
				t.Fatalf("Lookup(%q) = %v, %v, want %v", e.Name, found, ok, e)
			}
		}
		if _, ok := got.Lookup("no such name"); ok {
			t.Fatal("Lookup found a name that is not there")
		}
	})
}

func TestThunkRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := genThunk.Draw(t, "thunk")
		_, b := k.Encode()
		var form any = k
		if k.Placed() {
			form = &placedThunk{Version: k.Version, Command: k.Command, Env: k.Env, Root: k.Root, Inputs: k.Inputs, Outputs: k.Outputs, Stdin: k.Stdin,
				Platform: k.Platform, ABI: k.ABI, JobDir: k.JobDir, WorkDir: k.WorkDir}
		}
		if want := reflectHashed(form); !bytes.Equal(b, want) {
			t.Fatalf("encoded as %x, by reflection %x", b, want)
		}
		got, err := DecodeThunk(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(k, got, equal...); d != "" {
			t.Fatalf("decoded otherwise (-want +got):\n%s", d)
		}
	})
}

// equal compares values as their encodings do: no list and an empty one are the same, and the
// blank fields that say how structs are encoded have nothing to compare.
var equal = []cmp.Option{
	cmpopts.EquateEmpty(),
	cmp.FilterPath(func(p cmp.Path) bool {
		field, ok := p.Last().(cmp.StructField)
		return ok && field.Name() == "_"
	}, cmp.Ignore()),
}

// Resolving a chain a step at a time gives the thunk that had the final inputs from the start.
func TestThunkResolve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := genThunk.Draw(t, "thunk")
		give := func(id ThunkID, output string) (Object, bool) {
			b := append(id[:], output...)
			return Object{File, Sum(b), uint64(len(output))}, true
		}
		direct := *k
		direct.Inputs = nil
		for _, in := range k.Inputs {
			if in.Object.Kind == Pending {
				in.Object, _ = give(ThunkID(in.Object.Digest), in.Output)
				in.Output = ""
			}
			direct.Inputs = append(direct.Inputs, in)
		}
		before, _ := k.Encode()
		resolved, err := k.Resolve(give)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := resolved.Encode()
		want, _ := direct.Encode()
		if got != want || !resolved.Resolved() {
			t.Fatalf("resolved to %s, made directly %s", got, want)
		}
		if after, _ := k.Encode(); after != before {
			t.Fatal("Resolve changed its receiver")
		}
		if (before == want) != k.Resolved() {
			t.Fatal("a thunk that waits for another has the id of one that does not")
		}
	})
	waits := &Thunk{Inputs: []Input{{Path: "in", Object: Object{Kind: Pending, Digest: fill(1)}, Output: "out"}}}
	if _, err := waits.Resolve(func(ThunkID, string) (Object, bool) { return Object{}, false }); err == nil {
		t.Error("Resolve of an unknown output succeeded")
	}
	if _, err := waits.Resolve(func(ThunkID, string) (Object, bool) { return Object{Kind: Graph}, true }); err == nil {
		t.Error("Resolve to a graph succeeded")
	}
}

func TestValueRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := NewValue(rapid.SliceOfN(genObject, 1, 30).Draw(t, "outputs"))
		_, b := v.Encode()
		if want := reflectHashed(v); !bytes.Equal(b, want) {
			t.Fatalf("encoded as %x, by reflection %x", b, want)
		}
		got, err := DecodeValue(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(v, got, equal...); d != "" {
			t.Fatalf("decoded otherwise (-want +got):\n%s", d)
		}
	})
}

func TestValueMatches(t *testing.T) {
	k := &Thunk{Command: []string{"x"}, Outputs: []Output{{Path: "d", Kind: Dir}, {Path: "f", Kind: File, Graph: "g"}}}
	dir, file, exe, graph := Object{Kind: Dir}, Object{Kind: File}, Object{Kind: Exec}, Object{Kind: Graph}
	for _, c := range []struct {
		name string
		v    []Object
		ok   bool
	}{
		{"as declared", []Object{dir, file}, true},
		{"executable", []Object{dir, exe}, true},
		{"a graph where one may be", []Object{dir, graph}, true},
		{"a graph where none may be", []Object{graph, file}, false},
		{"a file for a directory", []Object{file, file}, false},
		{"a directory for a file", []Object{dir, dir}, false},
		{"too few", []Object{dir}, false},
	} {
		if err := NewValue(c.v).Matches(k); (err == nil) != c.ok {
			t.Errorf("%s: Matches = %v", c.name, err)
		}
	}
}

func TestSignedRefusesForgery(t *testing.T) {
	for _, name := range []string{"claim", "receipts"} {
		b := samples(t)[name]
		b[len(b)-1] ^= 1
		if _, err := decoders[name](b); CauseOf(err) != CauseUnauthorized {
			t.Errorf("%s with another signature: %v, want cause unauthorized", name, err)
		}
	}
	var typed *Error
	if _, err := DecodeClaim(nil); err == nil || errors.As(err, &typed) {
		t.Errorf("nothing as a claim: %v", err)
	}
}
