//go:build !linux

package blobstore

import (
	"os"
	"time"
)

// reflink reports that files cannot share blocks here.
func reflink(dst, src *os.File) bool { return false }

// reserve allocates nothing here: a full disk is noticed while writing.
func reserve(f *os.File, size int64) error { return nil }

// exchange reports that two names cannot be swapped at once here.
func exchange(a, b string) bool { return false }

// setLinkTime leaves a symlink's own time alone: nothing that runs here sees it.
func setLinkTime(path string, t time.Time) error { return nil }

// bootID is not known here, so that unflushed files are hashed again at every start.
func bootID() string { return "" }
