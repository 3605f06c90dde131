package infer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gaggle/coord/infer/scan"
	"gaggle/wire"
)

// pendingStore is a store for which some files are still to be written.
type pendingStore struct {
	memoryStore
	pending []string
}

func (s pendingStore) Add(ctx context.Context, path string) (wire.Object, error) {
	if slices.Contains(s.pending, path) {
		return wire.Object{}, fmt.Errorf("%s: %w", path, ErrPending)
	}
	return s.memoryStore.Add(ctx, path)
}

// TestDraftWaitsForFiles: a call that waits for a file makes the thunk that it would have made with
// the file there, whatever the disk has by then.
func TestDraftWaitsForFiles(t *testing.T) {
	gcc := needGCC(t)
	top := realTempDir(t)
	source, header := filepath.Join(top, "a.s"), filepath.Join(top, "h.inc")
	for file, text := range map[string]string{source: ".include \"h.inc\"\n", header: "nop\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, args := t.Context(), []string{"-c", "a.s"}
	plain := memoryStore{memoryTrees{}}
	chain := toolchainOf(t, plain, gcc)
	call := Model(gcc, append([]string{gcc}, args...), top, nil, Disk{})
	draft := func(s Store) *Draft {
		t.Helper()
		p := &Planner{Store: s, Scanner: scan.New(scan.Options{}), Toolchain: func(context.Context, []string) (*Toolchain, error) { return chain, nil }}
		d, err := p.Draft(ctx, call, args, top, nil)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	id := func(d *Draft, objects ...wire.Object) wire.ThunkID {
		t.Helper()
		p, err := d.Plan(ctx, objects)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := p.Thunk.Encode()
		return id
	}
	want := id(draft(plain))
	object, err := plain.Add(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	d := draft(pendingStore{plain, []string{source}})
	if want := []string{source}; !slices.Equal(d.Pending, want) {
		t.Fatalf("waits for %v, want %v", d.Pending, want)
	}
	if want := []Made{{Output: "a.o", Path: filepath.Join(top, "a.o")}}; !slices.Equal(d.Made, want) {
		t.Errorf("makes %v, want %v", d.Made, want)
	}
	if err := os.RemoveAll(top); err != nil {
		t.Fatal(err)
	}
	if got := id(d, object); got != want {
		t.Errorf("the thunk is %v, want that of the files themselves, %v", got, want)
	}
	if got := id(d, sized(3)); got == want {
		t.Error("the thunk is the same for another file")
	}
	if p, err := d.Plan(ctx, nil); err == nil {
		t.Errorf("without the file it is %v", p.Thunk)
	}
}
