package client

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"gaggle/coord/placeholder"
)

// A journal keeps on disk in which directories a build has placeholders, for the process that comes
// after one that was killed.
type journal struct {
	path string

	mu   sync.Mutex      // guards dirs
	dirs map[string]bool // that are noted
}

func (d stateDir) journal(build string) *journal {
	return &journal{path: filepath.Join(d.path("builds"), build), dirs: map[string]bool{}}
}

// note has the journal tell of a file: by the directory of the build, if it is below that.
func (j *journal) note(base, path string) error {
	dir := filepath.Dir(path)
	if dir == base || strings.HasPrefix(dir, base+"/") {
		dir = base
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dirs[dir] {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, strconv.Quote(dir))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		j.dirs[dir] = true
	}
	return err
}

// remove ends the journal of a build that has no placeholders any more.
func (j *journal) remove() error {
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// repair removes the placeholders of builds whose agent was killed; make makes what they stood for.
func (d stateDir) repair(log *slog.Logger) {
	entries, err := os.ReadDir(d.path("builds"))
	if err != nil {
		return // there was no build
	}
	for _, e := range entries {
		j := d.journal(e.Name())
		f, err := os.Open(j.path)
		if err != nil {
			log.Error("reading of a build that was killed", "error", err)
			continue
		}
		var left error
		for s := bufio.NewScanner(f); s.Scan(); {
			dir, err := strconv.Unquote(s.Text())
			if err != nil {
				continue // the end of a line that was never whole
			}
			removed, err := clean(dir)
			log.Info("removing what a build has left that was killed", "dir", dir, "files", removed, "error", err)
			left = errors.Join(left, err)
		}
		f.Close()
		if left != nil {
			continue // another agent finds it
		}
		if err := j.remove(); err != nil {
			log.Error("forgetting a build", "error", err)
		}
	}
}

// clean removes what a build has left below a directory: placeholders, and files that were not
// whole yet. It returns how many they were. What was there before the placeholders is put back if it was
// kept; the error is why something was not.
func clean(dir string) (removed int, err error) {
	var kept []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // what cannot be read was not written by us
		}
		if strings.HasPrefix(e.Name(), keptPrefix) && !e.IsDir() {
			kept = append(kept, path)
			return nil
		}
		if !e.Type().IsRegular() {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		partial := strings.HasPrefix(e.Name(), ".gaggle-") && time.Since(info.ModTime()) > time.Minute
		if (partial || placeholder.Is(path, info)) && os.Remove(path) == nil {
			removed++
		}
		return nil
	})
	for _, path := range kept {
		err = errors.Join(err, putBack(path))
	}
	return removed, err
}
