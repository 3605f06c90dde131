//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/coord/infer"
	"gaggle/wire"
)

func (a *app) ccCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cc [--local | --mesh NAME] [--portable] [COMPILER] ARGS... | cc --print-dir",
		Short: "Run a compiler's call on the mesh: CC='coord cc', CXX='coord cc g++'",
		Long: `Stand for a compiler (cc, or the one named first): what it would compile is done by a node of the
mesh, or known from before; anything else the compiler does here. Files and messages are as ever.

--print-dir prints a directory with a small program by the name of each compiler on PATH, which does
the same in a tenth of the time: put it first on PATH, or name compilers in it (CC=DIR/gcc) for
configure, cmake, ninja and meson. It uses the mesh that $GAGGLE_MESH names.

--portable, or the variable $GAGGLE_PORTABLE set to 1, is for two directories with one tree: what is made
in one is known in the other. Paths in it are written from the working copy's directory (coord make
--help has more).`,
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			args, err := a.firstFlags(args)
			switch {
			case err != nil:
				return err
			case len(args) == 0:
				return c.Help()
			case args[0] == "--print-dir":
				return a.printDir()
			}
			tool := "cc"
			if infer.Tool(filepath.Base(args[0])) {
				tool, args = args[0], args[1:]
			}
			return a.compile(tool, args)
		},
	}
}

// printDir prints the directory whose compilers are shims.
func (a *app) printDir() error {
	if a.local || a.mesh != os.Getenv(client.MeshVar) {
		return wire.Errorf(wire.CauseInvalid, "set $"+client.MeshVar+" where the compilers are called", "--print-dir takes no mesh")
	}
	opt, err := a.options()
	if err != nil {
		return &result{err: err}
	}
	standIn, err := shim()
	if err != nil {
		return &result{err: err}
	}
	dir, err := client.Masquerade(opt.State, os.Getenv("PATH"), standIn)
	if err != nil {
		return &result{err: err}
	}
	fmt.Fprintln(a.out, dir)
	return nil
}

// compile becomes the shim for one call.
func (a *app) compile(tool string, args []string) error {
	opt, err := a.options()
	if err != nil {
		return &result{err: err}
	}
	standIn, err := shim()
	if err != nil {
		return &result{err: err}
	}
	socket, err := client.Wait(context.Background(), opt)
	if err != nil {
		fmt.Fprintf(a.err, "coord cc: %s runs here: %v\n", tool, err)
	}
	own := map[string]string{client.ToolsVar: socket, client.BuildVar: ""}
	if !a.local && a.mesh == os.Getenv(client.MeshVar) && socket != "" && os.Getenv(client.ToolsVar) == socket {
		own[client.BuildVar] = os.Getenv(client.BuildVar) // coord make's, whose call this is
	}
	if a.local {
		own[client.MeshVar] = client.NoMesh
	} else if a.mesh != "" {
		own[client.MeshVar] = a.mesh
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		_, set := own[name]
		return set
	})
	for name, value := range own {
		env = append(env, name+"="+value)
	}
	err = syscall.Exec(standIn, append([]string{tool}, args...), env)
	return &result{err: wire.Errorf(wire.CauseInvalid, "make build makes it, beside coord", "running %s: %v", standIn, err)}
}
