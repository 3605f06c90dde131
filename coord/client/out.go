package client

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"gaggle/coord/graph"
	"gaggle/wire"
)

// checkOut finds out, before anything runs for it, whether targets can be written below a directory,
// which may still have to be made.
func checkOut(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir:
		return checkOut(filepath.Dir(dir))
	case err != nil:
		return wire.Errorf(wire.CauseInvalid, "name another directory with --out", "targets cannot be written: %v", err)
	case !info.IsDir():
		return wire.Errorf(wire.CauseInvalid, "name a directory with --out", "targets cannot be written: %s is not a directory", dir)
	case !mayWrite(dir):
		return wire.Errorf(wire.CauseInvalid, "name another directory with --out",
			"targets cannot be written: you may not make files in %s", dir)
	}
	return nil
}

// checkTargets finds out the same of what lies in the places of the targets of a plan.
func (r *record) checkTargets(p *graph.Plan) error {
	kinds := map[wire.ThunkID]*wire.Thunk{}
	for i, id := range p.IDs {
		kinds[id] = p.Thunks[i]
	}
	parents := map[string]error{}
	for _, t := range p.Targets {
		at := t.Path
		if r.Run != nil {
			if r.Run.Out == "" || t.Output == wire.Stdout {
				continue
			}
			at = t.Output
		}
		if err := checkParents(r.Out, path.Dir(at), parents); err != nil {
			return err
		}
		dir := false
		if th := kinds[t.Thunk]; th != nil {
			i, ok := th.OutputIndex(t.Output)
			dir = ok && th.Outputs[i].Kind == wire.Dir
		}
		dst := filepath.Join(r.Out, filepath.FromSlash(at))
		info, err := os.Lstat(dst)
		switch {
		case err != nil: // it is not there
		case dir && !r.Replace:
			return wire.Errorf(wire.CauseInvalid, "say --replace, or name another --out",
				"target %s cannot be written: %s exists already", t.Path, dst)
		case !dir && info.IsDir():
			return wire.Errorf(wire.CauseInvalid, "remove it, or name another --out",
				"target %s cannot be written: %s is a directory", t.Path, dst)
		}
	}
	return nil
}

// checkParents refuses a slash-separated directory below out if it cannot be there. What was found is
// kept in known.
func checkParents(out, dir string, known map[string]error) error {
	if dir == "." {
		return nil
	}
	if err, done := known[dir]; done {
		return err
	}
	err := checkParents(out, path.Dir(dir), known)
	if err == nil {
		at := filepath.Join(out, filepath.FromSlash(dir))
		if info, statErr := os.Stat(at); statErr == nil && !info.IsDir() {
			err = wire.Errorf(wire.CauseInvalid, "remove it, or name another --out",
				"targets cannot be written: %s is not a directory", at)
		}
	}
	known[dir] = err
	return err
}
