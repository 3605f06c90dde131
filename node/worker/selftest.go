package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"gaggle/blobstore"
	"gaggle/sandbox"
	"gaggle/sandbox/capture"
	"gaggle/wire"
)

// selfTestSpace is the space of SelfTest's objects, which nobody else sees.
const selfTestSpace wire.Space = "selftest"

// SelfTest runs a thunk as a node would, below dir, where it leaves nothing: a shell of this
// machine is captured into a store, laid out, run in a slot, and its output stored. The error says
// which of that does not work.
func SelfTest(ctx context.Context, dir string) (err error) {
	dir, err = os.MkdirTemp(dir, "selftest-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeStore(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as a node's state directory
		return err
	}
	engine, err := sandbox.New(sandbox.Config{Dir: filepath.Join(dir, "scratch"), Slots: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	store, err := blobstore.Open(filepath.Join(dir, "store"), blobstore.Options{})
	if err != nil {
		return fmt.Errorf("opening a store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	t, err := selfTestThunk(ctx, store)
	if err != nil {
		return err
	}
	spec, release, err := LayOut(ctx, store, selfTestSpace, t)
	if err != nil {
		return err
	}
	defer release()
	spec.Sink = &storeSink{store: store, space: selfTestSpace, shown: new(phase)}
	r, err := engine.Run(ctx, spec)
	if err != nil {
		return err
	}
	return selfTestResult(store, &r)
}

const selfTestText = "a thunk ran"

func selfTestThunk(ctx context.Context, store *blobstore.Store) (*wire.Thunk, error) {
	sink := &storeSink{store: store, space: selfTestSpace, shown: new(phase)}
	root, err := capture.Tools(ctx, []string{"sh"}, capture.Options{Path: sandbox.DefaultPath}, sink)
	if err != nil {
		return nil, fmt.Errorf("capturing a shell: %w", err)
	}
	return wire.NewThunk(wire.Thunk{
		Command: []string{"sh", "-eu", "-c", "echo " + selfTestText + " >out"}, Root: wire.TreeID(root.Object.Digest),
		Outputs:  []wire.Output{{Path: "out", Kind: wire.File}},
		Platform: runtime.GOOS + "/" + runtime.GOARCH, ABI: wire.ABI,
	})
}

func selfTestResult(store *blobstore.Store, r *sandbox.Report) error {
	if f := r.Failure; f != nil {
		return wire.Errorf(f.Cause, f.Hint, "the thunk failed: %s", f.Message)
	}
	b, err := store.Open(selfTestSpace, r.Outputs[0].Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	text, err := io.ReadAll(b)
	if err == nil && string(text) != selfTestText+"\n" {
		err = fmt.Errorf("the thunk wrote %q, want %q", text, selfTestText+"\n")
	}
	return err
}

// removeStore removes a directory with a store in it, which has read-only directories.
func removeStore(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}
