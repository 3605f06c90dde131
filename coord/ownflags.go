//go:build unix

package main

import (
	"os"
	"slices"
	"strings"

	"gaggle/coord/client"
	"gaggle/wire"
)

// firstFlags takes coord's flags off the beginning of the arguments of a compiler.
func (a *app) firstFlags(args []string) ([]string, error) {
	n := 0
	for n < len(args) && (args[n] == "--local" || args[n] == "--portable" || strings.HasPrefix(args[n], "--mesh") || strings.HasPrefix(args[n], "--state")) {
		if args[n] == "--mesh" || args[n] == "--state" {
			n++
		}
		n++
	}
	_, _, err := a.ownFlags(args[:min(n, len(args))])
	return args[min(n, len(args)):], err
}

// takeFlag takes a flag without a value out.
func takeFlag(args []string, flag string) (rest []string, set bool) {
	rest = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == flag })
	return rest, len(rest) < len(args)
}

// ownFlags takes coord's flags out of the arguments of a command that passes others on.
func (a *app) ownFlags(args []string) (rest []string, help bool, err error) {
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		var to *string
		switch name {
		case "--local":
			a.local = true
			continue
		case "--portable":
			if err := os.Setenv(client.PortableVar, "1"); err != nil {
				return nil, false, err
			}
			continue
		case "--help", "-h": // of make -h is --help, too
			return nil, true, nil
		case "--mesh":
			to = &a.mesh
		case "--state":
			to = &a.state
		case "--models":
			to = &a.models
		default:
			rest = append(rest, args[i])
			continue
		}
		if !joined {
			if i++; i == len(args) {
				return nil, false, wire.Errorf(wire.CauseInvalid, "as in "+name+"=VALUE", "%s needs a value", name)
			}
			value = args[i]
		}
		*to = value
	}
	return rest, false, nil
}
