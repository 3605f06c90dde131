package capture

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A Trace is what a command looked at while it ran on this machine.
type Trace struct {
	// Files are the paths of files that were there before the command asked for them and that a
	// root has to have, as they were called, and sorted: absolute, and not below Dir.
	Files []string
	// Inputs are those below Dir, relative to it.
	Inputs []string
	// LeftOut are files that the command opened and a root cannot or should not have.
	LeftOut []LeftOut
	// Program is where the command was found.
	Program string
	// Exit is its exit code, 128 and the number if a signal killed it.
	Exit int
	// Ended are names of processes that it left running and that had to be ended.
	Ended []string
}

// A LeftOut is a path, or a directory for all below it, and why it is not in Files.
type LeftOut struct{ Path, Why string }

// Traced says what to run.
type Traced struct {
	Argv []string // the program is sought in Path
	Env  []string // all of it
	Path string   // as $PATH
	Dir  string   // working directory, absolute
	Home string   // of the user; "" is none

	Stdin          io.Reader
	Stdout, Stderr io.Writer

	patience time.Duration // unless 0, how long what it leaves running may go on
}

// A use is what a command did with a path.
type use int

const (
	looked   use = iota + 1 // stat, access, readlink
	opened                  // or listed
	executed                // program, or script's interpreter
	made                    // it was not there before
)

// uses are what a command did, by clean absolute path; of several the strongest.
type uses map[string]use

// maxUses bounds the paths of one command: of a large build some 10^5.
const maxUses = 1_000_000

// add notes a use of a path, unless the command itself made what is there.
func (u uses) add(p string, how use) {
	if was := u[p]; was < how && was != made && (was == 0 || how != made) && len(u) < maxUses {
		u[p] = how
	}
}

// asked notes that a command is about to use a path of this machine, and with it what a script
// is run by.
func (u uses) asked(p string, how use) {
	if len(p) > wire.MaxPath || !path.IsAbs(p) {
		return
	}
	p = clean(p)
	fi, err := os.Stat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(p); err != nil && how == opened {
			u.add(p, made) // or it fails
		}
		return
	case err != nil || !fi.Mode().IsRegular():
		return
	}
	u.add(p, how)
	if how != executed {
		return
	}
	for range 4 { // an interpreter may be a script (binfmt_script.c)
		if p = interpreterOf(p); p == "" {
			return
		}
		u.add(p, executed)
	}
}

// clean takes "." and ".." out of a path, where a link before ".." does not make that another.
func clean(p string) string {
	c := path.Clean(p)
	if !strings.Contains(p, "..") {
		return c
	}
	a, err := os.Stat(p)
	if err != nil {
		return c
	}
	if b, err := os.Stat(c); err == nil && os.SameFile(a, b) {
		return c
	}
	if real, err := filepath.EvalSymlinks(p); err == nil {
		return real
	}
	return c
}

func interpreterOf(p string) string {
	f, err := os.Open(p)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(words) == 0 || !path.IsAbs(words[0]) {
		return ""
	}
	return words[0]
}

// Run runs a command once and tells what it looked at. The command runs as always, but that
// setuid programs gain nothing, and what it leaves running is watched for some seconds more, then
// ended. The error is a *wire.Error if it cannot be run, or cannot be
// watched on this machine; that the command fails is none.
func (c Traced) Run(ctx context.Context) (*Trace, error) {
	program, err := c.find()
	if err != nil {
		return nil, err
	}
	seen := uses{}
	exit, ended, err := watch(ctx, c, program, seen)
	if err != nil {
		return nil, err
	}
	t := &Trace{Program: program, Exit: exit, Ended: ended}
	t.sort(seen, c)
	return t, nil
}

// find returns where the program is, behind what stands in for it.
func (c Traced) find() (string, error) {
	name := c.Argv[0]
	if strings.Contains(name, "/") && !path.IsAbs(name) {
		name = path.Join(c.Dir, name)
	}
	return newTools("", Options{Path: c.Path, Dir: c.Dir}).search(name)
}

// system are places whose files are many and never part of a root, with the reason.
var system = []LeftOut{
	{"/proc", "the sandbox has its own"}, {"/sys", "a thunk sees nothing of the machine"}, {"/dev", "the sandbox has its own"},
	{"/run", "it is the state of this machine"}, {"/var/run", "it is the state of this machine"}, {"/var/cache", "it can be made again"},
}

// outside are other places of that kind.
var outside = []LeftOut{
	{"/tmp", "the sandbox has its own, empty"}, {"/job", "the sandbox has its own"}, {"/var/lib", "it is the state of this machine"},
	{"/var/tmp", "it is temporary"},
	{"/etc/ld.so.cache", "libraries are found without it"}, {"/etc/ld.so.preload", "it is for this machine"},
	{"/etc/passwd", "a root has its own"}, {"/etc/group", "a root has its own"}, {"/etc/hosts", "a root has its own"},
	{"/etc/nsswitch.conf", "a root has its own"}, {"/etc/resolv.conf", "a thunk has no network"},
	{"/etc/localtime", "a thunk's time zone is UTC"}, {"/etc/timezone", "a thunk's time zone is UTC"},
}

// within returns the entry of places that p is at or below.
func within(places []LeftOut, p string) (LeftOut, bool) {
	i := slices.IndexFunc(places, func(l LeftOut) bool { return p == l.Path || strings.HasPrefix(p, l.Path+"/") })
	if i < 0 {
		return LeftOut{}, false
	}
	return places[i], true
}

// sort tells what a root needs from what are inputs, and from what it cannot have.
func (t *Trace) sort(seen uses, c Traced) {
	prefixes := c.installations(seen)
	left := map[LeftOut]bool{}
	for p, how := range seen {
		if how == made || changing(path.Base(p)) {
			continue
		}
		if rel, ok := strings.CutPrefix(p, c.Dir+"/"); ok && c.Dir != "/" {
			t.Inputs = append(t.Inputs, rel)
			continue
		}
		why := leftOut(p, c.Home, prefixes)
		if why == (LeftOut{}) {
			t.Files = append(t.Files, p)
		} else if how >= opened {
			left[why] = true
		}
	}
	slices.Sort(t.Files)
	slices.Sort(t.Inputs)
	for l := range left {
		t.LeftOut = append(t.LeftOut, l)
	}
	slices.SortFunc(t.LeftOut, func(a, b LeftOut) int { return strings.Compare(a.Path, b.Path) })
}

var sharedObject = regexp.MustCompile(`\.so(\.[0-9][0-9.]*)?$`)

// installations are what the root has of the user's own: the programs and libraries that were
// run, and the directories that they are installed in.
func (c Traced) installations(seen uses) (all []LeftOut) {
	for p, how := range seen {
		if how != executed && (how < opened || !sharedObject.MatchString(p)) {
			continue
		}
		files := []string{p}
		if real, err := filepath.EvalSymlinks(p); err == nil {
			files = append(files, real)
		}
		for _, f := range files {
			all = append(all, LeftOut{Path: f})
			if dir := path.Dir(path.Dir(f)); !strings.HasPrefix(c.Home+"/", strings.TrimSuffix(dir, "/")+"/") {
				all = append(all, LeftOut{Path: dir})
			}
		}
	}
	return all
}

// leftOut says why a root has no file p, or nothing if it has. Of home it has what is in prefixes.
func leftOut(p, home string, prefixes []LeftOut) LeftOut {
	if place, ok := within(system, p); ok {
		return place
	}
	if place, ok := within(outside, p); ok {
		return LeftOut{p, place.Why}
	}
	_, own := within([]LeftOut{{Path: home}}, p)
	if _, needed := within(prefixes, p); own && !needed && home != "" && home != "/" {
		return LeftOut{p, "it is in your home directory"}
	}
	if secret(p) {
		return LeftOut{p, "not everybody may read it"}
	}
	return LeftOut{}
}

// secret reports whether a file of the system is kept from some users.
func secret(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && strings.HasPrefix(p, "/etc/") && fi.Mode().Perm()&0o004 == 0
}

// Include returns Files as patterns for Options.Include.
func (t *Trace) Include() []string {
	quote := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
	patterns := make([]string, len(t.Files))
	for i, f := range t.Files {
		patterns[i] = quote.Replace(f)
	}
	return patterns
}

// Measure returns how large a root of the tools and includes is, and of how many files.
func Measure(ctx context.Context, names []string, opt Options) (bytes int64, files int, err error) {
	l, err := newTools("", opt).capture(ctx, names, opt.Include)
	if err != nil {
		return 0, 0, err
	}
	var all []*node
	l.root.files(&all)
	for _, n := range all {
		if n.source == "" {
			bytes += int64(len(n.text))
		} else if fi, err := os.Stat(n.source); err == nil {
			bytes += fi.Size()
		}
	}
	return bytes, len(all), nil
}
