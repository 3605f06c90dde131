package client

import (
	"context"
	"strings"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/coord/graph"
	"gaggle/coord/infer"
	"gaggle/sandbox"
	"gaggle/wire"
)

// A chainKey names a toolchain by the program that was called and those that it starts.
type chainKey struct {
	space wire.Space
	tools string // with zero bytes between
}

// A chain is a toolchain that is looked at now and then.
type chain struct {
	mu    sync.Mutex // held while it is made
	is    *infer.Toolchain
	err   error     // or why it could not be made
	asked time.Time // when it was last seen to be unchanged
}

// chainLasts is how long a toolchain is taken to be unchanged: looking costs some thousand stats.
const chainLasts = 5 * time.Second

// toolchain returns what belongs to a compiler, and to programs that it starts besides.
func (t *tools) toolchain(space wire.Space, programs []string) (*infer.Toolchain, error) {
	k := chainKey{space, strings.Join(programs, "\x00")}
	t.mu.Lock()
	c := t.chains[k]
	if c == nil {
		c = new(chain)
		t.chains[k] = c
	}
	t.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < chainLasts {
		return c.is, c.err
	}
	r := &roots{b: t.b, space: space, path: sandbox.DefaultPath, dir: "/", send: t.captured, from: new(sources)}
	root, err := r.Root(t.b.ctx, graph.RootSpec{Tools: programs}) // for all calls, not for one that may go away
	c.asked, c.err = time.Now(), err
	if err == nil && (c.is == nil || c.is.Root != root) {
		c.is = infer.NewToolchain(root, spaceStore{t.b.store, space})
	}
	return c.is, err
}

// captured tells all builds that a tool was taken in, which happens once and takes seconds.
func (t *tools) captured(e *Event) error {
	if e.Captured != nil {
		t.tell(e.Captured.String())
	}
	return nil
}

// A spaceStore is the store as one space sees it.
type spaceStore struct {
	*blobstore.Store
	space wire.Space
}

func (s spaceStore) Tree(id wire.TreeID) (*wire.Tree, error) { return s.Store.Tree(s.space, id) }

func (s spaceStore) PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error) {
	return s.Store.PutTree(ctx, s.space, t)
}

// Add takes a file in, without reading it again if it has not changed.
func (s spaceStore) Add(ctx context.Context, path string) (wire.Object, error) {
	return s.AddPath(ctx, s.space, path, blobstore.AddOptions{})
}
