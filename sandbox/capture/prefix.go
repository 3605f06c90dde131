package capture

import (
	"path"
	"slices"
	"strings"
)

// A prefix is a directory that holds a whole installation which finds its parts by its own place.
type prefix struct {
	why    string
	marker string   // a file or directory in it that only such a one has
	parts  []string // what of it is taken
	skip   []string // of that
}

var prefixes = []prefix{
	{"a conda environment links everything relative to itself; the others in it and its archives are not part of it",
		"conda-meta", []string{""}, []string{"pkgs", "envs", "conda-bld", "share/doc", "share/man"}},
	{"a virtual environment is known to Python by this file beside the interpreter it was started by; the directory may be a project's, with much else in it",
		"pyvenv.cfg", []string{"pyvenv.cfg", "bin", "include", "lib", "lib64", "share"}, []string{"share/doc", "share/man"}},
}

// prefixes takes the installations that a program is of, if they are taken whole.
func (t *tools) prefixes(c called) error {
	if err := t.nodePackage(c.file); err != nil {
		return err
	}
	if err := t.installation(path.Dir(path.Dir(c.path))); err != nil {
		return err
	}
	return t.installation(path.Dir(path.Dir(c.file)))
}

func (t *tools) installation(dir string) error {
	for _, p := range prefixes {
		if _, err := t.host.stat(path.Join(dir, p.marker)); err != nil {
			continue
		}
		opt := takeOptions{lenient: true, tidy: true}
		for _, s := range p.skip {
			opt.skip = append(opt.skip, path.Join(dir, s))
		}
		for _, part := range p.parts {
			if err := ignoreAbsent(t.host.take(path.Join(dir, part), opt)); err != nil {
				return err
			}
		}
		if p.marker == "pyvenv.cfg" {
			return t.baseOf(dir)
		}
	}
	return nil
}

// nodePackage takes the package that a script of Node.js is in, with what is nested in it.
func (t *tools) nodePackage(file string) error {
	const modules = "/node_modules/"
	i := strings.Index(file, modules)
	if i < 0 {
		return nil
	}
	names := split(file[i+len(modules):])
	n := 1
	if strings.HasPrefix(names[0], "@") {
		n = 2
	}
	if len(names) <= n {
		return nil
	}
	return ignoreAbsent(t.host.take(file[:i]+modules+path.Join(names[:n]...), takeOptions{lenient: true, tidy: true}))
}

// baseOf takes the interpreter that a virtual environment was made from, whose libraries it uses.
// In most its python is a link there, in one made with copies only pyvenv.cfg tells.
func (t *tools) baseOf(env string) error {
	text, err := t.host.readFile(path.Join(env, "pyvenv.cfg"), maxConf)
	if err != nil {
		return ignoreAbsent(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, "=")
		settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	home := settings["home"]
	if !path.IsAbs(home) {
		return nil
	}
	names := []string{"python3", "python"}
	if v := strings.Split(settings["version"], "."); len(v) > 1 {
		names = slices.Insert(names, 0, "python"+v[0]+"."+v[1])
	}
	for _, name := range names {
		if p := path.Join(home, name); t.runnable(p) {
			return t.program(p, true)
		}
	}
	return nil
}
