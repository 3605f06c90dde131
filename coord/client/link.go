package client

import (
	"context"
	"fmt"
	"io"

	"gaggle/node/worker"
	"gaggle/wire"
)

// A coordinator is how the agent reaches one: across a mesh, or within this process.
type coordinator interface {
	// Open begins a stream of wire.ProtocolClient.
	Open(ctx context.Context) (io.ReadWriteCloser, error)
	// Fetch brings objects whole into the store from those who hold them and returns the bytes
	// that moved. Progress may be called from any goroutine, one at a time.
	Fetch(ctx context.Context, from holders, want []wire.Held, progress func(Fetching)) (int64, error)
	// Logs begins a stream of wire.ProtocolLogs to a member.
	Logs(ctx context.Context, peer wire.PeerInfo) (io.ReadWriteCloser, error)
	// Reach fails if the coordinator cannot be talked to now.
	Reach(ctx context.Context) error
	Close() error
}

// holders is what fetching takes besides the objects.
type holders struct {
	space wire.Space
	peers []wire.PeerInfo
	grant []byte
}

// A link is a coordinator with what this machine is to it.
type link struct {
	coordinator
	worker *worker.Worker // tells it what the store holds, and obeys it
	name   string         // of the mesh; "" is this machine alone
	space  wire.Space

	authority *authority // nil on this machine alone, where nobody has to show anything
}

// ask sends a request that has one response. An Error in the response is returned as such. A
// coordinator that goes away meanwhile is asked again when it is back: no request of this kind
// does more when it comes twice.
func (l *link) ask(ctx context.Context, req *wire.Request) (r *wire.Response, err error) {
	err = patiently(ctx, func() error {
		r, err = l.askOnce(ctx, req)
		return err
	}, nil)
	return r, err
}

func (l *link) askOnce(ctx context.Context, req *wire.Request) (*wire.Response, error) {
	rw, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer rw.Close()
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	defer stop()
	var r wire.Response
	err = wire.WriteFrame(rw, req)
	if err == nil {
		err = wire.NewFrameReader(rw).Read(&r)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("asking the coordinator: %w", err)
	case r.Error != nil:
		return nil, r.Error
	}
	return &r, nil
}
