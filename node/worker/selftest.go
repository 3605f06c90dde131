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

// Main must be called in main of every binary that calls SelfTest, after sandbox.Main. In the
// thunk of a SelfTest it does not return; else it does nothing.
func Main() {
	if len(os.Args) != 2 || os.Args[0] != selfTestCommand[0] || os.Args[1] != selfTestCommand[1] {
		return
	}
	if err := os.WriteFile(selfTestOutput, []byte(selfTestText+"\n"), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// SelfTest runs a thunk as a node would, below dir, where it leaves nothing: a shell of this
// machine or, where there is none, this program is captured into a store, laid out, run in a slot,
// and its output stored. The error says which of that does not work.
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
	t, err := selfTestThunk(ctx, dir, store)
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

const (
	selfTestText   = "a thunk ran"
	selfTestOutput = "out"
)

// selfTestCommand is the thunk of a SelfTest where there is no shell.
var selfTestCommand = []string{"/bin/gaggle-selftest", "selftest"}

func selfTestThunk(ctx context.Context, dir string, store *blobstore.Store) (*wire.Thunk, error) {
	sink := &storeSink{store: store, space: selfTestSpace, shown: new(phase)}
	command := []string{"sh", "-eu", "-c", "echo " + selfTestText + " >" + selfTestOutput}
	var object wire.Object
	root, err := capture.Tools(ctx, command[:1], capture.Options{Path: sandbox.DefaultPath}, sink)
	switch {
	case err == nil:
		object = root.Object
	case wire.CauseOf(err) == wire.CauseInvalid:
		command = selfTestCommand
		object, err = selfTestRoot(ctx, filepath.Join(dir, "root"), sink)
	}
	if err != nil {
		return nil, fmt.Errorf("capturing a program: %w", err)
	}
	return wire.NewThunk(wire.Thunk{
		Command: command, Root: wire.TreeID(object.Digest),
		Outputs:  []wire.Output{{Path: selfTestOutput, Kind: wire.File}},
		Platform: runtime.GOOS + "/" + runtime.GOARCH, ABI: wire.ABI,
	})
}

// selfTestRoot captures this program, which is static where it is installed, by way of a new
// directory.
func selfTestRoot(ctx context.Context, dir string, sink capture.Sink) (o wire.Object, err error) {
	file := filepath.Join(dir, selfTestCommand[0])
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return o, err
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return o, err
	}
	defer from.Close()
	to, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return o, err
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		return o, err
	}
	return capture.Dir(ctx, dir, capture.DirOptions{Root: true}, sink)
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
