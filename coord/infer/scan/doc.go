// Package scan lists the files that a compile of the C family reads, without running the
// preprocessor: it runs the directives of every file with full macro expansion and nothing else.
package scan
