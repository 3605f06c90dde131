package capture

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A capture is remembered until something it looked at is another, or something is found first
// that was not there.
func TestUnchanged(t *testing.T) {
	machine := []string{"usr/bin/tool -> ../lib/x/tool", "usr/lib/x/tool=" + script, "usr/bin/int=#!/usr/bin/int\n", "opt/data/a=1", "opt/data/b=2", "opt/bin/", "opt/other=3",
		"srv/l -> ../opt/more", "opt/more/f=1"}
	opt := Options{Path: "/opt/bin:/usr/bin"}
	for _, c := range []struct {
		name   string
		change func(dir string) error
		want   bool
	}{
		{"nothing", func(string) error { return nil }, true},
		{"a file that was not looked at", func(d string) error { return os.WriteFile(d+"/opt/other", []byte("4"), 0o644) }, true},
		{"what Python leaves", func(d string) error { return os.Mkdir(d+"/opt/data/__pycache__", 0o755) }, true},
		{"a program is written", func(d string) error { return os.WriteFile(d+"/usr/lib/x/tool", []byte(script), 0o755) }, false},
		{"a program is replaced", func(d string) error { return os.Rename(d+"/opt/other", d+"/usr/lib/x/tool") }, false},
		{"a link leads elsewhere", func(d string) error {
			if err := os.Remove(d + "/usr/bin/tool"); err != nil {
				return err
			}
			return os.Symlink("../lib/x/./tool", d+"/usr/bin/tool")
		}, false},
		{"a program before it on PATH", func(d string) error { return os.WriteFile(d+"/opt/bin/tool", []byte(script), 0o755) }, false},
		{"a file more in a directory", func(d string) error { return os.WriteFile(d+"/opt/data/c", nil, 0o644) }, false},
		{"a file more that a pattern matches behind a link", func(d string) error { return os.WriteFile(d+"/opt/more/g", nil, 0o644) }, false},
		{"a file less in a directory", func(d string) error { return os.Remove(d + "/opt/data/b") }, false},
		{"an executable bit", func(d string) error { return os.Chmod(d+"/opt/data/a", 0o755) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := files(t, machine...)
			ts := newTools(dir, opt)
			if _, err := ts.capture(t.Context(), []string{"tool"}, []string{"/opt/data", "/srv/l/*"}); err != nil {
				t.Fatal(err)
			}
			if ts.host.seen.settled(time.Now()) != nil {
				t.Error("files of this moment count as settled")
			}
			seen := ts.host.seen.settled(time.Now().Add(settleTime))
			if len(seen) == 0 {
				t.Fatal("nothing was seen")
			}
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			if got := Unchanged(seen); got != c.want {
				t.Errorf("Unchanged() = %v, want %v", got, c.want)
			}
		})
	}
}

// An image is known by its file.
func TestUnchangedImage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, tarball("a=1"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	r := record{}
	r.saw(name, fi, nil)
	seen := r.settled(time.Now().Add(settleTime))
	if !Unchanged(seen) {
		t.Error("an image that was left alone counts as changed")
	}
	if err := os.WriteFile(name, tarball("a=2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	if Unchanged(seen) {
		t.Error("an image of the same size and time but with other bytes counts as unchanged")
	}
}
