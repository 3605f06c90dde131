package exchange

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// The bytes of the package comment.
func TestGolden(t *testing.T) {
	d := wire.Sum([]byte("hello"))
	grant := wire.SignGrant(detKey(1), "lab", wire.PeerOf(detKey(2)), time.Unix(1_800_000_000, 0))
	cases := []struct {
		name string
		got  []byte
		want string
	}{
		{"open of the public space", appendOpen(nil, nil), "00"},
		{"open", appendOpen(nil, grant), "9101 " + hex.EncodeToString(grant.Encode())},
		{"get of two", appendGet(nil, []wish{{d, 0}, {d, 1 << 20}}), "01 02" +
			"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 00" +
			"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 808040"},
		{"seek", appendWishes(nil, reqSeek, []wish{{d, 0}}), "05 01 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 00"},
		{"probe", appendProbe(nil, 768<<10), "02 808030"},
		{"manifest", appendManifest(nil, blobID{d, 5}), "03 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 05"},
		{"pieces", appendPieces(nil, blobID{d, 9 << 20}, 2, []byte{0x82, 0x01}), "04" +
			"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 8080c004 02 02 8201"},
		{"found 300 bytes", appendFound(nil, 300), "01 ac02"},
		{"compressed, 300 bytes", appendPacked(nil, 300), "06 ac02"},
		{"refused", appendRefused(nil, wire.Errorf(wire.CauseExpired, "", "old")), "04 11" +
			"a2" + "63" + "6d7367" + "63" + "6f6c64" + // msg: old
			"65" + "6361757365" + "182d"}, // cause: 45
	}
	for _, c := range cases {
		if got, want := hex.EncodeToString(c.got), strings.ReplaceAll(c.want, " ", ""); got != want {
			t.Errorf("%s = %s, want %s", c.name, got, want)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(appendGet(nil, []wish{{wire.Sum(nil), 0}, {wire.Sum(nil), 1 << 40}}))
	f.Add(appendProbe(nil, 1<<20))
	f.Add(appendManifest(nil, blobID{wire.Sum(nil), 1 << 40}))
	f.Add(appendPieces(nil, blobID{wire.Sum(nil), 9 << 20}, 8, []byte{1, 1}))
	f.Add([]byte{reqGet, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := readRequest(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil {
			if errors.Is(err, io.EOF) && len(b) > 0 {
				t.Errorf("%x ends within a request, but the error is %v", b, err)
			}
			return
		}
		if len(q.wishes) > maxIDs || q.probe > maxProbe || q.most > maxPieces || q.kind == reqPieces && len(q.want) != bitmapLen(q.blob.size) {
			t.Fatalf("read %+v", q)
		}
		again := q.append()
		p, err := readRequest(bufio.NewReader(bytes.NewReader(again)), nil)
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Errorf("%x decodes to %+v, its encoding %x to %+v: %v", b, q, again, p, err)
		}
	})
}

// append appends the request.
func (q *request) append() []byte {
	switch q.kind {
	case reqGet, reqSeek:
		return appendWishes(nil, q.kind, q.wishes)
	case reqProbe:
		return appendProbe(nil, q.probe)
	case reqManifest:
		return appendManifest(nil, q.blob)
	}
	return appendPieces(nil, q.blob, q.most, q.want)
}

func FuzzAnswer(f *testing.F) {
	f.Add(appendFound(nil, 300))
	f.Add(appendPacked(nil, 300))
	f.Add([]byte{ansNotFound})
	f.Add([]byte{ansBusy})
	f.Add(appendRefused(nil, wire.Errorf(wire.CauseExpired, "hint", "old")))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, size, err := readAnswer(bufio.NewReader(bytes.NewReader(b)))
		var refused *refusedError
		switch {
		case err == nil && (kind == ansFound || kind == ansPacked) && size > wire.MaxBlob:
			t.Errorf("an object of %d bytes", size)
		case errors.Is(err, io.EOF):
			t.Errorf("%x: the error is %v, which ends streams in good order", b, err)
		case kind == ansRefused && err != nil && errors.As(err, &refused) != (refused != nil):
			t.Error("a refusal without a reason")
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(appendOpen(nil, nil))
	f.Add(appendOpen(nil, wire.SignGrant(detKey(1), "lab", wire.PeerOf(detKey(2)), time.Unix(1_800_000_000, 0))))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := readOpen(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && g != nil && g.Verify(wire.PeerOf(detKey(3)), time.Unix(0, 0), func(wire.PeerID) bool { return true }) == nil {
			t.Error("a grant for a peer that has none")
		}
	})
}
