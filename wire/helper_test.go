package wire

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func hexBytes(t testing.TB, pieces ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(pieces, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testKey returns the private key whose seed is 32 times b.
func testKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(b)), ed25519.SeedSize)))
}

func fill(b byte) (d Digest) {
	for i := range d {
		d[i] = b
	}
	return d
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
