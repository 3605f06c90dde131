// Package programs is a table of ordinary programs and of what each prints. Tests capture them
// from this machine and run them where nothing else is: in a sandbox, and on a node whose host has
// no program at all. The table's form stands at the top of programs.txtar.
package programs

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// A Program is a row of the table.
type Program struct {
	Name  string   // unique
	Tools []string // what is captured
	Run   string   // for sh -eu
	Want  string   // what Run prints

	prepare string // for sh -eu
	path    []string
	dir     string
}

//go:embed programs.txtar
var table []byte

// All returns the table's rows in its order. It panics if the table is malformed.
func All() []*Program {
	var all []*Program
	for _, f := range txtar.Parse(table).Files {
		row, column, _ := strings.Cut(f.Name, "/")
		if len(all) == 0 || all[len(all)-1].Name != row {
			if slices.ContainsFunc(all, func(p *Program) bool { return p.Name == row }) {
				panic("the rows of " + row + " are not together")
			}
			all = append(all, &Program{Name: row})
		}
		all[len(all)-1].set(column, string(f.Data))
	}
	return all
}

func (p *Program) set(column, text string) {
	switch column {
	case "tools":
		p.Tools = strings.Fields(text)
	case "prepare":
		p.prepare = text
	case "path":
		p.path = strings.Fields(text)
	case "dir":
		p.dir = strings.TrimSpace(text)
	case "run":
		p.Run = text
	case "want":
		p.Want = strings.TrimRight(text, "\n") + "\n" // without empty lines before the next row
	default:
		panic(p.Name + " has an unknown column " + column)
	}
}

// systemPath are the directories of the system's programs. They come before $PATH: a developer's
// own Python may have gigabytes of packages.
const systemPath = "/usr/local/bin:/usr/bin:/bin"

// Path is the $PATH of somebody who uses the program, which was prepared in dir.
func (p *Program) Path(dir string) string {
	var dirs []string
	for _, d := range p.path {
		dirs = append(dirs, filepath.Join(dir, d))
	}
	return strings.Join(append(dirs, systemPath, os.Getenv("PATH")), ":")
}

// Dir is the directory that such a one works in.
func (p *Program) Dir(dir string) string { return filepath.Join(dir, p.dir) }

// Plain reports whether the program is this machine's as it is: dir is of no importance.
func (p *Program) Plain() bool { return p.path == nil && p.dir == "" }

// skipExit is how a prepare script says that it cannot, as in automake.
const skipExit = 77

// Prepare makes what the program needs on this machine in the empty directory dir, which must be
// one that a root may have: not below /tmp. why is not empty if this machine lacks something.
func (p *Program) Prepare(dir string) (why string, err error) {
	c := exec.Command("sh", "-eu", "-c", p.prepare)
	c.Dir, c.Env = dir, append(os.Environ(), "PATH="+p.Path(dir), "PWD="+dir)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == skipExit {
		return strings.TrimSpace(string(out)), nil
	}
	if err != nil {
		return "", fmt.Errorf("preparing %s: %w\n%s", p.Name, err, out)
	}
	for _, tool := range p.Tools {
		if p.Where(dir, tool) == "" {
			return tool + " is not installed", nil
		}
	}
	return "", nil
}

// Where returns the file that a tool's name stands for, "" if there is none.
func (p *Program) Where(dir, tool string) string {
	for _, d := range filepath.SplitList(p.Path(dir)) {
		file := filepath.Join(d, tool)
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0 {
			return file
		}
	}
	return ""
}
