package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gaggle/coord/infer"
	"gaggle/wire"
)

// Shims has a directory with a stand-in for each compiler that is on a search path, and returns it.
// It is the same for equal paths: builds keep the names of compilers that they found (cmake, in its
// cache). The shim is the program that stands in, for the user's tools as well. It does so in a build
// of coord make only.
func Shims(state, path, shim string, tools []string) (string, error) {
	dir := stateDir(state).path("shims", wire.Sum([]byte(strings.Join(append([]string{path}, tools...), "\x00"))).Short())
	return shims(dir, path, shim, tools, nil)
}

// Masquerade has such a directory in which the stand-ins ask the agent of the state directory at any
// time, and start it. Who has it first on PATH, or names a compiler by it, builds without coord make.
// It is the same if it is on the path already.
func Masquerade(state, path, shim string) (string, error) {
	all := stateDir(state).path("masquerade")
	dirs := slices.DeleteFunc(filepath.SplitList(path), func(d string) bool { return filepath.Dir(d) == all })
	path = strings.Join(dirs, string(filepath.ListSeparator))
	socket, err := stateDir(state).toolSocket()
	if err != nil {
		return "", err
	}
	return shims(filepath.Join(all, wire.Sum([]byte(path)).Short()), path, shim, nil, map[string]string{".agent": socket, ".state": state})
}

// shims fills a directory with links to the shim, and others.
func shims(dir, path, shim string, tools []string, links map[string]string) (string, error) {
	if _, err := os.Stat(shim); err != nil {
		return "", wire.Errorf(wire.CauseInvalid, "make build makes it, beside coord", "there is no %s", shim)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	wanted := map[string]string{}
	for _, d := range filepath.SplitList(path) {
		entries, err := os.ReadDir(d)
		if err != nil || !filepath.IsAbs(d) {
			continue
		}
		for _, e := range entries {
			if (infer.Tool(e.Name()) || slices.Contains(tools, e.Name())) && lookPath(e.Name(), d) != "" {
				wanted[e.Name()] = shim
			}
		}
	}
	for name, target := range links {
		wanted[name] = target
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range old {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil && wanted[e.Name()] == target {
			delete(wanted, e.Name())
		} else if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	for name, target := range wanted {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return dir, nil
}
