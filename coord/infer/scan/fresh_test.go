package scan

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestChangeWithinATick: a file or directory that changed twice within a tick of the file
// system's clock has the same stamp; while that is recent it is read again.
func TestChangeWithinATick(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.h")
	write(t, dir, map[string]string{"a.h": "#define A\n"})
	c := newCache()
	f, l := c.file(fileKey{path: path}, dir), c.listing(dir)
	soon := time.Now()
	load := func(now time.Time) (directives int, names int) {
		content, _, err := f.load(c.names, now)
		if err != nil {
			t.Fatal(err)
		}
		v, err := l.look(now)
		if err != nil {
			t.Fatal(err)
		}
		return len(content.src.directives), len(v.names)
	}
	if d, n := load(soon); d != 1 || n != 1 {
		t.Fatalf("at first %d directives and %d names, want 1 and 1", d, n)
	}
	change := func(text, name string) { // as if within the tick
		write(t, dir, map[string]string{"a.h": text, name: ""})
		var err error
		if f.state.stamp, err = statPath(path); err != nil {
			t.Fatal(err)
		}
		if l.stamp, err = statPath(dir); err != nil {
			t.Fatal(err)
		}
	}
	change("#undef A\n#\n#if X\n#endif\n", "b.h")
	if d, n := load(soon.Add(settleTime / 2)); d != 3 || n != 2 {
		t.Errorf("while the stamp is fresh %d directives and %d names, want 3 and 2", d, n)
	}
	load(soon.Add(time.Hour)) // read once more, and settled
	change("#define A\n", "c.h")
	if d, n := load(soon.Add(time.Hour)); d != 3 || n != 2 {
		t.Errorf("a settled stamp that is the same: %d directives and %d names, want those kept, 3 and 2", d, n)
	}
}

// TestConcurrentScans: units on many goroutines, while headers come and go, see one state each:
// what a.h says and b.h holds changes together with what is read, or the unit is refused.
func TestConcurrentScans(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"a.h": "", "c.h": ""}
	const units = 8
	for i := range units {
		files[fmt.Sprintf("m%d.c", i)] = fmt.Sprintf("#define X%d\n#include \"a.h\"\n#if __has_include(\"b.h\")\n#include \"b.h\"\n#endif\n#include <c.h>\n", i)
	}
	write(t, dir, files)
	s, u := offline(dir)
	u.Include = []string{"i", "."}
	var readers, writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i%2 == 0 {
				write(t, dir, map[string]string{"b.h": "#pragma once\n"})
			} else if err := os.Remove(filepath.Join(dir, "b.h")); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range units {
		readers.Go(func() {
			u := u
			u.Source = fmt.Sprintf("m%d.c", i)
			for range 50 {
				r, err := s.Scan(context.Background(), u)
				if err != nil {
					t.Error(err)
					return
				}
				if r.Refused != "" { // b.h was there and then gone
					continue
				}
				got := below(dir, r.Files)
				if with := "a.h b.h c.h " + u.Source; got != with && got != "a.h c.h "+u.Source {
					t.Errorf("read %q", got)
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writer.Wait()
}
