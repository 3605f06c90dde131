//go:build !linux

package blobstore

import "testing"

func smallDisk(t *testing.T, bytes int) string {
	t.Skip("a small disk can be mounted on Linux only")
	return ""
}
