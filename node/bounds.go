package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gaggle/wire"
)

// ownOnly reports whether only tasks of the node's own tenants are taken: others' could use up the
// memory of the machine.
func (n *node) ownOnly() bool { return !n.settings.Unbounded && !n.engine.BoundsMemory() }

func (n *node) takes() func(wire.Space) bool {
	if !n.ownOnly() {
		return nil
	}
	return func(s wire.Space) bool {
		c := n.host.Certificate()
		return c != nil && slices.Contains(c.Tenants, s)
	}
}

// ownTenants names them.
func (n *node) ownTenants() string {
	var names []string
	if c := n.host.Certificate(); c != nil {
		for _, t := range c.Tenants {
			names = append(names, string(t))
		}
	}
	return cmp.Or(strings.Join(names, ", "), "nobody")
}

// tellBounds tells people whose tasks are taken, where that is not everybody's or nothing bounds
// them.
func (n *node) tellBounds() {
	switch {
	case n.ownOnly():
		fmt.Fprintf(n.out, "the memory of tasks cannot be bounded here, so only those of %s are taken\n"+
			"(node doctor says what is missing; node --unbounded takes all)\n", n.ownTenants())
	case !n.engine.BoundsMemory():
		fmt.Fprintln(n.out, "taking tasks of all tenants, though their memory cannot be bounded here"+
			" (node doctor says why)")
	}
}
