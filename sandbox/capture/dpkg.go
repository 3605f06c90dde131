package capture

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// A dpkg knows the packages of a Debian-like system, from its database's files. Of other systems
// (rpm) nothing is known: there the families alone tell what belongs to a program.
type dpkg struct {
	host     *host
	packages map[string]*pkg // by name, and by name:architecture
	owners   map[string]*pkg // of the files that were asked for; nil for none
	done     map[*pkg]bool   // whose files were taken
	known    int             // of tools.order, whose packages were taken
	linked   int             // of linker.order, likewise
	left     int64           // bytes of data that dependencies may still bring
}

// A pkg is an installed package.
type pkg struct {
	name, source, arch, section string
	essential                   bool
	depends                     []string // names; of alternatives each
}

const (
	dpkgStatus = "/var/lib/dpkg/status"
	dpkgInfo   = "/var/lib/dpkg/info"
	// maxDpkg bounds what is read of one file of the database: a desktop's status has 5 MiB.
	maxDpkg = 64 << 20
	// maxData bounds the data that the dependencies of all programs bring: X11's, ALSA's and
	// Ghostscript's have a few MB each, while what has more (games, LaTeX) is rarely needed whole.
	maxData = 64 << 20
)

// packages takes, of each program that a package owns, what else that package has but for
// programs and documentation; and of the packages that it or one of its libraries depends on,
// those of the same source and those of data alone. It reports whether that was anything new.
// Libraries come by the headers that name them; packages that every system has (Essential) bring
// nothing, for their programs need nothing.
func (t *tools) packages(ctx context.Context) (more bool, err error) {
	if t.dpkg == nil {
		t.dpkg = newDpkg(t.host)
	}
	d := t.dpkg
	if d.packages == nil {
		return false, nil
	}
	before := len(t.host.added)
	var programs, libraries []string
	for ; d.known < len(t.order); d.known++ {
		programs = append(programs, t.order[d.known].file)
	}
	for ; d.linked < len(t.linker.order); d.linked++ {
		libraries = append(libraries, t.linker.order[d.linked])
	}
	if err := d.find(slices.Concat(programs, libraries)); err != nil {
		return false, err
	}
	for _, file := range programs {
		if p := d.owners[file]; p != nil && !p.essential {
			if err := t.own(ctx, p); err != nil {
				return false, err
			}
		}
	}
	for _, file := range libraries {
		if p := d.owners[file]; p != nil {
			if err := t.dependencies(ctx, p); err != nil {
				return false, err
			}
		}
	}
	return len(t.host.added) > before, nil
}

// own takes a package's files, and its dependencies'.
func (t *tools) own(ctx context.Context, p *pkg) error {
	if t.dpkg.done[p] {
		return nil
	}
	t.dpkg.done[p] = true
	if err := t.takePackage(ctx, p); err != nil {
		return err
	}
	return t.dependencies(ctx, p)
}

// dependencies takes the packages of data that p depends on, and its sisters'.
func (t *tools) dependencies(ctx context.Context, p *pkg) error {
	d := t.dpkg
	for _, name := range p.depends {
		dep := d.packages[name]
		if dep == nil || d.done[dep] || dep.essential || dep.section == "doc" || dep.section == "admin" {
			continue
		}
		sister := dep.source == p.source && (d.done[p] || dep.section != "libs")
		if !sister && dep.arch != "all" {
			continue
		}
		size, err := d.size(dep)
		if err != nil {
			return err
		}
		if sister {
			size = 0
		}
		if size > d.left {
			t.note(fmt.Sprintf("package %s, which %s depends on, is left out: such packages are bound to %d MB; name its files in include if they are needed",
				dep.name, p.name, maxData>>20))
			continue
		}
		d.left -= size
		if err := t.own(ctx, dep); err != nil {
			return err
		}
	}
	return nil
}

func newDpkg(h *host) *dpkg {
	d := &dpkg{host: h, owners: map[string]*pkg{}, done: map[*pkg]bool{}, left: maxData}
	f, err := os.Open(h.prefix + dpkgStatus)
	if err != nil {
		return d
	}
	defer f.Close()
	d.packages = map[string]*pkg{}
	p := new(pkg)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a Conffiles or Depends of real packages has some kilobytes
	for read := 0; lines.Scan() && read < maxDpkg; read += len(lines.Bytes()) + 1 {
		if line := lines.Text(); line != "" {
			p.field(line)
			continue
		}
		d.add(p)
		p = new(pkg)
	}
	d.add(p)
	return d
}

func (d *dpkg) add(p *pkg) {
	if p.name == "" {
		return
	}
	if p.source == "" {
		p.source = p.name
	}
	d.packages[p.name] = p
	d.packages[p.name+":"+p.arch] = p
}

// field reads one line of a package's entry.
func (p *pkg) field(line string) {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch name {
	case "Package":
		p.name = value
	case "Source":
		p.source, _, _ = strings.Cut(value, " ")
	case "Architecture":
		p.arch = value
	case "Section":
		p.section = value
	case "Essential":
		p.essential = value == "yes"
	case "Depends", "Pre-Depends":
		for _, dep := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == '|' }) {
			dep, _, _ = strings.Cut(strings.TrimSpace(dep), " ")
			dep, _, _ = strings.Cut(dep, ":")
			p.depends = append(p.depends, dep)
		}
	}
}

// find fills in the owners of canonical paths. A package may have its file by the name from
// before /bin and /lib were links into /usr.
func (d *dpkg) find(files []string) error {
	wanted := map[string]string{} // by the name a list may have
	for _, f := range files {
		if _, known := d.owners[f]; known {
			continue
		}
		d.owners[f] = nil
		wanted[f] = f
		if old, ok := strings.CutPrefix(f, "/usr"); ok {
			wanted[old] = f
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	entries, err := os.ReadDir(d.host.prefix + dpkgInfo)
	if err != nil {
		return ignoreAbsent(err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".list")
		p := d.packages[name]
		if !ok || p == nil {
			continue
		}
		text, err := os.ReadFile(path.Join(d.host.prefix+dpkgInfo, e.Name()))
		if err != nil {
			return ignoreAbsent(err)
		}
		for line := range bytes.Lines(text) {
			if f, ok := wanted[string(bytes.TrimSuffix(line, []byte("\n")))]; ok {
				d.owners[f] = p
			}
		}
	}
	return nil
}

// list returns the paths of a package that are worth taking.
func (d *dpkg) list(p *pkg) ([]string, error) {
	for _, name := range []string{p.name + ":" + p.arch, p.name} {
		text, err := d.host.readFile(path.Join(dpkgInfo, name+".list"), maxDpkg)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var files []string
		for f := range strings.Lines(string(text)) {
			if f = strings.TrimSuffix(f, "\n"); path.IsAbs(f) && !slices.ContainsFunc(idle, func(dir string) bool { return strings.HasPrefix(f, dir) }) {
				files = append(files, f)
			}
		}
		return files, nil
	}
	return nil, nil
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

// size returns the bytes of what takePackage would take.
func (d *dpkg) size(p *pkg) (sum int64, err error) {
	files, err := d.list(p)
	for _, f := range files {
		if fi, err := d.host.stat(f); err == nil && fi.Mode().IsRegular() {
			sum += fi.Size()
		}
	}
	return sum, err
}

// takePackage takes the files and links of a package, as far as everybody may read them.
func (t *tools) takePackage(ctx context.Context, p *pkg) error {
	files, err := t.dpkg.list(p)
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
