package worker

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"gaggle/wire"
)

// differ compares the value of a thunk that was run again with the one that the offer expects. It
// returns nil if they are equal, else a failure that names the first output, file and byte.
func (w *Worker) differ(l *lease, v *wire.Value) *wire.Failure {
	for i, o := range l.thunk.Outputs {
		if i >= len(l.Expect) || i >= len(v.Outputs) {
			break
		}
		first, second := l.Expect[i], v.Outputs[i]
		if first.Object == second {
			continue
		}
		f := &wire.Failure{Cause: wire.CauseNondeterministic, Message: fmt.Sprintf("output %q differs", o.Path)}
		where, err := w.locate(l, first, second)
		if err != nil {
			f.Message += fmt.Sprintf(" (where cannot be told: %v)", err)
		} else {
			f.Message = fmt.Sprintf("output %q: %s", o.Path, where)
		}
		return f
	}
	return nil
}

// locate says where two objects differ, of which the second is here.
func (w *Worker) locate(l *lease, first wire.Held, second wire.Object) (string, error) {
	o := first.Object
	if o.Kind == wire.Graph { // a file for those who move it
		o.Kind = wire.File
	}
	missing, err := w.cfg.Store.Missing(l.Space, o)
	if err == nil && len(missing) > 0 {
		first.Peers = first.Peers[:min(len(first.Peers), wire.MaxHolders)]
		err = w.fetchFrom(l.ctx, l, []wire.Held{{Object: o, Peers: first.Peers}})
	}
	if err != nil {
		return "", err
	}
	c := comparison{ctx: l.ctx, store: w.cfg.Store, space: l.Space}
	return c.objects("it", first.Object, second, 0)
}

// A comparison finds the first difference between objects that are both in the store.
type comparison struct {
	ctx   context.Context
	store storeObjects
	space wire.Space
}

// objects says how a and b, both at path, differ.
func (c *comparison) objects(path string, a, b wire.Object, depth int) (string, error) {
	switch {
	case a.Kind == wire.Dir && b.Kind == wire.Dir && depth <= wire.MaxTreeDepth:
		return c.trees(path, wire.TreeID(a.Digest), wire.TreeID(b.Digest), depth)
	case isFile(a.Kind) && isFile(b.Kind) && a.Digest != b.Digest:
		return c.files(path, a.Digest, b.Digest)
	}
	return fmt.Sprintf("%s is %s the first time, %s the second", path, kindText(a.Kind), kindText(b.Kind)), nil
}

func isFile(k wire.Kind) bool { return k == wire.File || k == wire.Exec || k == wire.Graph }

func kindText(k wire.Kind) string {
	switch k {
	case wire.File:
		return "a file"
	case wire.Exec:
		return "an executable file"
	case wire.Dir:
		return "a directory"
	case wire.Graph:
		return "a graph"
	}
	return "a symbolic link"
}

func (c *comparison) trees(path string, a, b wire.TreeID, depth int) (string, error) {
	first, err := c.store.Tree(c.space, a)
	if err != nil {
		return "", err
	}
	second, err := c.store.Tree(c.space, b)
	if err != nil {
		return "", err
	}
	x, y := first.Entries, second.Entries
	for len(x) > 0 && len(y) > 0 && x[0] == y[0] {
		x, y = x[1:], y[1:]
	}
	at := func(name string) string {
		if path == "it" {
			return name
		}
		return path + "/" + name
	}
	switch {
	case len(x) == 0 && len(y) == 0:
		return "", fmt.Errorf("directory %s has one content and two names", path)
	case len(y) == 0 || len(x) > 0 && x[0].Name < y[0].Name:
		return at(x[0].Name) + " is missing the second time", nil
	case len(x) == 0 || y[0].Name < x[0].Name:
		return at(y[0].Name) + " is there the second time only", nil
	case x[0].Object.Kind == wire.Symlink && y[0].Object.Kind == wire.Symlink:
		return fmt.Sprintf("%s leads to %q the first time, to %q the second", at(x[0].Name), x[0].Target, y[0].Target), nil
	}
	return c.objects(at(x[0].Name), x[0].Object, y[0].Object, depth+1)
}

// shownBytes is how much of each file is shown where they differ.
const shownBytes = 16

func (c *comparison) files(path string, a, b wire.Digest) (string, error) {
	first, err := c.store.Open(c.space, a)
	if err != nil {
		return "", err
	}
	defer first.Close()
	second, err := c.store.Open(c.space, b)
	if err != nil {
		return "", err
	}
	defer second.Close()
	x, y := bufio.NewReader(first), bufio.NewReader(second)
	for offset := int64(0); ; offset++ {
		if offset%(1<<20) == 0 && c.ctx.Err() != nil {
			return "", context.Cause(c.ctx)
		}
		p, errX := x.ReadByte()
		q, errY := y.ReadByte()
		switch {
		case errX == nil && errY == nil && p == q:
			continue
		case errX != nil && errX != io.EOF:
			return "", errX
		case errY != nil && errY != io.EOF:
			return "", errY
		case errX != nil && errY != nil:
			return "", fmt.Errorf("file %s has one content and two names", path)
		}
		return fmt.Sprintf("%s differs from byte %d on: %s the first time, %s the second", path, offset,
			from(x, errX), from(y, errY)), nil
	}
}

// from shows what a file has from the byte that was read last; err tells if there was none.
func from(r *bufio.Reader, err error) string {
	if err != nil {
		return "the end"
	}
	if err := r.UnreadByte(); err != nil {
		return "something"
	}
	b, _ := r.Peek(shownBytes) // fewer at the end of the file
	return fmt.Sprintf("%q", b)
}
