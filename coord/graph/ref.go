package graph

import (
	"fmt"
	"strings"

	"gaggle/wire"
)

// A refKind says where a reference leads.
type refKind uint8

const (
	refLocal  refKind = iota // "p", "./p"
	refTask                  // "@task/output", "@task[key]/output", either with "//sub/path"
	refParent                // "@parent/path", with "//sub/path" or not
)

// A ref is a reference, parsed.
type ref struct {
	kind   refKind
	task   string
	key    string
	keyed  bool
	path   string // local path; path of the output; path of the parent's input
	sub    string // path in that directory, "" is all of it
	subDir bool   // sub is declared to be a directory by a final slash
}

// parent is the name that stands for the task that wrote the graph.
const parent = "parent"

// parseRef parses s; wrong says what is the matter with it, hint what to do.
func parseRef(s string) (r ref, wrong, hint string) {
	if !strings.HasPrefix(s, "@") {
		r.path, wrong, hint = localPath(s)
		return r, wrong, hint
	}
	const form = `a reference is "path", "@task/output", "@task[key]/output" or "@task/dir//sub/path"`
	rest := s[1:]
	end := strings.IndexAny(rest, "/[")
	if end < 0 {
		return r, fmt.Sprintf("%q names no output", clip(s)), form
	}
	r.kind, r.task, rest = refTask, rest[:end], rest[end:]
	if !wire.ValidName(r.task) {
		return r, fmt.Sprintf("%q is not the name of a task", clip(r.task)), form
	}
	if rest[0] == '[' {
		end := strings.Index(rest, "]/")
		if end < 0 {
			return r, fmt.Sprintf("%q has no end of its key", clip(s)), form
		}
		r.key, r.keyed, rest = rest[1:end], true, rest[end+1:]
	}
	if r.task == parent {
		r.kind = refParent
		if r.keyed {
			return r, "the parent has no instances", form
		}
	}
	rest = rest[1:]
	out, sub, below := strings.Cut(rest, "//")
	r.path = strings.TrimSuffix(out, "/")
	if err := wire.CheckPath(r.path); err != nil {
		return r, fmt.Sprintf("the output in %q: %v", clip(s), err), form
	}
	if below {
		r.sub, r.subDir = strings.TrimSuffix(sub, "/"), strings.HasSuffix(sub, "/")
		if err := wire.CheckPath(r.sub); err != nil {
			return r, fmt.Sprintf("the path behind // in %q: %v", clip(s), err), form
		}
	}
	return r, "", ""
}

// place returns the path that r has as an input in the list form: what it had where it was made.
func (r *ref) place() string {
	if r.sub != "" {
		return r.path + "/" + r.sub
	}
	return r.path
}

// staticTask returns the task that the reference t names in every instance. ok is false if that
// depends on variables.
func staticTask(t *tmpl) (task string, ok bool) {
	s := t.raw
	if !t.literal() {
		s = t.parts[0].lit
	}
	if s == "" {
		return "", false
	}
	if s[0] != '@' {
		return "", true
	}
	if end := strings.IndexAny(s, "/["); end > 0 {
		return s[1:end], true
	}
	return "", t.literal()
}

// placeName is the path of the instance with the key below what stands for all instances. A key
// that is a usable relative path is its own; of any other what a path cannot have, the slashes
// and the percent signs are percent-encoded, and what is too long is cut and told apart by its
// hash.
func placeName(key string) string {
	if len(key) <= maxKey && wire.CheckPath(key) == nil && !strings.ContainsAny(key, "%\\") && !hasControl(key) {
		return key
	}
	return flatName(key)
}

// flatName is placeName without slashes, for the parts of a reduce: in/* finds them all.
func flatName(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if c <= ' ' || c == 0x7f || strings.IndexByte(`%/\`, c) >= 0 || i == 0 && (c == '.' || c == '-') {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	switch s := b.String(); {
	case s == "":
		return "%"
	case len(s) > maxKey:
		return shorten(s, key)
	default:
		return s
	}
}

// shorten cuts s to maxKey with the hash of key behind.
func shorten(s, key string) string {
	tail := "~" + wire.Sum([]byte(key)).Short()
	return strings.ToValidUTF8(s[:maxKey-len(tail)], "") + tail
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// displayName is the name of an instance as people see it: the task's, with the key in brackets.
func displayName(task, key string) string {
	if key == "" {
		return task
	}
	if hasControl(key) {
		key = flatName(key)
	}
	if len(key) > maxKey {
		key = shorten(key, key)
	}
	return task + "[" + key + "]"
}
