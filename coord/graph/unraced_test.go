//go:build !race

package graph

// raced says that the race detector watches.
const raced = false
