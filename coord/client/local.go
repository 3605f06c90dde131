package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"gaggle/blobstore/exchange"
	"gaggle/coord/server"
	"gaggle/node/worker"
	"gaggle/overlay"
	"gaggle/sandbox"
	"gaggle/wire"
)

// localSpace is the space of jobs that run on this machine only.
const localSpace wire.Space = "local"

// A localMesh is a coordinator and a node in this process, linked by pipes in memory. Nothing
// listens on a network.
type localMesh struct {
	server *server.Server
	worker *worker.Worker
	engine *sandbox.Engine
	agent  *overlay.Agent
	cert   *wire.Certificate // this process is the only member
	ctx    context.Context   // of the coordinator and all streams
	end    context.CancelFunc
	loops  sync.WaitGroup

	stopWorker context.CancelFunc
	worked     chan struct{} // closed when the node has stopped
}

// openLocal starts coordinator and node.
func (b *backend) openLocal() (*link, error) {
	dir := b.dir.path("local")
	scratch := b.dir.path("local", "scratch")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	slots := runtime.NumCPU()
	self := wire.PeerOf(b.key)
	agent := overlay.New(overlay.Config{Self: self, Logger: b.log.With("part", "networks")})
	engine, err := sandbox.New(sandbox.Config{Dir: scratch, Slots: slots, Networks: agent, Logger: b.log})
	if err != nil {
		return nil, err
	}
	cert, err := aloneCertificate(b.key)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	journal, err := server.OpenJournal(dir, b.log)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	m := &localMesh{engine: engine, agent: agent, cert: cert}
	m.server, err = server.New(server.Config{
		Key: b.key, Mesh: "this machine", Alone: true, Journal: journal, Fetch: b.readGraph,
		Versions: versions(true), Logger: b.log.With("part", "coordinator"),
	})
	if err != nil {
		return nil, errors.Join(err, journal.Close(), engine.Close())
	}
	var networks worker.Networks
	if err := agent.Try(b.ctx, engine); err != nil {
		b.log.Info("tasks can be on no network here", "error", err)
	} else {
		networks = agent
	}
	m.worker, err = worker.New(worker.Config{
		Store: b.store, Exchange: alone{}, Engine: engine, Key: b.key, Hello: b.hello(slots), Dial: m.dialNode,
		Trusted: func(p wire.PeerID) bool { return p == self }, EpochFile: b.dir.path("local", "epoch"), Logger: b.log.With("part", "node"),
		Networks: networks,
	})
	if err != nil {
		return nil, errors.Join(err, journal.Close(), engine.Close())
	}
	m.ctx, m.end = context.WithCancel(context.WithoutCancel(b.ctx))
	m.loops.Go(func() {
		if err := m.server.Run(m.ctx); err != nil {
			b.log.Error("the local coordinator stopped", "error", err)
		}
	})
	working, stopWorker := context.WithCancel(m.ctx)
	m.stopWorker, m.worked = stopWorker, make(chan struct{})
	go func() {
		defer close(m.worked)
		if err := m.worker.Run(working); err != nil {
			b.log.Error("the local node stopped", "error", err)
		}
	}()
	return &link{coordinator: m, worker: m.worker, space: localSpace}, nil
}

// aloneCertificate makes k's holder the one member of a mesh that nobody can join: its key is
// forgotten at once.
func aloneCertificate(k ed25519.PrivateKey) (*wire.Certificate, error) {
	_, mesh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return wire.SignCertificate(mesh, wire.Certificate{
		Peer: wire.PeerOf(k), Roles: wire.RoleNode | wire.RoleClient, Owner: Owner(), Tenants: []wire.Space{localSpace},
		NotBefore: now.Unix(), Expires: now.Add(wire.CertLife).Unix(),
	}), nil
}

// versions is what this build reads and does; slots says whether it runs thunks.
func versions(slots bool) wire.Versions {
	v := wire.Versions{Release: Release, Protocol: wire.ProtocolVersion, Thunks: wire.ThunkFormats()}
	if slots {
		v.Platforms, v.ABIs = []string{runtime.GOOS + "/" + runtime.GOARCH}, wire.ABIs()
	}
	return v
}

// hello introduces this machine to a coordinator.
func (b *backend) hello(slots int) wire.Hello {
	return wire.Hello{Versions: versions(slots > 0), Name: HostName(), Slots: slots, MemBytes: memory()}
}

// readGraph reads a graph that a thunk wrote from the store, where all is that was made here.
func (b *backend) readGraph(_ context.Context, space wire.Space, graph wire.Held) ([]byte, error) {
	return server.ReadGraph(b.store, space, graph)
}

// Open begins a request to the coordinator.
func (m *localMesh) Open(context.Context) (io.ReadWriteCloser, error) {
	return m.serve(func(c net.Conn) error { return m.server.ServeClient(m.ctx, c, m.cert) })
}

// serve returns one end of a pipe whose other end f serves.
func (m *localMesh) serve(f func(net.Conn) error) (net.Conn, error) {
	if m.ctx.Err() != nil {
		return nil, wire.Errorf(wire.CauseUnreachable, "", "the local coordinator has ended")
	}
	here, there := net.Pipe()
	m.loops.Go(func() {
		defer there.Close()
		_ = f(there) // it has told the other end
	})
	return here, nil
}

func (m *localMesh) dialNode(context.Context) (worker.Link, error) {
	c, err := m.serve(func(c net.Conn) error { return m.server.ServeNode(m.ctx, c, m.cert) })
	if err != nil {
		return nil, err
	}
	return worker.NewLink(c), nil
}

// Fetch has nobody to fetch from.
func (m *localMesh) Fetch(_ context.Context, _ holders, want []wire.Held, _ func(Fetching)) (int64, error) {
	return 0, wire.Errorf(wire.CauseFetch, "submit the job again: what is gone is made again", "%d objects are not in this machine's store any more", len(want))
}

// Logs asks the node of this process.
func (m *localMesh) Logs(context.Context, wire.PeerInfo) (io.ReadWriteCloser, error) {
	return m.serve(func(c net.Conn) error {
		m.worker.ServeLogs(ownStream{c, m.cert.Peer})
		return nil
	})
}

// An ownStream is a pipe of which this machine is the other end.
type ownStream struct {
	net.Conn
	self wire.PeerID
}

// Peer returns who this machine is.
func (s ownStream) Peer() wire.PeerID { return s.self }

// Reach has nowhere to go.
func (m *localMesh) Reach(context.Context) error { return nil }

// Close ends the node, which says its last words, and then the coordinator.
func (m *localMesh) Close() error {
	m.stopWorker()
	<-m.worked
	m.end()
	m.loops.Wait()
	return errors.Join(m.agent.Close(), m.engine.Close())
}

// alone is the exchange of a machine without peers. It is a worker.Exchange.
type alone struct{}

func (alone) Fetch(_ context.Context, _ wire.Space, want []wire.Held, _ func(exchange.Progress)) (exchange.Report, error) {
	if len(want) == 0 {
		return exchange.Report{}, nil
	}
	return exchange.Report{}, wire.Errorf(wire.CauseFetch, "", "%s is not in this machine's store, and there is no other", want[0].Object.CID())
}

func (alone) Probe(context.Context, wire.PeerID) (wire.Link, error) {
	return wire.Link{}, fmt.Errorf("no peers")
}

func (alone) SetGrant(*wire.Grant) {}
