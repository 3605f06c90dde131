package peer

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"gaggle/wire"
)

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "key")
	keys := make([]wire.PeerID, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := LoadKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = wire.PeerOf(k)
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] {
			t.Fatalf("two identities: %s and %s", k, keys[0])
		}
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o, want 0600", fi.Mode().Perm())
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files left, want 1", len(left))
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for name, content := range map[string]string{
		"empty": "", "text": "hello\n", "short": keyPrefix + "AAAA\n", "other version": "gaggle-key-2 AAAA\n",
		"huge": keyPrefix + string(bytes.Repeat([]byte("A"), 1<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadKey(path)
			wantCause(t, err, wire.CauseInvalid, path)
			if b, _ := os.ReadFile(path); string(b) != content {
				t.Error("the file was changed")
			}
		})
	}
	t.Run("readable by others", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("mode bits say nothing on Windows")
		}
		shared := filepath.Join(t.TempDir(), "key")
		if _, err := LoadKey(shared); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(shared, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(shared)
		wantCause(t, err, wire.CauseInvalid, "chmod 600")
	})
}
