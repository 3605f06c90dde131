package capture

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// glob returns the paths of this machine that match an absolute pattern, in lexical order. An
// element is as in path.Match; "**" stands for any number of directories, none too.
func (h *host) glob(pattern string) ([]string, error) {
	found := []string{"/"}
	for _, element := range split(pattern) {
		var next []string
		for _, dir := range found {
			matches, err := h.matches(dir, element)
			if err != nil {
				return nil, err
			}
			next = append(next, matches...)
		}
		found = next
	}
	slices.Sort(found)
	return found, nil
}

// matches returns what element matches in dir. That dir cannot be read is no match.
func (h *host) matches(dir, element string) ([]string, error) {
	if !strings.ContainsAny(element, `*?[\`) {
		p := path.Join(dir, element)
		if _, err := h.lstat(p); err != nil {
			return nil, ignoreAbsent(err)
		}
		return []string{p}, nil
	}
	if element == "**" {
		return h.below(dir)
	}
	var found []string
	entries, err := h.readDir(dir)
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	for _, e := range entries {
		ok, err := path.Match(element, e.Name())
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, path.Join(dir, e.Name()))
		}
	}
	return found, nil
}

// below returns dir and all directories in it, links not followed.
func (h *host) below(dir string) ([]string, error) {
	found := []string{dir}
	for i := 0; i < len(found); i++ {
		entries, err := h.readDir(found[i])
		if ignoreAbsent(err) != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				found = append(found, path.Join(found[i], e.Name()))
			}
		}
		if len(found) > maxNodes {
			return nil, errors.New("too many directories")
		}
	}
	return found, nil
}

func ignoreAbsent(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return nil
	}
	return err
}
