package client

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"gaggle/coord/server"
)

// replaceFile replaces a private file, whole or not at all, by what write writes. A durable one is there
// after a loss of power as well.
func replaceFile(path string, durable bool, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	err = write(f)
	if durable && err == nil { // or the name may come to stand for a file without its bytes
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if durable {
		return server.SyncDir(dir)
	}
	return nil
}

// writeFile replaces a private file, whole or not at all.
func writeFile(path string, b []byte) error {
	return replaceFile(path, false, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
