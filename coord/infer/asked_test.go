package infer

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAskRemembersErrors: a tool that cannot answer is not asked by each call of a build.
func TestAskRemembersErrors(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "ld")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho asked >>\"${0%/*}/times\"\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if text, err := ask(tool, "--verbose"); err == nil {
			t.Fatalf("it says %q", text)
		}
	}
	times, err := os.ReadFile(filepath.Join(dir, "times"))
	if err != nil {
		t.Fatal(err)
	}
	if string(times) != "asked\n" {
		t.Errorf("it was %q, want once", times)
	}
}
