package infer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Files are those that a call would see. Paths are absolute, not cleaned.
type Files interface {
	// Stat follows symbolic links; the error wraps fs.ErrNotExist where nothing is.
	Stat(path string) (fs.FileInfo, error)
	// Open opens a regular file. It returns ErrPending for one that is there by name only.
	Open(path string) (File, error)
	// Resolve follows all symbolic links in a path.
	Resolve(path string) (string, error)
}

// A File is a file that was opened.
type File interface {
	io.ReaderAt
	io.Closer
}

// ErrPending is what Files.Open returns for a file that a call has still to write. Objects and
// archives may be pending; a file that says what else is read may not, and makes its call local.
var ErrPending = errors.New("not made yet")

// Disk are the files of this machine.
type Disk struct{}

// Stat is os.Stat.
func (Disk) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// Open is os.Open.
func (Disk) Open(path string) (File, error) { return os.Open(path) }

// Resolve is filepath.EvalSymlinks.
func (Disk) Resolve(path string) (string, error) { return filepath.EvalSymlinks(path) }

// A view is the file system as one call sees it from its directory.
type view struct {
	files Files
	dir   string
}

// at makes a path absolute. It is not cleaned, because a/.. may lead elsewhere if a is a link.
func (v view) at(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return v.dir + "/" + name
}

// stat tells what is at a name, nil if there is nothing.
func (v view) stat(name string) fs.FileInfo {
	if name == "" || strings.Contains(name, "\x00") {
		return nil
	}
	i, err := v.files.Stat(v.at(name))
	if err != nil {
		return nil
	}
	return i
}

// file tells whether there is a regular file at a name, directory whether there is a directory,
// and exists whether there is anything.
func (v view) file(name string) bool { i := v.stat(name); return i != nil && i.Mode().IsRegular() }

func (v view) directory(name string) bool { i := v.stat(name); return i != nil && i.IsDir() }

func (v view) exists(name string) bool { return v.stat(name) != nil }

// head reads up to limit bytes of a file, and tells whether there are more.
func (v view) head(name string, limit int64) (data []byte, more bool, err error) {
	f, err := v.files.Open(v.at(name))
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	data, err = io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if int64(len(data)) > limit {
		return data[:limit], true, err
	}
	return data, false, err
}

// join puts a directory before a name that is relative, as tools do: without cleaning.
func join(dir, name string) string {
	switch {
	case dir == "" || strings.HasPrefix(name, "/"):
		return name
	case strings.HasSuffix(dir, "/"):
		return dir + name
	}
	return dir + "/" + name
}

// parent is the directory part of a name with its slash, "" if it has none.
func parent(name string) string { d, _ := path.Split(name); return d }

// stem is the last part of a name without its suffix.
func stem(name string) string {
	_, base := path.Split(name)
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		return base[:i]
	}
	return base
}
