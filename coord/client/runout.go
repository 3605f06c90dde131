package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gaggle/coord/graph"
	"gaggle/wire"
)

// writeRun puts the outputs of coord run where they belong, and prints what the commands printed
// in the order of the arguments.
func (w *writer) writeRun(ctx context.Context, rec *record, targets []wire.Target) error {
	order := func(t wire.Target) (number, index int) {
		text, _, _ := strings.Cut(t.Path, "/")
		if rec.Run.Gang > 1 {
			index = atoi(path.Base(t.Path))
		}
		return atoi(text), index
	}
	slices.SortStableFunc(targets, func(a, b wire.Target) int {
		an, ai := order(a)
		bn, bi := order(b)
		return cmp.Or(an-bn, ai-bi)
	})
	return w.each(targets, func(t wire.Target) error {
		number, output, _ := strings.Cut(t.Path, "/")
		to := ""
		if rec.Run.Gang > 1 {
			to = peerName(atoi(number)) + "-" + path.Base(output)
			output = path.Dir(output)
		}
		var err error
		switch {
		case output == wire.Stdout:
			err = w.print(t.Held.Object)
		case rec.Run.Out != "":
			err = w.write(ctx, t.Held.Object, path.Join(to, output))
		default:
			err = w.writeNew(ctx, rec, number, t.Held.Object, "", to)
		}
		if err != nil {
			return fmt.Errorf("writing what %s gave: %w", rec.Run.kind(), err)
		}
		return nil
	})
}

// atoi reads a number of our own making; 0 if it is none.
func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// given notes the inputs of the tasks of coord run, by number and path in the working directory,
// so that a file that a command left alone is told from one that it made or changed.
func given(p *graph.Plan, numbers []string) map[string]string {
	g := map[string]string{}
	for i, t := range p.Thunks {
		for _, in := range t.Inputs {
			if rest, ok := strings.CutPrefix(in.Path, workDir+"/"); ok {
				g[numbers[i]+"/"+rest] = in.Object.CID()
			}
		}
	}
	return g
}

// was returns the CID of what lay at a path before the command ran, "" if nothing did.
func (w *writer) was(given map[string]string, number, p string) (string, error) {
	if cid, ok := given[number+"/"+p]; ok {
		return cid, nil
	}
	parent := path.Dir(p)
	if parent == "." {
		return "", nil
	}
	cid, err := w.was(given, number, parent)
	if err != nil || cid == "" {
		return "", err
	}
	id, err := wire.ParseTreeID(cid)
	if err != nil {
		return "", nil // it was a file
	}
	t, err := w.store.Tree(w.space, id)
	if err != nil {
		return "", err
	}
	e, ok := t.Lookup(path.Base(p))
	if !ok {
		return "", nil
	}
	return e.Object.CID(), nil
}

// writeNew writes what a command made or changed at a path of its working directory, below the
// directory to.
func (w *writer) writeNew(ctx context.Context, rec *record, number string, dir wire.Object, at, to string) error {
	t, err := w.store.Tree(w.space, wire.TreeID(dir.Digest))
	if err != nil {
		return err
	}
	for _, e := range t.Entries {
		p := path.Join(at, e.Name)
		before, err := w.was(rec.Given, number, p)
		switch {
		case err != nil:
		case before != "" && before == e.Object.CID():
			continue
		case e.Object.Kind == wire.Dir:
			err = w.writeNew(ctx, rec, number, e.Object, p, to)
		case e.Object.Kind == wire.Symlink:
			err = w.link(e.Target, path.Join(to, p))
		default:
			err = w.write(ctx, e.Object, path.Join(to, p))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link makes a symbolic link, which an output has only within itself, unless something is there.
func (w *writer) link(target, p string) error {
	root, err := os.OpenRoot(w.out)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Symlink(target, filepath.FromSlash(p)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	w.files++
	return nil
}

// print sends a blob to the command's standard output.
func (w *writer) print(o wire.Object) error {
	blob, err := w.store.Open(w.space, o.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	buf := make([]byte, inputChunk)
	for {
		n, err := blob.Read(buf)
		if n > 0 {
			w.tell(&Event{Output: &Output{Data: slices.Clone(buf[:n])}})
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
