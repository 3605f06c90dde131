package client

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"gaggle/blobstore/exchange"
	"gaggle/node/worker"
	"gaggle/overlay/peer"
	"gaggle/wire"
)

// A remoteMesh is this machine as a member of a mesh that submits: it serves inputs, and runs
// nothing.
type remoteMesh struct {
	name        string
	host        *peer.Host
	exchange    *exchange.Exchange
	worker      *worker.Worker
	coordinator wire.PeerID
	addrs       []string
	log         *slog.Logger
	end         context.CancelFunc
	loops       sync.WaitGroup
	keep        func(*wire.Certificate) error

	renewing sync.Mutex // held while a certificate is asked for
}

// reachTimeout is how long a coordinator may take to answer the first time: a TCP connection that
// follows a QUIC one that got no answer takes some 10 s.
const reachTimeout = 20 * time.Second

// openMesh makes this machine a member of a mesh. It does not wait for the coordinator.
func (b *backend) openMesh(name string) (*link, error) {
	conf, err := b.dir.loadMesh(name)
	if err != nil {
		return nil, err
	}
	cert, err := conf.certificate()
	if err != nil {
		return nil, err
	}
	coordinator, err := wire.ParsePeerID(conf.Coordinator)
	if err != nil {
		return nil, err
	}
	if len(cert.Tenants) == 0 || !cert.Has(wire.RoleClient) {
		return nil, wire.Errorf(wire.CauseUnauthorized, "log in with a ticket for submitting (coord ticket)", "the membership in mesh %s does not let this machine submit", name)
	}
	log := b.log.With("mesh", name)
	m := &remoteMesh{name: name, coordinator: coordinator, addrs: conf.Addrs, log: log, keep: func(c *wire.Certificate) error {
		conf.Certificate = c.Encode()
		return writeJSON(b.dir.meshFile(name), conf)
	}}
	m.host, err = peer.New(peer.Config{Key: b.key, Mesh: cert.Mesh, Cert: cert, AnyPort: true,
		RevokedFile: b.dir.path("meshes", name+".revoked"), Logger: log})
	if err != nil {
		return nil, err
	}
	m.host.UseRelay(coordinator)
	m.host.AddAddrs(coordinator, conf.Addrs)
	trusted := func(p wire.PeerID) bool { return p == coordinator }
	clock := new(worker.Clock)
	m.exchange = exchange.New(exchange.Config{Store: b.store, Now: clock.Now, Dialer: exchange.DialFunc(m.openBlob), Trusted: trusted, Self: m.host.ID(), Logger: log, Relayed: m.host.RelayedOnly, Doubt: m.host.Doubt})
	m.host.Handle(wire.ProtocolBlob, func(s *peer.Stream) { m.exchange.Serve(s) })
	m.worker, err = worker.New(worker.Config{
		Store: b.store, Exchange: m.exchange, Key: b.key, Hello: b.hello(0), Addrs: m.host.Addrs, Paths: m.host.Paths, Dial: m.dialNode, AddPeers: m.addPeers,
		HangUp:  func() { m.host.Disconnect(coordinator) },
		Doubt:   func() { m.host.Doubt(coordinator) },
		Trusted: trusted, EpochFile: b.dir.path("meshes", name+".epoch"), Clock: clock, Logger: log,
	})
	if err != nil {
		return nil, m.closed(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(b.ctx))
	m.end = end
	m.loops.Go(func() {
		if err := m.worker.Run(ctx); err != nil {
			log.Error("the coordinator refuses this machine", "error", err)
		}
	})
	m.loops.Go(func() { m.renew(ctx) })
	by := &authority{mesh: cert.Mesh, owner: func() string { return m.host.Certificate().Owner }, revoked: m.host.Revoked, now: time.Now}
	return &link{coordinator: m, worker: m.worker, name: name, space: cert.Tenants[0], authority: by}, nil
}

// renewEvery is how often the age of the certificate is looked at.
const renewEvery = time.Hour

// renew gets a new certificate when half of the old one's life is over, and keeps it.
func (m *remoteMesh) renew(ctx context.Context) {
	for {
		if err := m.certified(ctx, wire.CertLife/2); err != nil && ctx.Err() == nil {
			m.log.Warn("the certificate cannot be renewed yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(renewEvery):
		}
	}
}

// certified makes sure that the certificate lasts at least so long, and gets a new one if it does not.
func (m *remoteMesh) certified(ctx context.Context, least time.Duration) error {
	m.renewing.Lock()
	defer m.renewing.Unlock()
	if c := m.host.Certificate(); c != nil && time.Until(time.Unix(c.Expires, 0)) >= least {
		return nil
	}
	c, err := m.host.Renew(ctx, m.coordinator)
	if err != nil {
		return err
	}
	return m.keep(c)
}

func (m *remoteMesh) addPeers(peers []wire.PeerInfo) {
	for _, p := range peers {
		m.host.Met(p)
	}
}

func (m *remoteMesh) openBlob(ctx context.Context, p wire.PeerID, protocol string) (exchange.Stream, error) {
	s, err := m.host.Open(ctx, p, protocol)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (m *remoteMesh) dialNode(ctx context.Context) (worker.Link, error) {
	if err := m.certified(ctx, 0); err != nil {
		return nil, err
	}
	s, err := m.host.Open(ctx, m.coordinator, wire.ProtocolNode)
	if err != nil {
		return nil, err
	}
	if err := m.host.Reserve(ctx); err != nil {
		m.log.Info("others reach this machine directly or not at all", "error", err)
	}
	return worker.NewLink(s), nil
}

// Reach connects to the coordinator unless there is a connection.
func (m *remoteMesh) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	err := m.certified(ctx, 0)
	if err == nil {
		err = m.host.Connect(ctx, m.coordinator, m.addrs)
	}
	if err == nil {
		return nil
	}
	e := wire.AsError(err)
	hint := e.Hint
	if e.Cause == wire.CauseUnreachable {
		hint = "see that coord serve runs there, or work on this machine only with --local"
	}
	return wire.Errorf(e.Cause, hint, "mesh %s cannot be reached: %s", m.name, e.Message)
}

// Open begins a request to the coordinator.
func (m *remoteMesh) Open(ctx context.Context) (io.ReadWriteCloser, error) {
	s, err := m.host.Open(ctx, m.coordinator, wire.ProtocolClient)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Fetch brings objects here from their holders.
func (m *remoteMesh) Fetch(ctx context.Context, from holders, want []wire.Held, progress func(Fetching)) (int64, error) {
	m.addPeers(from.peers)
	if len(from.grant) > 0 {
		g, err := wire.DecodeGrant(from.grant)
		if err != nil {
			return 0, err
		}
		m.exchange.SetGrant(g)
	}
	r, err := m.exchange.Fetch(ctx, from.space, want, func(p exchange.Progress) {
		progress(Fetching{Done: p.Done, Total: p.Total, From: p.From})
	})
	m.worker.Learned(r)
	return r.Bytes, err
}

// Logs asks a node.
func (m *remoteMesh) Logs(ctx context.Context, p wire.PeerInfo) (io.ReadWriteCloser, error) {
	m.addPeers([]wire.PeerInfo{p})
	s, err := m.host.Open(ctx, p.Peer, wire.ProtocolLogs)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close leaves the mesh until the next command.
func (m *remoteMesh) Close() error {
	m.end()
	m.loops.Wait()
	return m.closed(nil)
}

// closed closes what openMesh has opened and returns err, or what went wrong with that.
func (m *remoteMesh) closed(err error) error {
	if closeErr := m.exchange.Close(); err == nil {
		err = closeErr
	}
	if closeErr := m.host.Close(); err == nil {
		err = closeErr
	}
	return err
}
