package capture

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A packages takes what belongs to programs by the packages that own them.
type packages struct {
	db     database      // nil on a machine without one
	done   map[*pkg]bool // whose files were taken
	known  int           // of tools.order, whose packages were taken
	linked int           // of linker.order, likewise
	left   int64         // bytes of data that dependencies may still bring
}

// A database knows the installed packages of a machine.
type database interface {
	// owners returns the packages that own files, which are canonical paths; of others that it was
	// asked for before, too.
	owners(ctx context.Context, files []string) (map[string]*pkg, error)
	// depends returns the installed packages that p asks for.
	depends(ctx context.Context, p *pkg) ([]*pkg, error)
	// files returns the paths of p, directories too, as it names them.
	files(p *pkg) ([]string, error)
}

// A pkg is an installed package. Of each there is one pkg.
type pkg struct {
	name, source, arch string
	data               bool     // for every architecture, so without programs or libraries in ELF
	kind               pkgKind  // what it is for
	needs              []string // names, of alternatives each, as in its database
}

// A pkgKind says whether a package may be one that a program does not open files of.
type pkgKind uint8

const (
	plainPackage   pkgKind = iota
	libraryPackage         // its libraries come by the headers that name them
	uselessPackage         // documentation, and what administers a system
	basePackage            // every system has it, and its programs need nothing of it
)

// maxData bounds the data that the dependencies of all programs bring: X11's, ALSA's and
// Ghostscript's have a few MB each, while what has more (games, LaTeX) is rarely needed whole.
const maxData = 64 << 20

// newPackages looks for the database of h: a machine with dpkg's may have rpm as a tool.
func newPackages(h *host) *packages {
	p := &packages{done: map[*pkg]bool{}, left: maxData}
	if db := newDpkg(h); db != nil {
		p.db = db
	} else if db := newRPM(h); db != nil {
		p.db = db
	}
	return p
}

// fromPackages takes, of each program that a package owns, what else that package has but for
// programs and documentation; and of the packages that it or one of its libraries depends on,
// those of the same source and those of data alone. It reports whether that was anything new.
// Libraries come by the headers that name them.
func (t *tools) fromPackages(ctx context.Context) (more bool, err error) {
	if t.packages == nil {
		t.packages = newPackages(t.host)
	}
	ps := t.packages
	if ps.db == nil {
		return false, nil
	}
	before := len(t.host.added)
	var programs, libraries []string
	for ; ps.known < len(t.order); ps.known++ {
		programs = append(programs, t.order[ps.known].file)
	}
	for ; ps.linked < len(t.linker.order); ps.linked++ {
		libraries = append(libraries, t.linker.order[ps.linked])
	}
	owners, err := ps.db.owners(ctx, slices.Concat(programs, libraries))
	if err != nil {
		return false, err
	}
	for _, file := range programs {
		if p := owners[file]; p != nil && p.kind != basePackage {
			if err := t.own(ctx, p); err != nil {
				return false, err
			}
		}
	}
	for _, file := range libraries {
		if p := owners[file]; p != nil {
			if err := t.dependencies(ctx, p); err != nil {
				return false, err
			}
		}
	}
	return len(t.host.added) > before, nil
}

// own takes a package's files, and its dependencies'.
func (t *tools) own(ctx context.Context, p *pkg) error {
	if t.packages.done[p] {
		return nil
	}
	t.packages.done[p] = true
	if err := t.takePackage(ctx, p); err != nil {
		return err
	}
	return t.dependencies(ctx, p)
}

// dependencies takes the packages of data that p depends on, and its sisters'.
func (t *tools) dependencies(ctx context.Context, p *pkg) error {
	ps := t.packages
	deps, err := ps.db.depends(ctx, p)
	if err != nil {
		return err
	}
	for _, dep := range deps {
		if ps.done[dep] || dep.kind == basePackage || dep.kind == uselessPackage {
			continue
		}
		sister := dep.source == p.source && (ps.done[p] || dep.kind != libraryPackage)
		if !sister && !dep.data {
			continue
		}
		size, err := t.sizeOfPackage(dep)
		if err != nil {
			return err
		}
		if sister {
			size = 0
		}
		if size > ps.left {
			t.note(fmt.Sprintf("package %s, which %s depends on, is left out: such packages are bound to %d MB; name its files in include if they are needed",
				dep.name, p.name, maxData>>20))
			continue
		}
		ps.left -= size
		if err := t.own(ctx, dep); err != nil {
			return err
		}
	}
	return nil
}

// idle are directories whose files a program does not open while it works: other programs, what
// is for people, and what a running system needs.
var idle = []string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/games/", "/boot/", "/var/", "/run/", "/lib/systemd/", "/usr/lib/systemd/",
	"/lib/udev/", "/usr/lib/udev/", "/lib/modules/", "/usr/lib/debug/", "/usr/include/", "/usr/src/", "/usr/lib/tmpfiles.d/", "/usr/lib/sysusers.d/",
	"/usr/share/doc/", "/usr/share/doc-base/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/lintian/", "/usr/share/bug/",
	"/usr/share/bash-completion/", "/usr/share/zsh/", "/usr/share/fish/", "/usr/share/applications/", "/usr/share/icons/", "/usr/share/pixmaps/",
	"/usr/share/metainfo/", "/usr/share/appdata/", "/usr/share/menu/", "/usr/share/gtk-doc/", "/usr/share/help/", "/usr/share/gnome/",
	"/usr/share/binfmts/", "/usr/share/apport/", "/usr/share/debconf/", "/usr/share/fonts/", "/usr/share/zoneinfo/",
	"/etc/init.d/", "/etc/init/", "/etc/cron", "/etc/systemd/", "/etc/default/", "/etc/logrotate.d/", "/etc/apparmor", "/etc/pam.d/", "/etc/sudoers",
	"/etc/apt/", "/etc/kernel/", "/etc/ufw/", "/etc/skel/", "/etc/bash_completion.d/", "/etc/X11/", "/etc/alternatives/"}

// files returns the paths of a package that are worth taking.
func (ps *packages) files(p *pkg) ([]string, error) {
	all, err := ps.db.files(p)
	return slices.DeleteFunc(all, func(f string) bool {
		return !path.IsAbs(f) || slices.ContainsFunc(idle, func(dir string) bool { return strings.HasPrefix(f, dir) })
	}), err
}

// sizeOfPackage returns the bytes of what takePackage would take.
func (t *tools) sizeOfPackage(p *pkg) (sum int64, err error) {
	files, err := t.packages.files(p)
	for _, f := range files {
		if fi, err := t.host.stat(f); err == nil && fi.Mode().IsRegular() {
			sum += fi.Size()
		}
	}
	return sum, err
}

// takePackage takes the files and links of a package, as far as everybody may read them.
func (t *tools) takePackage(ctx context.Context, p *pkg) error {
	files, err := t.packages.files(p)
	if err != nil {
		return err
	}
	opt := takeOptions{lenient: true, public: true, tidy: true}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		fi, err := t.host.stat(f)
		if err != nil || !fi.Mode().IsRegular() || opt.skips(f) {
			continue
		}
		if err := opt.excuse(ignoreAbsent(t.host.take(f, opt))); err != nil {
			return err
		}
	}
	return nil
}
