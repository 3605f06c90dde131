package worker

import (
	"context"
	"io"
	"iter"
	"os"

	"gaggle/blobstore"
	"gaggle/blobstore/exchange"
	"gaggle/sandbox"
	"gaggle/wire"
)

// A Store is where a worker keeps what it fetches and makes; *blobstore.Store and
// *blobstore.Memory are.
type Store interface {
	storeObjects
	storeHoldings
	storeMemo
}

type storeObjects interface {
	Put(context.Context, wire.Space, io.Reader) (wire.BlobID, int64, error)
	PutFile(context.Context, wire.Space, *os.File, int64) (wire.BlobID, error)
	PutTree(context.Context, wire.Space, *wire.Tree) (wire.TreeID, error)
	Open(wire.Space, wire.Digest) (*blobstore.Blob, error)
	Tree(wire.Space, wire.TreeID) (*wire.Tree, error)
}

type storeHoldings interface {
	Missing(wire.Space, wire.Object) ([]wire.Object, error)
	Hold(wire.Space, wire.Object)
	Held() iter.Seq2[wire.Space, wire.Object]
	Pin(wire.Space, wire.Digest, string)
	Unpin(wire.Space, wire.Digest, string)
}

type storeMemo interface {
	AddClaim(*wire.Claim) error
	DropClaim(wire.Space, wire.ThunkID, wire.PeerID)
	Claims(wire.Space, wire.ThunkID) ([]wire.Claim, error)
	Sync(context.Context, wire.Space, []wire.Object) error
	Trim(context.Context) (int64, error)
	Used() int64
}

// Files gives objects as host paths; *blobstore.Store does.
type Files interface {
	File(space wire.Space, d wire.Digest, exec bool) (path string, release func(), err error)
	Resident(ctx context.Context, space wire.Space, id wire.TreeID) (dir string, release func(),
		err error)
}

// An Exchange moves objects between peers; *exchange.Exchange does.
type Exchange interface {
	Fetch(ctx context.Context, space wire.Space, want []wire.Held,
		progress func(exchange.Progress)) (exchange.Report, error)
	Probe(ctx context.Context, from wire.PeerID) (wire.Link, error)
	SetGrant(*wire.Grant)
}

// An Engine runs commands; *sandbox.Engine does.
type Engine interface {
	Run(context.Context, sandbox.Spec) (sandbox.Report, error)
}

// An Executor readies and runs thunks whose root and inputs are in the store. The usual one lays
// them out as files for an Engine; the simulator's computes on bytes.
type Executor interface {
	// Stage readies what t reads and holds it in the store until Release. An error that wraps
	// blobstore.ErrNotFound says that a part is not there any more.
	Stage(ctx context.Context, space wire.Space, t *wire.Thunk) (Staged, error)
}

// A Staged thunk is ready to run, at most once.
type Staged interface {
	// Run fills in what Stage knows of the spec (all but limits, streams and sink) and runs it.
	Run(context.Context, sandbox.Spec) (sandbox.Report, error)
	Release()
}
