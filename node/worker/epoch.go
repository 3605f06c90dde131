package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// readEpoch returns the epoch kept in a file; 0 if there is none. A file that cannot be
// understood counts as none: the next frame from the coordinator tells it again.
func readEpoch(path string) (uint64, error) {
	if path == "" {
		return 0, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the epoch last served: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, nil
	}
	return n, nil
}

// writeEpoch replaces the file at once and durably: after a power cut a node must not follow a
// coordinator that was deposed before it.
func writeEpoch(path string, epoch uint64) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".epoch-*")
	if err != nil {
		return fmt.Errorf("keeping the epoch: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("keeping the epoch: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = fmt.Fprintln(f, epoch)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
