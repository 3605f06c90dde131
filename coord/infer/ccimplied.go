package infer

import (
	"runtime"
	"slices"
	"strconv"
	"strings"

	"gaggle/wire"
)

// bringers are beginnings of flags by which a compiler links with start files and libraries that are
// not followed here; clangBringers those of clang only, whose sanitizers and plugin are files of its own.
var (
	bringers = []string{"-fopenacc", "-fgnu-tm", "-ftree-parallelize-loops", "-fsplit-stack",
		"-fvtable-verify", "-stdlib=", "--stdlib=", "-rtlib", "--rtlib", "-unwindlib", "--unwindlib",
		"-static-libt", "-static-libl", "-static-libu", "-m32", "-mx32", "-m16", "-mbig-endian", "-EB",
		"--target", "-target"}
	clangBringers = []string{"-fsanitize", "-static-liba", "-flto"}
)

// runtimes are the libraries of gcc's -fsanitize that are not ubsan.
var runtimes = map[string]string{"address": "asan", "kernel-address": "", "hwaddress": "hwasan", "thread": "tsan", "leak": "lsan"}

// implied are the libraries that a compiler adds to a link, and notes what it does besides that is not
// known: gcc's specs (LINK_COMMAND_SPEC, LIBGCC_SPEC), and clang's ToolChains/Gnu.cpp.
func (c *cc) implied() []linked {
	for _, w := range c.words {
		begins := func(b string) bool { return strings.HasPrefix(w, b) }
		if slices.ContainsFunc(bringers, begins) || c.clang && slices.ContainsFunc(clangBringers, begins) {
			c.opaque("%s links with more than is followed", w)
		}
		if kind, ok := strings.CutPrefix(w, "-fuse-ld="); ok {
			c.useLinker(kind)
		}
	}
	c.optimised()
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
	names = append(names, c.sanitizers()...)
	libs := make([]linked, 0, 2*len(names))
	for _, n := range names {
		libs = append(libs, linked{name: n, library: true, implied: true})
	}
	if c.given("-static-libgcc", "-static-libstdc++", "-static-libasan", "-pg") {
		for _, n := range []string{"gcc", "gcc_eh", "stdc++", "asan"} {
			libs = append(libs, linked{name: n, library: true, implied: true, linkState: linkState{static: true}})
		}
	}
	return libs
}

// useLinker notes a linker that is not what ld is.
func (c *cc) useLinker(kind string) {
	switch kind {
	case "bfd", "gold", "lld":
		c.call.Starts = append(slices.DeleteFunc(c.call.Starts, func(p string) bool { return strings.HasPrefix(p, "ld.") }), "ld."+kind) // the last one counts
	default:
		c.opaque("-fuse-ld=%s is a linker that is not followed", kind)
	}
}

// optimised notes that gcc optimises while it links, on several cores by make if it is told so.
func (c *cc) optimised() {
	cores := 0
	for _, w := range c.words {
		jobs, ok := strings.CutPrefix(w, "-flto=")
		switch n, err := strconv.Atoi(jobs); {
		case ok && jobs == "auto":
			cores = runtime.NumCPU()
		case ok && err == nil:
			cores = n
		case w == "-flto" || w == "-fno-lto":
			cores = 0
		}
	}
	if cores > 1 {
		c.call.Cores = min(cores, wire.MaxMilliCPU/1000)
		c.call.Starts = append(c.call.Starts, "make", "sh", "touch", "mv") // lto-wrapper.cc
	}
}

// sanitizers are the libraries of -fsanitize, and what these are linked with (gcc's libsanitizer.spec).
func (c *cc) sanitizers() (names []string) {
	for _, w := range c.words {
		list, ok := strings.CutPrefix(w, "-fsanitize=")
		if !ok {
			continue
		}
		for kind := range strings.SplitSeq(list, ",") {
			name, known := runtimes[kind]
			if !known {
				name = "ubsan" // each of its many checks has a name
			}
			names = append(names, name, "dl", "rt", "pthread", "m", "resolv")
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// given reports whether one of some words is on the command line.
func (c *cc) given(flags ...string) bool {
	return slices.ContainsFunc(c.words, func(w string) bool { return slices.Contains(flags, w) })
}
