// Package capture makes root trees: the file systems that thunks see. A root comes from the
// programs of this machine (Tools), from a directory (Dir) or from an image archive (OCI). It
// reads files and headers; it runs nothing of what it captures, and else only rpm, for its database.
//
// Every root has the directories /bin, /dev, /proc, /tmp and /job, and in /etc the files passwd,
// group, hosts and nsswitch.conf unless it brings its own. Owners, times and modes but for the
// executable bit are not kept, so setuid programs are none in a root. The same machine gives the
// same tree each time.
//
// Tools takes, each at its own absolute path and with every symbolic link that leads there:
//
//   - the program that a shell would run for the name, and /bin/sh and /usr/bin/env. A program
//     outside /usr/local/bin, /usr/bin and /bin can be found by its name through one in
//     /usr/local/bin. What stands in for a program under a version manager (pyenv, rbenv, asdf,
//     rustup) is followed to the version that the directory or the user chose (see managers);
//     where that is decided in code the name is refused. A name "node" is never gaggle's.
//   - for an ELF file its dynamic linker and all libraries (DT_NEEDED, found by DT_RPATH,
//     DT_RUNPATH with $ORIGIN, /etc/ld.so.conf and the usual directories), of glibc also
//     libgcc_s.so.1 and libnss_files.so.2, which it opens by name. A library that only
//     ld.so.cache would lead to is linked beside the C library.
//   - for a script its interpreter, that of "#!/usr/bin/env X" too, and the programs it calls, as
//     far as the text tells.
//   - an installation that is known by its place as a whole: conda environments, virtual
//     environments of Python with their interpreter, packages of Node.js (see prefixes).
//   - what programs and libraries of known kinds open by name, such as modules, passes, plug-ins,
//     settings, fonts and certificates (see families).
//   - of a program that a package of dpkg or rpm owns what else that has, and of the packages it
//     depends on what is data (see packages).
//   - the libraries of all shared objects that came so, as far as they are installed.
//   - what Include matches, directories whole, with where links inside lead.
//   - the locale C.UTF-8.
//
// Compiled Python files are left out; by rule, not by name, also files of the system that not
// everybody may read. Programs find missing what else they open by name: name it in Include.
package capture

import (
	"context"
	"os"
	"path/filepath"

	"gaggle/wire"
)

// A Sink takes what a tree is made of. It is called from several goroutines at once. If it also
// is a PathSink, files of this machine are given to it by path.
type Sink interface {
	PutFile(ctx context.Context, f *os.File, size int64) (wire.BlobID, error)
	PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error)
}

// A PathSink can tell from an index what a file's bytes are without reading them.
type PathSink interface {
	// AddPath returns the object of the regular file at a host path.
	AddPath(ctx context.Context, path string) (wire.Object, error)
}

// Options say where Tools looks.
type Options struct {
	Path    string   // directories to search for programs, as in $PATH
	Dir     string   // where version managers look for the version in use, as if one worked there
	Include []string // absolute glob patterns of more files and directories to take
}

// DirOptions steer Dir.
type DirOptions struct {
	// Root adds what every root tree has and dir lacks, as Tools does.
	Root bool
}

// Dir captures a directory of this machine as it is: files, directories and links, wherever they
// point. Sockets, pipes and devices are left out; of modes only the executable bit is kept. The
// error is a *wire.Error of CauseInvalid about dir, or what the sink or ctx gave.
func Dir(ctx context.Context, dir string, opt DirOptions, sink Sink) (wire.Object, error) {
	l, err := readDir(dir)
	if err == nil && opt.Root {
		err = l.complete()
	}
	if err != nil {
		return wire.Object{}, err
	}
	return l.store(ctx, sink)
}

func readDir(dir string) (*layout, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "name a directory of this machine", "capturing %s: %v", dir, err)
	}
	fi, err := os.Stat(abs)
	if err != nil || !fi.IsDir() {
		return nil, wire.Errorf(wire.CauseInvalid, "name a directory of this machine", "capturing %s: not a directory", dir)
	}
	h := newHost(filepath.ToSlash(abs))
	h.seen = nil // nobody asks
	if err := h.takeDir("/", takeOptions{links: true}); err != nil {
		if wire.CauseOf(err) != wire.CauseUnknown {
			return nil, err
		}
		return nil, wire.Errorf(wire.CauseInvalid, "", "capturing %s: %v", dir, err)
	}
	return h.layout, nil
}
