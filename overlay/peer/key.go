package peer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"gaggle/wire"
)

// A key file is the line "gaggle-key-1 " and the unpadded base64url of the 32-byte Ed25519 seed.
const keyPrefix = "gaggle-key-1 "

// LoadKey reads the identity in the file at path, and makes both on first use. The file appears
// whole or not at all, mode 0600; of two processes that make it at once both get the same key.
// A file that others can read is refused, as ssh does, except on Windows.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	k, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := makeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the identity %s: %w", path, err)
	}
	return readKey(path)
}

// makeKey writes a fresh key beside path and links it there, so that the first one wins.
func makeKey(path string) error {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.WriteString(f, keyPrefix+base64.RawURLEncoding.EncodeToString(k.Seed())+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	text, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte(keyPrefix))
	seed, err := base64.RawURLEncoding.DecodeString(string(text))
	if !ok || err != nil || len(seed) != ed25519.SeedSize {
		return nil, wire.Errorf(wire.CauseInvalid, "move it away to get a new identity, which must join again",
			"%s does not hold an identity", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
