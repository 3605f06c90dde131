package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A collector hands outputs to a sink. Everything that could change them is dead by then, yet
// nothing is opened that is not seen to lie in /job.
type collector struct {
	ctx     context.Context
	sink    Sink
	job     int // descriptor of /job
	spec    *Spec
	streams *[2]stream // stdout, stderr

	filesLeft int
	bytesLeft int64
}

// A refused output is the command's doing.
type refused struct{ *wire.Failure }

func (r refused) Error() string { return r.Message }

func invalidOutput(hint, format string, args ...any) error {
	return refused{&wire.Failure{Cause: wire.CauseOutputInvalid, Message: fmt.Sprintf(format, args...),
		Hint: hint}}
}

var errTooMuch = refused{&wire.Failure{Cause: wire.CauseOutputBound,
	Hint: "have it write less, or in several tasks"}}

// collect returns the objects of outs in their order, or why the command is to blame.
func (c *collector) collect(outs []wire.Output) ([]wire.Object, *wire.Failure, error) {
	objects := make([]wire.Object, len(outs))
	var missing []string
	for i, o := range outs {
		var err error
		objects[i], err = c.output(o)
		var no refused
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOENT):
			missing = append(missing, o.Path)
		case errors.As(err, &no):
			return nil, no.Failure, nil
		default:
			return nil, nil, err
		}
	}
	if len(missing) > 0 {
		return nil, c.missing(missing), nil
	}
	return objects, nil, nil
}

func (c *collector) output(o wire.Output) (wire.Object, error) {
	if o.Graph != "" {
		g, err := c.entry(o.Graph, wire.File)
		if err == nil {
			g.Kind = wire.Graph
		}
		if !errors.Is(err, unix.ENOENT) {
			return g, err
		}
	}
	if i := c.spec.streamOf(o.Path); i >= 0 {
		return c.stream(&c.streams[i], [...]string{"standard output", "standard error"}[i])
	}
	return c.entry(o.Path, o.Kind)
}

// stream stores the whole of a stream.
func (c *collector) stream(s *stream, name string) (wire.Object, error) {
	switch {
	case s.full:
		return wire.Object{}, refused{&wire.Failure{Cause: wire.CauseOutputBound,
			Hint:    "have it write less, or in several tasks",
			Message: fmt.Sprintf("the %s exceeds its bound of %d bytes", name, s.limit)}}
	case s.err != nil:
		return wire.Object{}, wire.Errorf(wire.CauseDiskFull, "free some space on this node",
			"keeping the %s: %v", name, s.err)
	}
	var id wire.BlobID
	var err error
	if s.whole != nil {
		id, err = c.sink.PutFile(c.ctx, s.whole, s.total)
	} else {
		id, err = c.sink.PutBytes(c.ctx, s.tail)
	}
	return wire.FileObject(id, uint64(s.total), false), err
}

// entry stores the declared output at p.
func (c *collector) entry(p string, want wire.Kind) (wire.Object, error) {
	dir, err := openBeneath(c.job, path.Dir(p), unix.O_PATH|unix.O_DIRECTORY)
	switch err {
	case nil:
	case unix.ELOOP, unix.ENOTDIR:
		return wire.Object{}, invalidOutput("write it below real directories",
			"output %q lies below a symbolic link or a file", p)
	case unix.EACCES:
		return wire.Object{}, invalidOutput("leave it accessible: chmod u+x",
			"output %q lies below a directory without permissions", p)
	default:
		return wire.Object{}, err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, path.Base(p), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return wire.Object{}, err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return wire.Object{}, invalidOutput("copy what it points to: cp -L", "output %q is a symbolic link",
			p)
	case isDir && want != wire.Dir:
		return wire.Object{}, invalidOutput(fmt.Sprintf("declare it as %q", p+"/"),
			"output %q is a directory", p)
	case !isDir && want == wire.Dir:
		return wire.Object{}, invalidOutput(fmt.Sprintf("declare it as %q, without a slash", p),
			"output %q is not a directory", p)
	case isDir:
		return c.dir(dir, path.Base(p), &place{top: p})
	}
	return c.file(dir, path.Base(p), &st, p)
}

// A place says where in an output directory the collector is.
type place struct {
	top   string // path of the output
	below string // path from there, "" at the top
	depth int
}

func (p *place) path(name string) string { return path.Join(p.top, p.below, name) }

// file stores a regular file.
func (c *collector) file(dir int, name string, st *unix.Stat_t, p string) (wire.Object, error) {
	if kind := kindOf(st.Mode); kind != "" {
		return wire.Object{}, invalidOutput("outputs are files, directories and relative symbolic links",
			"output %q is a %s", p, kind)
	}
	if err := c.spend(st.Size, p); err != nil {
		return wire.Object{}, err
	}
	fd, err := openOwned(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, st.Mode|0o400)
	if err != nil {
		return wire.Object{}, fmt.Errorf("opening output %q: %w", p, hide(err))
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	id, err := c.sink.PutFile(c.ctx, f, st.Size)
	return wire.FileObject(id, uint64(st.Size), st.Mode&0o111 != 0), hide(err)
}

// hide keeps an infrastructure's ENOENT from being taken for a missing output.
func hide(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return wire.Errorf(wire.CauseSandbox, "", "%v", err)
	}
	return err
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return ""
	case unix.S_IFIFO:
		return "named pipe"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}

// openOwned opens what may have been made inaccessible to its owner, who we then are.
func openOwned(dir int, name string, flags int, mode uint32) (int, error) {
	fd, err := openBeneath(dir, name, flags)
	if err == unix.EACCES {
		if err := unix.Fchmodat(dir, name, mode&0o7777, 0); err != nil {
			return -1, err
		}
		fd, err = openBeneath(dir, name, flags)
	}
	return fd, err
}

func (c *collector) spend(bytes int64, p string) error {
	c.filesLeft--
	c.bytesLeft -= bytes
	if c.filesLeft < 0 || c.bytesLeft < 0 {
		f := *errTooMuch.Failure
		f.Message = fmt.Sprintf("the outputs exceed their bound of bytes or files at %q", p)
		return refused{&f}
	}
	return c.ctx.Err()
}

// dir stores a directory and all below.
func (c *collector) dir(parent int, name string, at *place) (wire.Object, error) {
	where := at.path("")
	if at.depth > wire.MaxTreeDepth {
		return wire.Object{}, invalidOutput("make it shallower", "output %q is deeper than %d directories",
			at.top, wire.MaxTreeDepth)
	}
	if err := c.spend(0, where); err != nil {
		return wire.Object{}, err
	}
	fd, err := openOwned(parent, name, unix.O_RDONLY|unix.O_DIRECTORY, 0o755)
	if err != nil {
		return wire.Object{}, fmt.Errorf("opening output %q: %w", where, hide(err))
	}
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	if err := unix.Fchmod(fd, 0o755); err != nil { // so that what is in it can be opened
		return wire.Object{}, err
	}
	names, err := d.Readdirnames(wire.MaxTreeEntries + 1)
	if len(names) > wire.MaxTreeEntries {
		return wire.Object{}, invalidOutput("spread it over several directories",
			"output %q has more than %d entries", where, wire.MaxTreeEntries)
	}
	if err != nil && len(names) > 0 {
		return wire.Object{}, err
	}
	slices.Sort(names)
	entries := make([]wire.Entry, 0, len(names))
	for _, n := range names {
		e, err := c.child(fd, n, at)
		if err != nil {
			return wire.Object{}, err
		}
		entries = append(entries, e)
	}
	tree, err := wire.NewTree(entries)
	if err != nil {
		return wire.Object{}, invalidOutput("", "output %q: %v", where, err)
	}
	id, err := c.sink.PutTree(c.ctx, tree)
	return wire.DirObject(id, tree.Size()), hide(err)
}

// child stores one entry of a directory.
func (c *collector) child(dir int, name string, at *place) (e wire.Entry, err error) {
	p := at.path(name)
	if err := wire.CheckName(name); err != nil {
		return e, invalidOutput("rename it", "output %q holds a bad name: %v", at.top, err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return e, hide(err)
	}
	e.Name = name
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Object, err = c.dir(dir, name, &place{top: at.top, below: path.Join(at.below, name),
			depth: at.depth + 1})
	case unix.S_IFLNK:
		if err := c.spend(0, p); err != nil {
			return e, err
		}
		e.Object.Kind = wire.Symlink
		e.Target, err = c.link(dir, name, at)
	default:
		e.Object, err = c.file(dir, name, &st, p)
	}
	return e, err
}

// link returns the target of a symbolic link if it stays in the output.
func (c *collector) link(dir int, name string, at *place) (string, error) {
	p := at.path(name)
	buf := make([]byte, wire.MaxPath+1)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", hide(err)
	}
	target := string(buf[:n])
	const hint = "make it relative, to something in the same output: ln -sr"
	switch {
	case n > wire.MaxPath:
		return "", invalidOutput(hint, "the symbolic link %q is longer than %d bytes", p, wire.MaxPath)
	case strings.ToValidUTF8(target, "") != target:
		return "", invalidOutput("rename what it points to",
			"the target of the symbolic link %q is not UTF-8", p)
	case path.IsAbs(target):
		return "", invalidOutput(hint, "the symbolic link %q points to the absolute path %q", p, target)
	case !staysInside(at.below, target):
		return "", invalidOutput(hint, "the symbolic link %q points out of its output, to %q", p, target)
	}
	return target, nil
}

// staysInside reports whether a link in the directory below some top never leaves that, step by
// step: "a/../../x" could leave it by way of a link a.
func staysInside(below, target string) bool {
	depth := 0
	if below != "" {
		depth = strings.Count(below, "/") + 1
	}
	descended := false
	for step := range strings.SplitSeq(target, "/") {
		switch step {
		case "", ".":
		case "..":
			if depth--; depth < 0 || descended {
				return false
			}
		default:
			depth++
			descended = true
		}
	}
	return true
}

// missing says which outputs are not there, and what is.
func (c *collector) missing(paths []string) *wire.Failure {
	const most = 20
	quoted := func(list []string) string {
		var b strings.Builder
		for i, p := range list {
			if i == most {
				fmt.Fprintf(&b, " and %d more", len(list)-most)
				break
			}
			fmt.Fprintf(&b, " %q", p)
		}
		return b.String()
	}
	have := "nothing"
	if d, err := openBeneath(c.job, ".", unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
		f := os.NewFile(uintptr(d), "job")
		names, _ := f.Readdirnames(10_000)
		f.Close()
		if len(names) > 0 {
			slices.Sort(names)
			have = strings.TrimPrefix(quoted(names), " ")
		}
	}
	return &wire.Failure{
		Cause: wire.CauseOutputMissing,
		Message: fmt.Sprintf("the command ended well but left no output%s; its directory holds %s",
			quoted(paths), have),
		Hint: "check the paths, which are relative to the job directory",
	}
}
