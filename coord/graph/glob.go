package graph

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"gaggle/wire"
)

// localPath cleans a local reference and checks that it stays below the graph's directory. hint
// is empty if it does.
func localPath(s string) (clean, wrong, hint string) {
	s = strings.TrimPrefix(s, "./")
	c := path.Clean(s)
	switch {
	case s == "":
		return "", "the path is empty", "name a file"
	case path.IsAbs(s) || !filepath.IsLocal(filepath.FromSlash(c)) && c != ".." && !strings.HasPrefix(c, "../"):
		return "", fmt.Sprintf("%q is an absolute path", clip(s)),
			"local files are named relative to the graph file; programs and libraries of the machine belong in tools, include or root"
	case c == ".." || strings.HasPrefix(c, "../"):
		return "", fmt.Sprintf("%q leaves the directory of the graph file", clip(s)),
			"put the graph file, or with coord submit --dir the start of its paths, above all that it uses"
	case c == ".":
		return ".", "", ""
	}
	if err := wire.CheckPath(c); err != nil {
		return "", err.Error(), "rename it"
	}
	return c, "", ""
}

// glob returns the files in fsys that match the pattern, sorted; directories instead if it ends
// in a slash. An element of the pattern is as in path.Match, but a wildcard does not match a
// leading dot; ** is any number of directories. .git and symlinked directories are not entered by
// a **.
func glob(ctx context.Context, fsys fs.FS, pattern string, most int) ([]string, error) {
	g := &globber{ctx: ctx, fsys: fsys, most: most, seen: make(map[string]bool), dirs: strings.HasSuffix(pattern, "/")}
	elems := strings.Split(strings.Trim(pattern, "/"), "/")
	for _, e := range elems {
		if _, err := path.Match(e, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", clip(pattern), err)
		}
	}
	if err := g.match(".", elems); err != nil {
		return nil, err
	}
	slices.Sort(g.found)
	return g.found, nil
}

type globber struct {
	ctx   context.Context
	fsys  fs.FS
	most  int
	dirs  bool
	seen  map[string]bool // also of directories entered by **, with a slash behind
	found []string
}

func (g *globber) match(dir string, elems []string) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	elem, rest := elems[0], elems[1:]
	if elem == "**" {
		return g.anyDepth(dir, rest)
	}
	if !strings.ContainsAny(elem, `*?[\`) {
		p := path.Join(dir, elem)
		info, err := fs.Stat(g.fsys, p)
		if err != nil {
			return nil // no match, as in a shell
		}
		return g.entry(p, info.IsDir(), rest)
	}
	entries, err := fs.ReadDir(g.fsys, dir)
	if err != nil {
		return fmt.Errorf("listing %q: %w", dir, err)
	}
	for _, e := range entries {
		if ok, _ := path.Match(elem, e.Name()); !ok || hidden(e.Name()) && !hidden(elem) {
			continue
		}
		p, isDir := path.Join(dir, e.Name()), e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := fs.Stat(g.fsys, p)
			isDir = err == nil && info.IsDir()
		}
		if err := g.entry(p, isDir, rest); err != nil {
			return err
		}
	}
	return nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// entry goes on with what an element matched.
func (g *globber) entry(p string, isDir bool, rest []string) error {
	switch {
	case len(rest) > 0 && isDir:
		return g.match(p, rest)
	case len(rest) > 0 || isDir != g.dirs || g.seen[p]:
		return nil
	case len(g.found) == g.most:
		return wire.Errorf(wire.CauseTooLarge, "match fewer, or name a directory", "more than %d files match", g.most)
	}
	g.seen[p] = true
	g.found = append(g.found, p)
	return nil
}

// anyDepth matches rest in dir and all directories below. A ** at the end is all files.
func (g *globber) anyDepth(dir string, rest []string) error {
	if len(rest) == 0 {
		rest = []string{"*"}
	}
	if err := g.match(dir, rest); err != nil {
		return err
	}
	entries, err := fs.ReadDir(g.fsys, dir)
	if err != nil {
		return fmt.Errorf("listing %q: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() && !hidden(e.Name()) {
			if err := g.anyDepth(path.Join(dir, e.Name()), rest); err != nil {
				return err
			}
		}
	}
	return nil
}

// readFile reads a local file of at most wire.MaxGraphFile bytes.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, wire.MaxGraphFile+1))
	if err == nil && len(b) > wire.MaxGraphFile {
		err = tooLarge(name, wire.MaxGraphFile, "split it")
	}
	return b, err
}
