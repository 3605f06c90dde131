package blobstore

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"gaggle/wire"
)

var exampleRecords = []record{
	{kind: recBlob, digest: wire.Digest{1}, size: 300, use: 7, forms: bothForms, synced: plain, spaces: []wire.Space{"a", "b.c"}},
	{kind: recResident, space: "a", digest: wire.Digest{2}, size: 4096, use: 8, serial: 3},
	{kind: recPin, space: "a", digest: wire.Digest{3}, owner: "job"},
	{kind: recUnpin, space: "a", digest: wire.Digest{3}, owner: "job"},
	{kind: recHold, space: "a", object: wire.Dir, digest: wire.Digest{4}, size: 5},
	{kind: recUnhold, space: "a", object: wire.Dir, digest: wire.Digest{4}},
	{kind: recSynced, digest: wire.Digest{5}, forms: executable},
	{kind: recDropped, digest: wire.Digest{6}},
	{kind: recEnd, owner: "boot", use: 9},
}

func TestJournalFormat(t *testing.T) {
	z := func(n int) string { return hex.EncodeToString(make([]byte, n)) }
	for i, want := range []string{
		"62" + "2c" + "01" + z(31) + "ac02" + "07" + "03" + "01" + "02" + "0161" + "03622e63", // b, 44 bytes
		"72" + "26" + "0161" + "02" + z(31) + "8020" + "08" + "03",
		"70" + "26" + "0161" + "03" + z(31) + "036a6f62",
		"75" + "26" + "0161" + "03" + z(31) + "036a6f62",
		"68" + "24" + "0161" + "03" + "04" + z(31) + "05",
		"78" + "24" + "0161" + "03" + "04" + z(31) + "00",
		"73" + "21" + "05" + z(31) + "02",
		"64" + "20" + "06" + z(31),
		"65" + "06" + "04626f6f74" + "09",
	} {
		b := exampleRecords[i].append(nil)
		if got := hex.EncodeToString(b[:len(b)-4]); got != want {
			t.Errorf("record %c = %s, want %s", exampleRecords[i].kind, got, want)
		}
		got, err := readRecord(bufio.NewReader(bytes.NewReader(b)))
		if err != nil || !reflect.DeepEqual(got, exampleRecords[i]) {
			t.Errorf("reading record %c = %+v, %v", exampleRecords[i].kind, got, err)
		}
	}
}

func TestJournalStopsAtDamage(t *testing.T) {
	b := []byte(journalMagic)
	for _, r := range exampleRecords {
		b = r.append(b)
	}
	count := func(b []byte) (n int, whole bool) {
		whole = readRecords(bufio.NewReader(bytes.NewReader(b)), func(record) { n++ })
		return n, whole
	}
	if n, whole := count(b); n != len(exampleRecords) || !whole {
		t.Errorf("whole journal: %d records, %v", n, whole)
	}
	for cut := range len(b) {
		if n, whole := count(b[:cut]); whole || n >= len(exampleRecords) {
			t.Errorf("cut at %d: %d records, whole %v", cut, n, whole)
		}
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 0x40
		if n, whole := count(c); whole || n >= len(exampleRecords) {
			t.Errorf("flipped at %d: %d records, whole %v", i, n, whole)
		}
	}
}

func FuzzJournal(f *testing.F) {
	b := []byte(journalMagic)
	for _, r := range exampleRecords {
		b = r.append(b)
	}
	f.Add(b)
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Store{shelf: newShelf(Options{})}
		readRecords(bufio.NewReader(bytes.NewReader(b)), s.apply)
		s.prune()
	})
}

func FuzzRecord(f *testing.F) {
	for _, r := range exampleRecords {
		b := r.append(nil)
		f.Add(b[0], b[2:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, kind byte, p []byte) {
		r, err := decodePayload(kind, p)
		if err != nil {
			return
		}
		again, err := readRecord(bufio.NewReader(bytes.NewReader(r.append(nil))))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v is read back as %+v, %v", r, again, err)
		}
	})
}

func FuzzDirRecord(f *testing.F) {
	r := &dirRecord{tree: wire.Digest{1}, size: 9, entries: map[string]dirEntry{
		"a": {id: identity{3, -4, 5, 6}, object: wire.Object{Kind: wire.Exec, Digest: wire.Digest{2}, Size: 3}},
		"d": {object: wire.Object{Kind: wire.Dir, Digest: wire.Digest{3}, Size: 6}},
		"l": {object: wire.Object{Kind: wire.Symlink}, target: "a"},
	}}
	if got := decodeDirRecord(r.encode()); !reflect.DeepEqual(got, r) {
		f.Errorf("a record is read back as %+v", got)
	}
	f.Add(r.encode())
	f.Add((&dirRecord{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r := decodeDirRecord(b)
		if got := decodeDirRecord(r.encode()); len(got.entries) != len(r.entries) || got.tree != r.tree {
			t.Errorf("%+v is read back as %+v", r, got)
		}
		// The checksum hides the decoder from the fuzzer, so it is also called without.
		d := &fields{b: b}
		for !d.bad && len(d.b) > 0 {
			decodeDirEntry(d)
		}
	})
}

func FuzzClaims(f *testing.F) {
	v := wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 1, false)})
	c := wire.SignClaim(key1(1), anna, wire.ThunkID{1}, v)
	f.Add(encodeClaims([]wire.Claim{*c, *wire.SignClaim(key1(2), anna, wire.ThunkID{1}, v)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		list := decodeClaims(b, anna, wire.ThunkID{1})
		if len(list) > wire.MaxClaims {
			t.Errorf("%d claims", len(list))
		}
		for i := range list {
			if err := list[i].Verify(); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzIgnore(f *testing.F) {
	f.Add([]byte("*.o\n!a/**/b\n/x/\n[!a]\n\\#\n"), "a/b/c")
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		list, err := parseRules(b)
		if err != nil {
			return
		}
		r := &rules{list: list}
		r.skips(path, true)
		r.skips(path, false)
	})
}

func FuzzSpaceDir(f *testing.F) {
	for _, s := range []string{"s-anna", "s-%41nna%2e", "s-", "s-%", "s-%4", "s-%zz", "s-%61"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if space, ok := parseSpaceDir(name); ok && spaceDir(space) != name {
			t.Errorf("%q is space %q, which is in %q", name, space, spaceDir(space))
		}
		if d, form, ok := parseObjectName(name); ok && (form != plain && form != executable || len(d.String()) < 64) {
			t.Errorf("%q is %v %v", name, d, form)
		}
	})
}
