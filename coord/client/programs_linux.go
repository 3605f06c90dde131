package client

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gaggle/coord/gate"
	"gaggle/coord/placeholder"
)

// Programs decides which programs of a build wait for the calls that were deferred before them. A recipe
// may rely on what was made before it began, so that its first program waits, unless it looks neither at
// files nor at how a call ended; what a recipe starts in turn has nothing more to wait for, unless that
// comes after another make.
type Programs struct {
	shim fs.FileInfo
	wait func(context.Context) bool // for all calls so far; false is that one has failed
	kept *keeper                    // nil unless the build is lazy

	mu     sync.Mutex   // guards the fields below
	plain  map[int]bool // shells with a script that does not wait
	makers map[int]bool // processes below a make of which another make has come
}

// NewPrograms returns what decides for a build whose tools are stood for by a shim. If it is lazy, files
// that programs replace or remove without waiting are kept until PutBack.
func NewPrograms(shim string, lazy bool, wait func(context.Context) bool) (*Programs, error) {
	info, err := os.Stat(shim)
	if err != nil {
		return nil, err
	}
	p := &Programs{shim: info, wait: wait, plain: map[int]bool{}, makers: map[int]bool{}}
	if lazy {
		p.kept = newKeeper(time.Now())
	}
	return p, nil
}

// Hold returns when a program may start. One that may not is ended: make, which has been told to end,
// waits for its child to start.
func (p *Programs) Hold(ctx context.Context, program gate.Program) {
	if !p.wait(ctx) {
		_ = syscall.Kill(program.PID, syscall.SIGKILL) // it may have been ended
	}
}

// Free reports whether a program need not wait.
func (p *Programs) Free(g gate.Program) bool {
	p.mu.Lock()
	delete(p.plain, g.PID) // it becomes another
	delete(p.makers, g.PID)
	p.mu.Unlock()
	info, err := os.Stat(g.Path)
	if g.Path != "" && err != nil || err == nil && os.SameFile(info, p.shim) {
		return true // it will not start; it waits if it must
	}
	parent, err := placeholder.ParentOf(g.PID)
	if err != nil {
		return false
	}
	isMake := placeholder.IsMake(filepath.Base(g.Path))
	if !placeholder.IsMake(parent.Name) {
		return isMake && p.noteMaker(parent) || !p.waits(parent) || p.blind(g)
	}
	if script, ok := scriptOf(filepath.Base(g.Path), g.Words); ok && plainScript(script) {
		p.mu.Lock()
		p.plain[g.PID] = true
		p.mu.Unlock()
		return true
	}
	return isMake || p.blind(g)
}

// noteMaker notes that a make comes of a process.
func (p *Programs) noteMaker(parent placeholder.Process) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range maxDepth {
		if parent.PID <= 1 || placeholder.IsMake(parent.Name) || parent.PID == os.Getpid() {
			break
		}
		p.makers[parent.PID] = true
		var err error
		if parent, err = placeholder.ParentOf(parent.PID); err != nil {
			break
		}
	}
	return true
}

// waits reports whether what a process starts, which is no make, has to wait.
func (p *Programs) waits(parent placeholder.Process) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plain[parent.PID] {
		return true
	}
	for range maxDepth {
		if len(p.makers) == 0 || parent.PID <= 1 || placeholder.IsMake(parent.Name) {
			return false
		}
		if p.makers[parent.PID] {
			return true
		}
		var err error
		if parent, err = placeholder.ParentOf(parent.PID); err != nil {
			return true
		}
	}
	return true
}

// blind reports whether a program is a harmless one that does nothing to files but such as
// are still to be made, or can be made again, or are kept.
func (p *Programs) blind(g gate.Program) bool {
	name := filepath.Base(g.Path)
	if !slices.Contains(harmless, name) {
		return false
	}
	var options, operands []string
	for _, w := range g.Words[min(1, len(g.Words)):] {
		if strings.HasPrefix(w, "-") {
			options = append(options, w)
		} else {
			operands = append(operands, w)
		}
	}
	var lost []string // what is not there any more afterwards
	switch name {
	case "mv": // the last is what it makes, if no option names a directory
		if slices.ContainsFunc(options, namesDirectory) || len(operands) == 0 {
			return false
		}
		lost, operands = operands[len(operands)-1:], operands[:len(operands)-1]
	case "ln": // another name of what is not made would be there when that is removed
		if !slices.ContainsFunc(options, symbolic) || slices.ContainsFunc(options, namesDirectory) || len(operands) == 0 {
			return false
		}
		lost, operands = operands[len(operands)-1:], operands[:len(operands)-1]
	case "chmod":
		if p.kept != nil {
			return false // whoever makes it later does not do so
		}
		operands = operands[min(1, len(operands)):]
	case "rm":
		lost = operands
		operands = slices.DeleteFunc(slices.Clone(operands), remade)
	default:
		return true
	}
	whole := func(name string) bool { return !unmade(g.PID, name) }
	if g.Words == nil || len(g.Words) == gate.MaxWords || slices.ContainsFunc(operands, whole) {
		return false
	}
	return p.keeps(g.PID, lost)
}

// keeps keeps files of a lazy build which a process is about to replace or remove. False says that the
// process has to wait instead.
func (p *Programs) keeps(pid int, files []string) bool {
	if p.kept == nil {
		return true
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	for _, f := range files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(dir, f)
		}
		if !unmade(pid, f) && p.kept.keep(f) != nil {
			return false
		}
	}
	return true
}

// PutBack gives the files that are kept their names again, if nothing else has them.
func (p *Programs) PutBack() error {
	if p.kept == nil {
		return nil
	}
	return p.kept.putBack()
}

// symbolic reports whether an option of ln is -s, or --symbolic shortened or not.
func symbolic(option string) bool {
	return strings.HasPrefix(option, "--sy") || !strings.HasPrefix(option, "--") && strings.Contains(option, "s")
}

// namesDirectory reports whether an option of mv or ln is -t, or --target-directory shortened or not.
func namesDirectory(option string) bool {
	return strings.HasPrefix(option, "--t") || !strings.HasPrefix(option, "--") && strings.Contains(option, "t")
}

// remade reports whether a file is by its name one that tools make: what is lost of it make makes anew.
func remade(name string) bool {
	return slices.Contains([]string{".a", ".d", ".la", ".lo", ".o", ".so"}, filepath.Ext(name))
}

// unmade reports whether a file, as a process calls it, is still to be made, as far as can be told
// without opening it.
func unmade(pid int, name string) bool {
	if !filepath.IsAbs(name) {
		name = fmt.Sprintf("/proc/%d/cwd/%s", pid, name)
	}
	info, err := os.Stat(name)
	return err != nil || placeholder.MayBe(info)
}
