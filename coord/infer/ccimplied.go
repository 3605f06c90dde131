package infer

import (
	"slices"
	"strings"
)

// bringers are beginnings of flags by which a compiler links with start files and libraries that are
// not followed here.
var bringers = []string{"-fsanitize", "-fopenacc", "-fgnu-tm", "-ftree-parallelize-loops", "-fsplit-stack",
	"-fvtable-verify", "-fuse-ld=", "-stdlib=", "--stdlib=", "-rtlib", "--rtlib", "-unwindlib", "--unwindlib",
	"-static-liba", "-static-libt", "-static-libl", "-static-libu", "-m32", "-mx32", "-m16", "-mbig-endian", "-EB",
	"--target", "-target", "-flto", "--param=lto"}

// implied are the libraries that a compiler adds to a link, and notes what it does besides that is not
// known: gcc's specs (LINK_COMMAND_SPEC, LIBGCC_SPEC), and clang's ToolChains/Gnu.cpp.
func (c *cc) implied() []linked {
	for _, w := range c.words {
		if slices.ContainsFunc(bringers, func(b string) bool { return strings.HasPrefix(w, b) }) {
			c.opaque("%s links with more than is followed", w)
		}
	}
	if c.given("-nostdlib", "-nodefaultlibs", "-r") {
		return nil
	}
	names := []string{"gcc", "gcc_eh", "gcc_s"}
	if !c.given("-nolibc") {
		names = append(names, "c")
	}
	if c.cplus && !c.given("-nostdlib++") {
		names = append(names, "stdc++", "m")
	}
	if c.given("-pthread", "-fopenmp") {
		names = append(names, "pthread")
	}
	if c.given("-fopenmp") {
		names = append(names, "gomp", "omp")
	}
	if c.given("--coverage", "-coverage", "-fprofile-arcs", "-fprofile-generate") || slices.ContainsFunc(c.words, func(w string) bool { return strings.HasPrefix(w, "-fprofile-generate=") }) {
		names = append(names, "gcov")
	}
	libs := make([]linked, 0, 2*len(names))
	for _, n := range names {
		libs = append(libs, linked{name: n, library: true, implied: true})
	}
	if c.given("-static-libgcc", "-static-libstdc++", "-pg") {
		for _, n := range []string{"gcc", "gcc_eh", "stdc++"} {
			libs = append(libs, linked{name: n, library: true, implied: true, linkState: linkState{static: true}})
		}
	}
	return libs
}

// given reports whether one of some words is on the command line.
func (c *cc) given(flags ...string) bool {
	return slices.ContainsFunc(c.words, func(w string) bool { return slices.Contains(flags, w) })
}
