package scan

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A store keeps probes in a directory, so that the next build asks the compiler nothing. Each
// file holds a line with the hash of the rest, and JSON:
//
//	<sha2-256, hex>\n{"Key":"...","Programs":[...],"Macros":[...], ...}
//
// A file that is damaged, of another form or of another key is no file. Without a directory
// nothing is kept.
type store struct{ dir string }

const (
	storeForm    = "1" // part of each key
	maxStored    = 512 // files
	maxStoreFile = 4 << 20
)

type storedProbe struct {
	Key string
	probed
}

// probeKey names a probe: all that the compiler is told and may look at.
func (u *Unit) probeKey() string {
	key, err := json.Marshal([]any{storeForm, u.Compiler, u.probeFlags(), u.Language, u.probeEnv(), u.probeDir()})
	if err != nil {
		panic(err) // strings always encode
	}
	return string(key)
}

// probeDir returns the working directory if a flag may name something relative to it, or "".
func (u *Unit) probeDir() string {
	for _, f := range u.probeFlags() {
		_, value, joined := strings.Cut(f, "=")
		if !joined {
			value = f
		}
		if filepath.IsAbs(value) {
			continue
		}
		named := func(part string) bool { return strings.Contains(f, part) }
		if strings.Contains(value, "/") || slices.ContainsFunc([]string{"sysroot", "specs", "-B", "-resource-dir", "toolchain", "list="}, named) {
			return u.Dir
		}
	}
	return ""
}

func (s store) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".probe")
}

// load returns what is kept for a key and still holds, or nil.
func (s store) load(key string) *probed {
	if s.dir == "" {
		return nil
	}
	fi, err := os.Stat(s.path(key))
	if err != nil || fi.Size() > maxStoreFile {
		return nil
	}
	data, err := os.ReadFile(s.path(key))
	if err != nil {
		return nil
	}
	p, err := decodeProbe(data, key)
	if err != nil || !p.current() {
		return nil
	}
	return p
}

func decodeProbe(data []byte, key string) (*probed, error) {
	sum, body, _ := bytes.Cut(data, []byte("\n"))
	if is := sha256.Sum256(body); string(sum) != hex.EncodeToString(is[:]) {
		return nil, fmt.Errorf("decoding a probe: the hash differs")
	}
	var p storedProbe
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("decoding a probe: %w", err)
	}
	if p.Key != key {
		return nil, fmt.Errorf("decoding a probe: it is of key %q", p.Key)
	}
	for _, name := range p.Builtins {
		if builtins[name] == ordinary {
			return nil, fmt.Errorf("decoding a probe: unknown macro %q", name)
		}
	}
	if p.Answers == nil {
		p.Answers = map[string]int64{}
	}
	return &p.probed, nil
}

// save keeps a probe. Another process may do the same: the last one stays.
func (s store) save(p *probe) error {
	if s.dir == "" {
		return nil
	}
	p.mu.Lock()
	kept := storedProbe{p.key, p.probed}
	kept.Answers = maps.Clone(p.Answers)
	p.mu.Unlock()
	body, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("encoding a probe: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	_, err = fmt.Fprintf(f, "%x\n%s", sum, body)
	if err = cmp.Or(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path(p.key))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return s.trim()
}

// trim removes the oldest files beyond maxStored.
func (s store) trim() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) <= maxStored {
		return err
	}
	age := map[string]int64{}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			age[e.Name()] = fi.ModTime().UnixNano()
		}
	}
	names := slices.SortedFunc(maps.Keys(age), func(a, b string) int { return cmp.Compare(age[a], age[b]) })
	for _, name := range names[:max(0, len(names)-maxStored)] {
		err = cmp.Or(err, os.Remove(filepath.Join(s.dir, name)))
	}
	return err
}
