package client

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCaptureIsReadAgainWhenReplaced: what is kept of a file is not what another agent wrote since.
func TestCaptureIsReadAgainWhenReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "capture", "a.json")
	var c captures
	if _, err := c.read(file); err == nil {
		t.Error("read of no file succeeded")
	}
	for _, tree := range []string{"one", "two"} {
		if err := writeFile(file, []byte(`{"tree": "`+tree+`"}`)); err != nil {
			t.Fatal(err)
		}
		is, err := c.read(file)
		if err != nil || is.Tree != tree {
			t.Fatalf("read = %v, %v, want tree %s", is, err, tree)
		}
		if again, err := c.read(file); err != nil || again != is {
			t.Errorf("read of an unchanged file = %p, %v, want %p", again, err, is)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.read(file); err == nil {
		t.Error("read of a removed file succeeded")
	}
}
