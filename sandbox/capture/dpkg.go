package capture

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

// A dpkg is the database of a Debian-like system, read from its files.
type dpkg struct {
	host   *host
	byName map[string]*pkg // and by name:architecture
	owner  map[string]*pkg // of the files that were asked for; nil for none
}

const (
	dpkgStatus = "/var/lib/dpkg/status"
	dpkgInfo   = "/var/lib/dpkg/info"
	// maxDpkg bounds what is read of one file of the database: a desktop's status has 5 MiB.
	maxDpkg = 64 << 20
)

// newDpkg reads the list of packages; nil if there is none.
func newDpkg(h *host) *dpkg {
	f, err := os.Open(h.prefix + dpkgStatus)
	if err != nil {
		return nil
	}
	defer f.Close()
	d := &dpkg{host: h, byName: map[string]*pkg{}, owner: map[string]*pkg{}}
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
	d.byName[p.name] = p
	d.byName[p.name+":"+p.arch] = p
}

// sections are those whose packages are of a kind.
var sections = map[string]pkgKind{"libs": libraryPackage, "doc": uselessPackage, "admin": uselessPackage}

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
		p.arch, p.data = value, value == "all"
	case "Section":
		if p.kind == plainPackage {
			p.kind = sections[value]
		}
	case "Essential":
		if value == "yes" {
			p.kind = basePackage
		}
	case "Depends", "Pre-Depends":
		for _, dep := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == '|' }) {
			dep, _, _ = strings.Cut(strings.TrimSpace(dep), " ")
			dep, _, _ = strings.Cut(dep, ":")
			p.needs = append(p.needs, dep)
		}
	}
}

// depends returns what is installed of what p names.
func (d *dpkg) depends(_ context.Context, p *pkg) (deps []*pkg, _ error) {
	for _, name := range p.needs {
		if dep := d.byName[name]; dep != nil {
			deps = append(deps, dep)
		}
	}
	return deps, nil
}

// owners looks for files in the lists of all packages. One may have its file by the name from
// before /bin and /lib were links into /usr.
func (d *dpkg) owners(_ context.Context, files []string) (map[string]*pkg, error) {
	wanted := map[string]string{} // by the name a list may have
	for _, f := range files {
		if _, known := d.owner[f]; known {
			continue
		}
		d.owner[f] = nil
		wanted[f] = f
		if old, ok := strings.CutPrefix(f, "/usr"); ok {
			wanted[old] = f
		}
	}
	if len(wanted) == 0 {
		return d.owner, nil
	}
	entries, err := os.ReadDir(d.host.prefix + dpkgInfo)
	if err != nil {
		return d.owner, ignoreAbsent(err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".list")
		p := d.byName[name]
		if !ok || p == nil {
			continue
		}
		text, err := os.ReadFile(path.Join(d.host.prefix+dpkgInfo, e.Name()))
		if err != nil {
			return d.owner, ignoreAbsent(err)
		}
		for line := range bytes.Lines(text) {
			if f, ok := wanted[string(bytes.TrimSuffix(line, []byte("\n")))]; ok {
				d.owner[f] = p
			}
		}
	}
	return d.owner, nil
}

// files reads a package's list.
func (d *dpkg) files(p *pkg) ([]string, error) {
	for _, name := range []string{p.name + ":" + p.arch, p.name} {
		text, err := d.host.readFile(path.Join(dpkgInfo, name+".list"), maxDpkg)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return strings.Split(string(text), "\n"), nil
	}
	return nil, nil
}
