package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// An rpm is the database of a system of the Fedora, SUSE or like family. It has had three formats,
// none of which is made to be read by others, so the machine's rpm is asked.
type rpm struct {
	host     *host
	dir      string          // of the database, with the host's prefix
	byID     map[string]*pkg // by name-version-release.architecture
	lists    map[*pkg][]string
	provides map[string][]*pkg // capabilities and files of the packages in byID
	asked    map[string]bool   // files and capabilities whose packages are in byID, if there are any
	owner    map[string]*pkg
}

const (
	rpmProgram = "/usr/bin/rpm"
	// rpmPatience bounds one call, which takes 20 ms: the older format hangs on locks left behind.
	rpmPatience = 30 * time.Second
	// maxRPM bounds what one call prints: the packages of a desktop have 30 MB of paths in all.
	maxRPM = 128 << 20
	// rpmNames is how many names one call is given; the kernel takes 2 MiB of arguments.
	rpmNames = 1000
)

// rpmFormat prints a package in lines, of which each begins with its kind.
const rpmFormat = `P\t%{NVRA}\t%{NAME}\t%{ARCH}\t%{SOURCERPM}\n[R\t%{REQUIRENAME}\n][V\t%{PROVIDENAME}\n][F\t%{FILENAMES}\n]`

// newRPM returns the database of h; nil if there is none.
func newRPM(h *host) *rpm {
	if _, err := os.Stat(rpmProgram); err != nil {
		return nil
	}
	for _, dir := range []string{"/usr/lib/sysimage/rpm", "/var/lib/rpm"} {
		for _, file := range []string{"rpmdb.sqlite", "Packages.db", "Packages"} {
			if _, err := os.Stat(path.Join(h.prefix+dir, file)); err == nil {
				return &rpm{host: h, dir: h.prefix + dir, byID: map[string]*pkg{}, lists: map[*pkg][]string{}, provides: map[string][]*pkg{},
					asked: map[string]bool{}, owner: map[string]*pkg{}}
			}
		}
	}
	return nil
}

// owners asks for files, which a package may have by a name from before /bin and /lib were links
// into /usr, and at once for what their packages need.
func (r *rpm) owners(ctx context.Context, files []string) (map[string]*pkg, error) {
	var names []string
	for _, f := range files {
		names = append(names, f)
		if old, ok := strings.CutPrefix(f, "/usr"); ok {
			names = append(names, old)
		}
	}
	found, err := r.find(ctx, "--file", names)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		for _, name := range []string{f, strings.TrimPrefix(f, "/usr")} {
			if ps := r.provides[name]; len(ps) > 0 && r.owner[f] == nil {
				r.owner[f] = ps[0]
			}
		}
	}
	return r.owner, r.resolve(ctx, found)
}

// depends returns what is installed of what p asks for by name, or by a file of it.
func (r *rpm) depends(ctx context.Context, p *pkg) (deps []*pkg, err error) {
	if err := r.resolve(ctx, []*pkg{p}); err != nil {
		return nil, err
	}
	for _, need := range p.needs {
		for _, dep := range r.provides[need] {
			if dep != p && !slices.Contains(deps, dep) {
				deps = append(deps, dep)
			}
		}
	}
	return deps, nil
}

func (r *rpm) files(p *pkg) ([]string, error) { return slices.Clone(r.lists[p]), nil }

// resolve sees to it that the packages which others need are known.
func (r *rpm) resolve(ctx context.Context, ps []*pkg) error {
	var needs []string
	for _, p := range ps {
		needs = append(needs, p.needs...)
	}
	_, err := r.find(ctx, "--whatprovides", needs)
	return err
}

// find reads the packages that have something by the names it was not asked for before.
func (r *rpm) find(ctx context.Context, how string, names []string) (found []*pkg, err error) {
	names = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(names))), func(name string) bool { return r.asked[name] })
	var ids []string
	for some := range slices.Chunk(names, rpmNames) {
		lines, err := r.query(ctx, append([]string{how, "--queryformat", `O\t%{NVRA}\n`}, some...))
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			if id, ok := strings.CutPrefix(l, "O\t"); ok && r.byID[id] == nil {
				ids = append(ids, id)
			}
		}
	}
	for _, name := range names {
		r.asked[name] = true
	}
	for some := range slices.Chunk(slices.Compact(slices.Sorted(slices.Values(ids))), rpmNames) {
		lines, err := r.query(ctx, append([]string{"--queryformat", rpmFormat}, some...))
		if err != nil {
			return nil, err
		}
		found = append(found, r.read(lines)...)
	}
	return found, nil
}

// query asks rpm for packages. That some names are of none it says by its exit code, and among the
// lines that it prints.
func (r *rpm) query(ctx context.Context, args []string) (lines []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, rpmPatience)
	defer cancel()
	c := exec.CommandContext(ctx, rpmProgram, append([]string{"--dbpath", r.dir, "--query"}, args...)...)
	c.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin", "HOME=/nonexistent"} // which may have macros
	var out bytes.Buffer
	pipe, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err == nil {
		_, err = io.Copy(&out, io.LimitReader(pipe, maxRPM))
		err = errors.Join(err, c.Wait())
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() == nil && (err == nil || errors.As(err, &exit)):
		return strings.Split(out.String(), "\n"), nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	}
	return nil, wire.Errorf(wire.CauseInvalid, "see whether rpm -qa works here, or give a root", "asking %s for packages: %v", rpmProgram, err)
}

// read takes packages in, as rpmFormat prints them.
func (r *rpm) read(lines []string) (found []*pkg) {
	var p *pkg
	for _, line := range lines {
		kind, value, _ := strings.Cut(line, "\t")
		switch {
		case kind == "P":
			p = r.add(strings.Split(value, "\t"))
			found = append(found, p)
		case p == nil: // of a name that is of no package
		case kind == "R" && isName(value):
			p.needs = append(p.needs, value)
		case kind == "V" && isName(value):
			r.provides[value] = append(r.provides[value], p)
		case kind == "F":
			r.provides[value] = append(r.provides[value], p)
			r.lists[p] = append(r.lists[p], value)
		}
	}
	return found
}

// isName leaves out capabilities that are no names: libraries, which headers lead to, features of
// rpm and conditions.
func isName(capability string) bool {
	return !strings.HasPrefix(capability, "(") && !strings.HasPrefix(capability, "rpmlib(") && !strings.Contains(capability, ".so")
}

func (r *rpm) add(f []string) *pkg {
	f = append(f, "", "", "", "")
	p := &pkg{name: f[1], arch: f[2], source: f[3], data: f[2] == "noarch"}
	switch {
	case slices.Contains(rpmBase, p.name):
		p.kind = basePackage
	case strings.HasSuffix(p.name, "-doc"), strings.HasSuffix(p.name, "-docs"), strings.HasSuffix(p.name, "-help"):
		p.kind = uselessPackage
	case strings.HasPrefix(p.name, "lib"), strings.HasSuffix(p.name, "-libs"):
		p.kind = libraryPackage
	}
	r.byID[f[0]] = p
	return p
}

// rpmBase are packages that every system has: rpm has no mark for them.
var rpmBase = []string{"basesystem", "bash", "coreutils", "coreutils-common", "coreutils-single", "crypto-policies", "filesystem", "glibc", "glibc-common",
	"glibc-minimal-langpack", "grep", "gzip", "rpm", "sed", "setup", "shadow-utils", "systemd", "tar", "util-linux", "util-linux-core"}
