package client

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"gaggle/sandbox"
	"gaggle/wire"
)

// shells are what a root may have to type commands into, the most comfortable first.
var shells = [][]string{{"bash"}, {"zsh"}, {"sh"}, {"ash"}, {"dash"}, {"ksh"}, {"busybox", "sh"}}

// chooseShell sets the command of spec to a shell of its root. A root without one is lent this
// machine's busybox, if that needs nothing else.
func (v *shellView) chooseShell(ctx context.Context, engine *sandbox.Engine, spec *sandbox.Spec, dir string) error {
	for _, sh := range shells {
		try := sandbox.Spec{Root: spec.Root, Env: spec.Env, Argv: append(slices.Clone(sh), "-c", ":")}
		r, err := engine.Run(ctx, try)
		if err != nil {
			return err
		}
		if r.Failure == nil {
			spec.Argv = sh
			return nil
		}
	}
	return v.lendShell(spec, dir)
}

// lent is where a lent busybox lies in the job directory.
const lent = ".coord-shell"

// lendShell lays this machine's busybox out as one more input, with a link for each of its
// commands, which stand last in PATH.
func (v *shellView) lendShell(spec *sandbox.Spec, dir string) error {
	bare := func(why string) error {
		return wire.Errorf(wire.CauseNotFound, "apt install busybox-static lends it one; or run a program it has: coord shell "+quote(v.sandbox.Task)+" -- PROGRAM",
			"the root of task %s has no shell, and this machine %s", v.sandbox.Task, why)
	}
	program, err := exec.LookPath("busybox")
	switch {
	case err != nil:
		return bare("has no busybox")
	case !static(program):
		return bare("has a busybox that is not static")
	}
	list, err := exec.Command(program, "--list").Output()
	if err != nil {
		return fmt.Errorf("asking %s what it can do: %w", program, err)
	}
	box := filepath.Join(dir, "busybox")
	if err := makeBox(box, program, strings.Fields(string(list))); err != nil {
		return fmt.Errorf("preparing a shell: %w", err)
	}
	spec.Inputs = append(spec.Inputs[:len(spec.Inputs):len(spec.Inputs)], sandbox.Input{Path: lent, Source: box, Dir: true})
	spec.Argv = []string{"/job/" + lent + "/busybox", "sh"}
	path, ok := lookup(spec.Env, "PATH")
	if !ok {
		path = sandbox.DefaultPath
	}
	spec.Env = with(spec.Env, "PATH", path+":/job/"+lent)
	_, err = fmt.Fprintf(v.err, "The root has no shell: this is %s of this machine, with its commands in /job/%s, which the task does not have.\n", program, lent)
	return err
}

// makeBox makes the directory of a busybox and the names it goes by.
func makeBox(box, program string, names []string) error {
	if err := os.Mkdir(box, 0o755); err != nil {
		return err
	}
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(filepath.Join(box, "busybox"), b, 0o755)
	}
	for _, name := range names {
		if err == nil && name != "busybox" && filepath.IsLocal(name) && !strings.Contains(name, "/") {
			err = os.Symlink("busybox", filepath.Join(box, name))
		}
	}
	return err
}

// static reports whether a program is an ELF file that needs no interpreter.
func static(program string) bool {
	f, err := elf.Open(program)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

func lookup(env []string, name string) (value string, ok bool) {
	for _, e := range env {
		if value, ok = strings.CutPrefix(e, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// with returns an environment in which a variable has a value.
func with(env []string, name, value string) []string {
	all := slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, name+"=") })
	return append(all, name+"="+value)
}
