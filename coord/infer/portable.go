package infer

import (
	"debug/elf"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// portable returns why a compiler does something on this machine that it would not do in a root
// made for it, nil if nothing is known.
func portable(c *Call, env []string) error {
	real, err := filepath.EvalSymlinks(c.Tool)
	if err != nil {
		return local("%v", err)
	}
	if c.Mode != User && !program(real) {
		return local("%s is a script, which may do anything", c.Tool)
	}
	search := variable(env, "PATH")
	if c.Model == "gcc" || c.Model == "clang" {
		for _, part := range append([]string{"as", "ld"}, c.Starts...) {
			if p := onPath(part, search); p != "" && p != onPath(part, standardPath) {
				return local("its %s is %s", part, p)
			}
		}
		for _, part := range c.Starts {
			if onPath(part, standardPath) == "" {
				return local("it starts %s, which is not there", part)
			}
		}
	}
	// A compiler takes $PWD for its directory, and writes it down, if it leads to the same.
	if pwd := variable(env, "PWD"); path.IsAbs(pwd) && pwd != c.Dir {
		a, err := os.Stat(pwd)
		b, otherErr := os.Stat(c.Dir)
		if err == nil && otherErr == nil && os.SameFile(a, b) {
			return local("its working directory is called %s as well", pwd)
		}
	}
	return nil
}

// standardPath is what a command in the sandbox has as PATH (sandbox.DefaultPath).
const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ShimName is the file that stands in for tools on a build's PATH.
const ShimName = "gaggle-shim"

// onPath returns the first program of a name that is no stand-in, its links followed, "" if there is
// none.
func onPath(name, search string) string {
	p := foundReal(name, search)
	if p == "" {
		return ""
	}
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return ""
	}
	return real
}

// found returns the first program of a name as a shell finds it, "" if there is none.
func found(name, search string) string {
	for _, dir := range filepath.SplitList(search) {
		if p := filepath.Join(dir, name); runnable(p) {
			return p
		}
	}
	return ""
}

func runnable(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// programs remembers which files are programs, by path, time and size: a build asks a thousand
// times about two.
var programs sync.Map

type programKey struct {
	path string
	time int64
	size int64
}

// program reports whether a file is one that the kernel runs by itself.
func program(file string) bool {
	info, err := os.Stat(file)
	if err != nil {
		return false
	}
	k := programKey{file, info.ModTime().UnixNano(), info.Size()}
	if is, known := programs.Load(k); known {
		return is.(bool)
	}
	f, err := elf.Open(file)
	if err == nil {
		f.Close()
	}
	programs.Store(k, err == nil)
	return err == nil
}
