package capture

import (
	"context"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"gaggle/wire"
)

// A bundle is what a program opens by name and no header tells of: an interpreter's libraries, a
// compiler's passes.
type bundle struct {
	name *regexp.Regexp // of the program's file, at the end of links; $1 is put into paths
	// paths are patterns of directories and files; {prefix} is the directory above that of the
	// program's file, $1 the part of its name.
	paths  []string
	marker string   // if not empty, a pattern that matches where paths are of this program
	tools  []string // more programs, where they are on PATH
}

var bundles = []bundle{{
	name: regexp.MustCompile(`^python([23]\.[0-9]+)$`),
	paths: []string{"{prefix}/lib/python$1", "{prefix}/lib64/python$1", "{prefix}/lib/python3/dist-packages",
		"/usr/local/lib/python$1/dist-packages", "/etc/python$1"},
}, {
	name: regexp.MustCompile(`^perl[0-9.]*$`),
	paths: []string{"/etc/perl", "{prefix}/share/perl", "{prefix}/share/perl5", "{prefix}/lib/perl5", "{prefix}/lib64/perl5",
		"{prefix}/lib/*-linux-*/perl", "{prefix}/lib/*-linux-*/perl5", "{prefix}/lib/*-linux-*/perl-base",
		"/usr/local/share/perl", "/usr/local/lib/*-linux-*/perl", "/usr/local/lib/site_perl"},
}, {
	name:  regexp.MustCompile(`^ruby[0-9.]*$`),
	paths: []string{"{prefix}/lib/ruby", "{prefix}/lib/*-linux-*/ruby", "{prefix}/share/rubygems-integration"},
}, {
	name:   regexp.MustCompile(`^(?:java|javac|jar)$`),
	marker: "{prefix}/lib/modules",
	paths:  []string{"{prefix}/lib", "{prefix}/conf", "{prefix}/release"},
}, {
	name: regexp.MustCompile(`(?:^|-)(?:gcc|g\+\+|cpp)-?([0-9]*)$`),
	paths: []string{"{prefix}/lib/gcc/*/$1*", "{prefix}/libexec/gcc/*/$1*", "{prefix}/include",
		"{prefix}/lib/*-linux-*/*crt*.o", "{prefix}/lib/*-linux-*/libc.so", "{prefix}/lib/*-linux-*/libc_nonshared.a",
		"{prefix}/lib/*-linux-*/lib{c,m,dl,rt,pthread,util,mvec,crypt,resolv}.a", "{prefix}/lib/*-linux-*/lib{m,mvec,dl,rt}.so*",
		"{prefix}/lib64/*crt*.o", "{prefix}/lib64/libc.so", "{prefix}/lib64/libc_nonshared.a", "{prefix}/lib64/lib{m,mvec}.so*"},
	tools: []string{"as", "ld"},
}, {
	name:  regexp.MustCompile(`^git$`),
	paths: []string{"{prefix}/lib/git-core", "{prefix}/libexec/git-core", "{prefix}/share/git-core"},
}, {
	name: regexp.MustCompile(`^(?:magick|convert|identify|mogrify|composite|montage|compare)(?:-im[67].*)?$`),
	paths: []string{"/etc/ImageMagick-*", "{prefix}/lib/*-linux-*/ImageMagick-*", "{prefix}/lib/ImageMagick-*",
		"{prefix}/lib64/ImageMagick-*", "{prefix}/share/ImageMagick-*"},
}, {
	name:  regexp.MustCompile(`^g?awk$`),
	paths: []string{"{prefix}/lib/*-linux-*/gawk", "{prefix}/share/awk"},
}, {
	name:  regexp.MustCompile(`^file$`),
	paths: []string{"/etc/magic", "{prefix}/share/misc/magic.mgc", "{prefix}/lib/file"},
}}

// bundles takes what belongs to the programs that were taken. The patterns that match nothing
// are those of other distributions.
func (t *tools) bundles(ctx context.Context) error {
	for _, file := range slices.Sorted(maps.Keys(t.seen)) {
		for _, b := range bundles {
			m := b.name.FindStringSubmatch(path.Base(file))
			if m == nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.bundle(b, path.Dir(path.Dir(file)), m); err != nil {
				return err
			}
		}
	}
	return t.venvs()
}

func (t *tools) bundle(b bundle, prefix string, match []string) error {
	version := ""
	if len(match) > 1 {
		version = match[1]
	}
	replace := strings.NewReplacer("{prefix}", strings.TrimSuffix(prefix, "/"), "$1", version)
	if b.marker != "" {
		if found, err := t.host.glob(replace.Replace(b.marker)); err != nil || len(found) == 0 {
			return err
		}
	}
	for _, pattern := range b.paths {
		for _, alternative := range braces(pattern) {
			found, err := t.host.glob(replace.Replace(alternative))
			if err != nil {
				return err
			}
			for _, p := range found {
				if err := ignoreAbsent(t.host.take(p, takeOptions{lenient: true, skip: changing})); err != nil {
					return err
				}
			}
		}
	}
	for _, name := range b.tools {
		p, err := t.search(name)
		if err != nil {
			continue // a compiler without them can still compile
		}
		if err := t.program(p, true); err != nil {
			return err
		}
	}
	return nil
}

// braces returns the patterns that one with a {a,b} in it stands for; {prefix} is none.
func braces(pattern string) []string {
	before, rest, ok := strings.Cut(strings.ReplaceAll(pattern, "{prefix}", "\x00"), "{")
	list, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{pattern}
	}
	var all []string
	for choice := range strings.SplitSeq(list, ",") {
		all = append(all, strings.ReplaceAll(before+choice+after, "\x00", "{prefix}"))
	}
	return all
}

// changing names what programs write beside their libraries while they run, which would change
// the tree from one capture to the next. Python compiles again what it does not find.
func changing(name string) bool { return name == "__pycache__" || strings.HasSuffix(name, ".pyc") }

// venv returns the directory of the Python virtual environment that p is a program of, or "".
func (t *tools) venv(p string) string {
	dir := path.Dir(path.Dir(p))
	if _, err := os.Stat(t.host.prefix + path.Join(dir, "pyvenv.cfg")); err != nil {
		return ""
	}
	return dir
}

// venvProgram makes the program p of a virtual environment one that is found by name: Python
// knows its environment only by the path that it was started by, so a link would not do.
func (t *tools) venvProgram(link, p, env string) error {
	t.envs = append(t.envs, env)
	return t.host.layout.put(link, &node{kind: wire.Exec, text: "#!/bin/sh\nexec '" + strings.ReplaceAll(p, "'", `'\''`) + "' \"$@\"\n"})
}

// venvs takes the virtual environments whose programs were taken.
func (t *tools) venvs() error {
	for _, env := range t.envs {
		for _, p := range []string{"pyvenv.cfg", "lib", "lib64"} {
			err := t.host.take(path.Join(env, p), takeOptions{lenient: true, skip: changing})
			if ignoreAbsent(err) != nil {
				return err
			}
		}
	}
	return nil
}
