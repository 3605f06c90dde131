//go:build !linux

package main

// memory is asked of a machine that runs tasks only.
func memory() int64 { return 0 }

// standBack is for a machine that runs tasks only.
func standBack() error { return nil }
