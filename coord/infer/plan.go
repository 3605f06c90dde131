package infer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"gaggle/coord/infer/scan"
	"gaggle/wire"
)

// A Store takes files in.
type Store interface {
	Trees
	// Add takes in a file of this machine.
	Add(ctx context.Context, path string) (wire.Object, error)
}

// A Planner makes thunks of calls. Its methods may be called side by side.
type Planner struct {
	Store   Store
	Scanner *scan.Scanner
	// Toolchain returns the one that a program belongs to, whose root is in the store.
	Toolchain func(ctx context.Context, tool string) (*Toolchain, error)
}

// A Plan is a call as a thunk.
type Plan struct {
	Thunk  *wire.Thunk
	Made   []Made        // what it makes, besides the streams
	Leaves []wire.Object // what it needs and the store has

	RootSize uint64 // bytes of its root
}

// Made is an output of a thunk and where it belongs on this machine.
type Made struct {
	Output string // in the thunk
	Path   string // absolute
}

// Local is an error that says why a call has to run on this machine. It is no failure.
type Local string

func (l Local) Error() string { return string(l) }

func local(format string, args ...any) error { return Local(fmt.Sprintf(format, args...)) }

// Plan makes a thunk of a call that compiles. base is the directory of the build, absolute: below it
// are the user's own files, which become inputs at the paths they have here; files of the system
// that are not the toolchain's are added to its root. Env is what the call has in its
// environment, NAME=value.
func (p *Planner) Plan(ctx context.Context, c *Call, args []string, base string, env []string) (*Plan, error) {
	if c.Mode != Compile && c.Mode != Assemble {
		return nil, local("a call to %s", c.Mode)
	}
	if err := portable(c, env); err != nil {
		return nil, err
	}
	chain, err := p.Toolchain(ctx, c.Tool)
	if err != nil {
		return nil, err
	}
	if !chain.Has(c.Tool) {
		return nil, local("%s is not in the toolchain's root", c.Tool)
	}
	l := &layout{ctx: ctx, store: p.Store, toolchain: chain, base: base, dir: c.Dir, clocked: hasVariable(env, "SOURCE_DATE_EPOCH"), links: map[string]bool{}, files: map[string]string{}, dirs: map[string]bool{}, extra: map[string]wire.Object{}}
	if err := l.reads(p.Scanner, c); err != nil {
		return nil, err
	}
	if err := l.writes(c); err != nil {
		return nil, err
	}
	return l.plan(c, args, env)
}

// A layout gathers where the files of a call are to be seen.
type layout struct {
	ctx       context.Context
	store     Store
	toolchain *Toolchain
	base, dir string
	clocked   bool // the time of the compilation is given
	once      bool // some file is read once at most

	links map[string]bool        // directories that were looked at: whether a link is on the way
	files map[string]string      // the user's own, by clean path, as they are opened here
	dirs  map[string]bool        // that must exist, likewise
	extra map[string]wire.Object // of the system, beside the toolchain, by path without its slash
	made  []string
}

// systemDirs hold what belongs to the machine and not to a user.
var systemDirs = []string{"/usr", "/opt", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc"}

func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// reads notes all files that the call reads.
func (l *layout) reads(s *scan.Scanner, c *Call) error {
	for _, name := range c.Reads {
		if err := l.file(name); err != nil {
			return err
		}
	}
	for i := range c.Units {
		u := &c.Units[i]
		r, err := s.Scan(l.ctx, *u)
		if err != nil {
			return err
		}
		if r.Refused != "" {
			return local("%s", r.Refused)
		}
		for _, m := range u.Macros {
			if strings.Contains(m.Text, "__TIMESTAMP__") || !l.clocked && (strings.Contains(m.Text, "__DATE__") || strings.Contains(m.Text, "__TIME__")) {
				return local("-D%s asks for a time", m.Text)
			}
		}
		if len(r.Dated) > 0 && !l.clocked {
			return local("%s has __DATE__ or __TIME__ in it, and $SOURCE_DATE_EPOCH is not set", path.Base(r.Dated[0]))
		}
		if len(r.Stamped) > 0 {
			return local("%s has __TIMESTAMP__ in it, which is a file's time here", path.Base(r.Stamped[0]))
		}
		l.once = l.once || r.Once
		for _, list := range [][]string{r.Files, r.Exists} {
			for _, name := range list {
				if err := l.file(name); err != nil {
					return err
				}
			}
		}
		// A directory of the search path that is missing would be warned of.
		for _, list := range [][]string{r.Dirs, u.Quote, u.Include, u.System, u.After} {
			for _, name := range list {
				if err := l.directory(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// writes notes what the call makes, and the directories for it.
func (l *layout) writes(c *Call) error {
	for _, o := range c.Writes {
		if o.InPlace || o.Maybe {
			return local("it changes %s, or may leave it out", o.Path)
		}
		p, err := l.clean(o.Path)
		if err != nil {
			return err
		}
		if !l.own(p) {
			return local("it writes to %s, outside of the build", p)
		}
		if info, err := os.Lstat(p); err == nil && !info.Mode().IsRegular() {
			return local("%s, which it writes, is a %s", p, info.Mode().Type())
		}
		l.made = append(l.made, p)
		l.dirs[path.Dir(p)] = true
	}
	if len(l.made) == 0 {
		return local("it makes no file")
	}
	return nil
}

// clean folds "." and ".." out of a name, which is right only if no link is on the way. The
// directories that it passes through are noted: they must exist.
func (l *layout) clean(name string) (string, error) {
	at := "/"
	if !strings.HasPrefix(name, "/") {
		at = l.dir
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		switch part {
		case "", ".":
			continue
		case "..":
			if l.own(at) {
				l.dirs[at] = true
			}
			at = path.Dir(at)
			continue
		}
		at = path.Join(at, part)
		if i < len(parts)-1 && l.isLink(at) {
			return "", local("%s is a symbolic link", at)
		}
	}
	return at, nil
}

func (l *layout) isLink(p string) bool {
	is, known := l.links[p]
	if !known {
		info, err := os.Lstat(p)
		is = err == nil && info.Mode()&fs.ModeSymlink != 0 && !slices.Contains(systemDirs, "/"+strings.Split(p, "/")[1])
		l.links[p] = is
	}
	return is
}

// own reports whether a clean path is among the user's files.
func (l *layout) own(p string) bool {
	if within(p, l.base) || within(p, l.dir) {
		return true
	}
	return !slices.ContainsFunc(systemDirs, func(d string) bool { return within(p, d) })
}

func (l *layout) file(name string) error {
	p, err := l.clean(name)
	if err != nil {
		return err
	}
	if l.own(p) {
		l.files[p] = name
		return nil
	}
	if l.toolchain.Has(p) {
		return nil
	}
	real, err := filepath.EvalSymlinks(path.Dir(p)) // /lib may be a link to /usr/lib, in the root as well
	if err != nil {
		return local("%v", err)
	}
	if real != path.Dir(p) && real != "/usr"+path.Dir(p) {
		return local("%s is reached by a symbolic link", p)
	}
	if l.extra[path.Join(real, path.Base(p))[1:]], err = l.store.Add(l.ctx, p); err != nil {
		return local("%v", err)
	}
	return nil
}

// directory notes one that is on a search path.
func (l *layout) directory(name string) error {
	p, err := l.clean(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(p)
	switch {
	case err != nil || !info.IsDir():
	case l.own(p):
		l.dirs[p] = true
	case !l.toolchain.Has(p):
		l.extra[p[1:]], err = emptyDir(l.ctx, l.store)
		return err
	}
	return nil
}

// jobDir is the directory below which all of the user's files lie.
func (l *layout) jobDir() (string, error) {
	dir := l.base
	widen := func(p string) {
		for !within(p, dir) {
			dir = path.Dir(dir)
		}
	}
	widen(l.dir)
	for p := range l.files {
		widen(p)
	}
	for p := range l.dirs {
		widen(p)
	}
	if err := wire.CheckJobDir(dir); err != nil {
		return "", local("its files have no directory in common but %s", dir)
	}
	if o, ok := lookup(l.store, l.toolchain.Root, dir); ok && o.Size > 0 {
		return "", local("its files have no directory in common but %s, where the toolchain is", dir)
	}
	return dir, nil
}

func (l *layout) plan(c *Call, args, env []string) (*Plan, error) {
	dir, err := l.jobDir()
	if err != nil {
		return nil, err
	}
	rel := func(p string) string { return strings.TrimPrefix(strings.TrimPrefix(p, dir), "/") }
	t := wire.Thunk{
		Command: append([]string{c.Tool}, args...), Platform: runtime.GOOS + "/" + runtime.GOARCH, ABI: wire.ABIPlaced,
		JobDir: dir, WorkDir: rel(l.dir), Env: variables(env),
		Outputs: []wire.Output{{Path: wire.Stdout, Kind: wire.File}, {Path: wire.Stderr, Kind: wire.File}},
	}
	plan := new(Plan)
	for _, p := range l.made {
		plan.Made = append(plan.Made, Made{rel(p), p})
		t.Outputs = append(t.Outputs, wire.Output{Path: rel(p), Kind: wire.File})
	}
	if t.Inputs, err = l.inputs(rel); err != nil {
		return nil, err
	}
	if t.Root, err = l.root(dir, plan); err != nil {
		return nil, err
	}
	for i := range t.Inputs {
		plan.Leaves = append(plan.Leaves, t.Inputs[i].Object)
	}
	plan.Thunk, err = wire.NewThunk(t)
	if err != nil {
		return nil, local("%v", err)
	}
	return plan, nil
}

// inputs puts the files into the store, and adds the directories that none of them brings along.
func (l *layout) inputs(rel func(string) string) ([]wire.Input, error) {
	brought := map[string]bool{}
	bring := func(p string) {
		for d := path.Dir(p); !brought[d]; d = path.Dir(d) {
			brought[d] = true
		}
	}
	inputs := make([]wire.Input, 0, len(l.files))
	names := map[wire.Digest]string{} // of files that are not empty
	for p, o := range l.extra {
		names[o.Digest] = "/" + p
	}
	for p, name := range l.files {
		if !strings.HasPrefix(name, "/") {
			name = l.dir + "/" + name
		}
		o, err := l.store.Add(l.ctx, name)
		if err != nil {
			return nil, local("%v", err)
		}
		if other := names[o.Digest]; other != "" && l.once && o.Size > 0 {
			// All files have one time there, so that it would be read once.
			return nil, local("%s and %s are equal, and headers are read once", other, p)
		}
		names[o.Digest] = p
		inputs = append(inputs, wire.Input{Path: rel(p), Object: o})
		bring(p)
	}
	for p := range l.dirs {
		bring(p)
	}
	empty, err := emptyDir(l.ctx, l.store)
	if err != nil {
		return nil, err
	}
	for p := range l.dirs {
		if !brought[p] && rel(p) != "" {
			inputs = append(inputs, wire.Input{Path: rel(p), Object: empty})
		}
	}
	return inputs, nil
}

// root adds to the toolchain what the call reads of the system besides, and the place of the job.
func (l *layout) root(dir string, plan *Plan) (wire.TreeID, error) {
	if room := l.toolchain.room(dir); room != "" && !within(dir, "/tmp") {
		empty, err := emptyDir(l.ctx, l.store)
		if err != nil {
			return wire.TreeID{}, err
		}
		l.extra[room[1:]] = empty
	}
	o, err := l.toolchain.With(l.ctx, l.extra)
	if errors.Is(err, errNoRoom) {
		return wire.TreeID{}, local("%v", err)
	}
	plan.Leaves, plan.RootSize = append(plan.Leaves, o), o.Size
	return wire.TreeID(o.Digest), err
}

// passed names the variables that a compiler's results depend on. Others are not passed on, so that
// they cannot matter.
func passed(name string) bool {
	switch name {
	case "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH", "SOURCE_DATE_EPOCH":
		return true
	}
	return strings.HasPrefix(name, "GCC_")
}

func variables(env []string) []wire.EnvVar {
	vars := []wire.EnvVar{{Name: "LC_ALL", Value: locale(env)}}
	seen := map[string]bool{}
	for _, e := range env {
		if name, value, _ := strings.Cut(e, "="); passed(name) && !seen[name] {
			seen[name] = true // as getenv, which finds the first
			vars = append(vars, wire.EnvVar{Name: name, Value: value})
		}
	}
	return vars
}

func hasVariable(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}

// locale is C.UTF-8 where the user's has UTF-8, which is how messages quote, else C. What it says
// besides, the language, is left out: a root has no translations, and values are shared by all.
func locale(env []string) string {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		for _, e := range env {
			value, ok := strings.CutPrefix(e, name+"=")
			if ok && value != "" {
				charset := strings.ToLower(strings.ReplaceAll(value, "-", ""))
				if strings.Contains(charset, "utf8") {
					return "C.UTF-8"
				}
				return "C"
			}
		}
	}
	return "C"
}
