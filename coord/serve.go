package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"gaggle/blobstore"
	"gaggle/blobstore/exchange"
	"gaggle/coord/client"
	"gaggle/coord/server"
	"gaggle/overlay/peer"
	"gaggle/wire"
)

// defaultTenant is whose jobs machines may submit that join with the printed ticket.
const defaultTenant wire.Space = "main"

// serveDir returns the state directory of a coordinator: the given one, else serve/ beside that
// of the commands, or in it if $GAGGLE_STATE names that.
func serveDir(given string) string {
	if given != "" {
		return given
	}
	dir, err := client.DefaultState()
	if err != nil {
		return ""
	}
	if os.Getenv("GAGGLE_STATE") != "" {
		return filepath.Join(dir, "serve")
	}
	return filepath.Join(filepath.Dir(dir), "serve")
}

// addServeState gives a command about a coordinator its own --state, which hides that of all others.
func (a *app) addServeState(c *cobra.Command) {
	c.Flags().StringVar(&a.state, "state", "", "`DIR` of the coordinator's state (default $GAGGLE_STATE/serve, else ~/.local/state/gaggle/serve)")
}

// isServeDir reports whether a coordinator's mesh key is in dir.
func isServeDir(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "mesh.key"))
	return dir != "" && err == nil
}

func (a *app) serveCmd() *cobra.Command {
	var listen peer.ListenFlag
	var httpAddr string
	var verbose bool
	var weights map[string]int
	var queued int
	c := &cobra.Command{
		Use:   "serve",
		Short: "Coordinate a mesh; prints how other machines join it",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			dir := serveDir(a.state)
			if dir == "" {
				return wire.Errorf(wire.CauseInvalid, "name one with --state", "no state directory")
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelDebug
			}
			ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer cancel()
			addrs, err := peer.ParseListen(listen.String())
			if err != nil {
				return err
			}
			for tenant, w := range weights {
				if w < 1 || w > maxWeight {
					return wire.Errorf(wire.CauseInvalid, fmt.Sprintf("give 1 to %d", maxWeight), "%d is not a weight for tenant %q", w, tenant)
				}
			}
			m := &meshServer{dir: dir, listen: addrs, weights: weights, queued: queued, http: httpAddr, out: a.out,
				log: slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))}
			if err := m.run(ctx); err != nil {
				return &result{err: err}
			}
			return nil
		},
	}
	a.addServeState(c)
	c.Flags().Var(&listen, "listen", "`ADDR` to listen on: host:port, :port, or multiaddrs (default :7070)")
	c.Flags().StringVar(&httpAddr, "http", "", "serve /status and /metrics on this `ADDR` of the loopback interface, to who shows the token in DIR/http.token")
	c.Flags().StringToIntVar(&weights, "weight", nil, "`TENANT=N`: its share of the mesh against the others', who have 1")
	c.Flags().IntVar(&queued, "max-queued", 0, "`TASKS` that one tenant may have waiting and running (default 4000000)")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return c
}

// maxWeight keeps shares from rounding to nothing.
const maxWeight = 1000

// A meshServer is a coordinator on a network.
type meshServer struct {
	dir     string
	listen  []string
	http    string
	token   string         // of the pages
	weights map[string]int // of tenants
	queued  int            // tasks of one tenant; 0 is the default
	out     io.Writer
	log     *slog.Logger

	key, mesh ed25519.PrivateKey
	host      *peer.Host
	exchange  *exchange.Exchange
	graphs    *blobstore.Memory
	server    *server.Server
	members   *memberList
}

// maxGraphBytes bounds the graphs held in memory while they are expanded: sixteen at once of
// wire.MaxGraphFile.
const maxGraphBytes = 16 * wire.MaxGraphFile

// run serves until ctx ends.
func (m *meshServer) run(ctx context.Context) error {
	release, pid, held, err := client.LockDir(m.dir, "serve.lock")
	if err != nil {
		return err
	}
	if !held {
		return wire.Errorf(wire.CauseBusy, "end it first, or use another --state", "another coord serve (pid %d) has %s", pid, m.dir)
	}
	defer release()
	web, err := m.listenHTTP()
	if err != nil {
		return err
	}
	if web != nil {
		defer web.Close()
	}
	journal, err := m.load()
	if err != nil {
		return err
	}
	if err := m.open(journal); err != nil {
		return errors.Join(err, journal.Close())
	}
	return errors.Join(m.serve(ctx, web), m.exchange.Close(), m.host.Close())
}

// told prints a line about a node. Whoever has closed our standard output wants none.
func (m *meshServer) told(node, what string) {
	shown := func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}
	fmt.Fprintf(m.out, "%s  node %s %s\n", time.Now().Format(time.DateTime), strings.Map(shown, node), what)
}

// load reads keys and tables, and makes them on first use.
func (m *meshServer) load() (journal server.Journal, err error) {
	if m.key, err = peer.LoadKey(filepath.Join(m.dir, "key")); err != nil {
		return nil, err
	}
	if m.mesh, err = peer.LoadKey(filepath.Join(m.dir, "mesh.key")); err != nil {
		return nil, err
	}
	m.members = openMembers(filepath.Join(m.dir, membersFile), m.log)
	if journal, err = server.OpenJournal(m.dir, m.log); err != nil {
		return nil, err
	}
	m.server, err = server.New(server.Config{
		Key: m.key, Mesh: client.HostName(), Journal: journal, Fetch: m.fetchGraph, Logger: m.log,
		Versions: wire.Versions{Release: client.Release, Protocol: wire.ProtocolVersion, Thunks: wire.ThunkFormats()},
		Weights:  m.weights, MaxQueued: m.queued, Told: m.told,
		Relayed:     func() int64 { return m.host.Relayed().Bytes },
		Certificate: func(p wire.PeerID) *wire.Certificate { return m.host.Shown(p) },
	})
	if err != nil {
		return nil, errors.Join(err, journal.Close())
	}
	return journal, nil
}

// serve runs the coordinator, which closes its journal, until ctx ends or a part of it fails.
func (m *meshServer) serve(ctx context.Context, web net.Listener) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	failed := make(chan error, 4)
	go func() { failed <- m.watchOrders(ctx) }()
	go func() { failed <- m.server.Run(ctx) }()
	go func() { failed <- m.renew(ctx) }()
	go func() { failed <- m.serveHTTP(ctx, web) }()
	m.handle(ctx)
	var err error
	if web != nil {
		_, err = fmt.Fprintf(m.out, "status and metrics on  http://%s/status  and  /metrics; the token is in %s\n", web.Addr(), filepath.Join(m.dir, tokenFile))
	}
	for range cap(failed) {
		err = errors.Join(err, <-failed)
		end() // one cannot go on without the others
	}
	return err
}

// open joins the network as the coordinator and says how others do.
func (m *meshServer) open(journal server.Journal) error {
	var err error
	m.host, err = peer.New(peer.Config{Key: m.key, Mesh: wire.PeerOf(m.mesh), Cert: m.certificate(), Listen: m.listen,
		RevokedFile: filepath.Join(m.dir, revokedFile), Logger: m.log})
	if err != nil {
		return err
	}
	if err := m.host.ServeRelay(peer.RelayLimits{}); err != nil {
		return fmt.Errorf("serving as a relay: %w", err)
	}
	self := m.host.ID()
	m.graphs = blobstore.NewMemory()
	m.graphs.MaxBytes = maxGraphBytes
	m.exchange = exchange.New(exchange.Config{
		Store: m.graphs, Self: self, Logger: m.log,
		Trusted: func(p wire.PeerID) bool { return p == self },
		Dialer: exchange.DialFunc(func(ctx context.Context, p wire.PeerID, protocol string) (exchange.Stream, error) {
			s, err := m.host.Open(ctx, p, protocol)
			if err != nil {
				return nil, err
			}
			return s, nil
		}),
	})
	m.takeOrders()
	m.host.ServeJoin(peer.Registry{Mesh: m.mesh, Issued: m.members.add, Redeem: func(serial, uses uint64) bool {
		good, err := journal.Redeem(serial, uses)
		if err != nil {
			m.log.Error("recording the use of a ticket", "error", err)
		}
		return good && err == nil
	}})
	ticket, err := m.writeTicket()
	if err == nil {
		_, err = fmt.Fprintf(m.out, "on other machines run  node --join %s\n", ticket)
	}
	if err != nil {
		return errors.Join(err, m.exchange.Close(), m.host.Close())
	}
	return nil
}

// handle serves the members.
func (m *meshServer) handle(ctx context.Context) {
	m.host.Handle(wire.ProtocolNode, func(s *peer.Stream) {
		if err := m.server.ServeNode(ctx, s, s.Cert()); err != nil {
			m.log.Info("a node's session ended", "peer", s.Peer(), "error", err)
		}
	})
	m.host.Handle(wire.ProtocolClient, func(s *peer.Stream) {
		if err := m.server.ServeClient(ctx, s, s.Cert()); err != nil {
			m.log.Debug("a request ended", "peer", s.Peer(), "error", err)
		}
	})
}

// certificate makes the coordinator a member.
func (m *meshServer) certificate() *wire.Certificate {
	now := time.Now()
	return wire.SignCertificate(m.mesh, wire.Certificate{
		Peer: wire.PeerOf(m.key), Roles: wire.RoleCoordinator | wire.RoleClient, Owner: client.Owner(), Tenants: []wire.Space{defaultTenant},
		NotBefore: now.Unix(), Expires: now.Add(wire.CertLife).Unix(),
	})
}

// renewEvery keeps the printed ticket good for at least half a day, and the certificate for much
// longer.
const renewEvery = wire.TicketLife / 2

func (m *meshServer) renew(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(renewEvery):
		}
		m.host.SetCertificate(m.certificate())
		if _, err := m.writeTicket(); err != nil {
			m.log.Error("renewing the ticket", "error", err)
		}
	}
}

// fetchGraph reads a graph that a thunk wrote from its holders. The bytes are dropped at once:
// the coordinator keeps no blobs.
func (m *meshServer) fetchGraph(ctx context.Context, space wire.Space, graph wire.Held) ([]byte, error) {
	m.exchange.SetGrant(wire.SignGrant(m.key, space, m.host.ID(), m.server.Now().Add(wire.GrantLife)))
	if _, err := m.exchange.Fetch(ctx, space, []wire.Held{graph}, nil); err != nil {
		return nil, err
	}
	defer m.graphs.Lose(graph.Object.Digest)
	return server.ReadGraph(m.graphs, space, graph)
}
