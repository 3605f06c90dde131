package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/blobstore"
	"gaggle/blobstore/exchange"
	"gaggle/node/worker"
	"gaggle/overlay"
	"gaggle/overlay/peer"
	"gaggle/sandbox"
	"gaggle/wire"
)

// run carries the call out: join if asked, then serve until ctx ends.
func (c *call) run(ctx context.Context) error {
	if runtime.GOOS != "linux" {
		return wire.Errorf(wire.CauseSandbox, "this machine can submit: use coord",
			"node runs on Linux only, and this is %s", runtime.GOOS)
	}
	var ticket *wire.Ticket
	if c.join != "" {
		var err error
		if ticket, err = readTicket(c.join); err != nil {
			return err
		}
	}
	if c.state == "" {
		c.state = defaultState()
	}
	dir, err := filepath.Abs(c.state)
	if err != nil {
		return fmt.Errorf("finding the state directory: %w", err)
	}
	n := &node{call: c, dir: stateDir(dir), log: c.logger()}
	defer n.close()
	if err := standBack(); err != nil {
		n.log.Info("tasks run at the usual priority", "error", err)
	}
	if err := n.open(ctx, ticket); err != nil {
		return err
	}
	return n.serve(ctx)
}

// logger is quiet unless asked: people are told what matters on the standard output.
func (c *call) logger() *slog.Logger {
	level := slog.LevelWarn
	if c.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
}

// A node is the parts of a running node.
type node struct {
	*call
	dir      stateDir
	log      *slog.Logger
	settings *settings
	member   *membership
	key      ed25519.PrivateKey
	storeMax int64
	trouble  trouble
	joined   sync.Once
	mesh     string // its name, once it has joined; set before the worker ends

	store    *blobstore.Store
	worker   atomic.Pointer[worker.Worker] // the store may lose objects before there is one
	engine   *sandbox.Engine
	host     *peer.Host
	exchange *exchange.Exchange
	clock    worker.Clock
	agent    *overlay.Agent
	networks worker.Networks // the agent, nil if it can give none
	pages    sync.WaitGroup  // serving /metrics
}

// open starts all parts but the worker. The store comes first: its lock is that of the whole
// state directory.
func (n *node) open(ctx context.Context, ticket *wire.Ticket) error {
	if err := n.dir.make(); err != nil {
		return err
	}
	var err error
	if n.settings, err = n.dir.load(); err != nil {
		return err
	}
	raised := n.settings.raise()
	n.change(n.settings)
	if n.settings.Slots < 0 || n.settings.Slots > maxSlots {
		return usagef("", "--slots is %d, want 1 to %d", n.settings.Slots, maxSlots)
	}
	if up := n.settings.MaxUpload; up != 0 && up < minUpload {
		return usagef("", "--max-upload is %s a second, want 32KiB or more: with less others would take this machine for stalled", sizeText(up))
	}
	if raised && n.settings.MaxUpload == minUpload {
		n.log.Warn("max-upload was set to less than can be, and is 32KiB a second now")
	}
	if ticket == nil {
		if _, err := n.settings.membership(); err != nil {
			return err
		}
	}
	if err := n.openStore(); err != nil {
		return err
	}
	if n.key, err = n.dir.key(); err != nil {
		return err
	}
	if ticket != nil {
		if err := n.enroll(ctx, n.settings, n.key, ticket); err != nil {
			return err
		}
	}
	if n.member, err = n.settings.membership(); err != nil {
		return err
	}
	if err := n.dir.save(n.settings); err != nil {
		return err
	}
	n.trouble = trouble{out: n.out, addrs: n.settings.Addrs}
	if err := n.openNetwork(); err != nil {
		return err
	}
	return n.openEngine(ctx)
}

// openEngine starts the sandbox, with networks if there can be any.
func (n *node) openEngine(ctx context.Context) (err error) {
	n.agent = overlay.New(overlay.Config{Self: n.host.ID(), Peers: overlay.Over(n.host), Logger: n.log})
	if len(n.settings.Trusted) > 0 {
		if err := n.agent.UsePlane(n.settings.Trusted); err != nil {
			fmt.Fprintf(n.out, "%s; this node moves them itself: see node doctor\n", message(err))
		}
	}
	n.engine, err = sandbox.New(sandbox.Config{Dir: n.dir.path("scratch"), Slots: n.slots(), Networks: n.agent,
		Logger: n.log})
	if err != nil {
		return err
	}
	if err := n.agent.Try(ctx, n.engine); err != nil {
		n.log.Info("tasks can be on no network here: see node doctor", "error", err)
		return nil
	}
	n.networks = n.agent
	return nil
}

// maxSlots is what a coordinator accepts of one node.
const maxSlots = 4096

func (n *node) slots() int {
	if n.settings.Slots > 0 {
		return n.settings.Slots
	}
	return defaultSlots()
}

func (n *node) openStore() error {
	var err error
	n.store, err = blobstore.Open(n.dir.path("store"), blobstore.Options{
		MaxBytes: n.settings.StoreMax, Logger: n.log,
		OnLost: func(space wire.Space, ds []wire.Digest) {
			if w := n.worker.Load(); w != nil {
				w.Lost(space, ds)
			}
		},
	})
	if err != nil {
		return err
	}
	n.storeMax = n.settings.StoreMax
	if n.storeMax == 0 { // as much at each start, however much of it is taken
		if half, known := n.store.Share(); known {
			n.storeMax = storeOf(half)
			n.store.Bound(n.storeMax)
		}
	}
	return nil
}

func (n *node) openNetwork() error {
	listen, err := peer.ParseListen(n.settings.Listen)
	if err != nil {
		return usagef("", "the address %q to listen on is no good: %v", n.settings.Listen, err)
	}
	n.host, err = peer.New(peer.Config{Key: n.key, Mesh: n.member.mesh, Cert: n.member.cert,
		Listen: listen, AnyPort: listen == nil, RevokedFile: n.dir.path("revoked"), Logger: n.log})
	if err != nil {
		return err
	}
	n.host.UseRelay(n.member.coordinator)
	n.host.AddAddrs(n.member.coordinator, n.settings.Addrs)
	n.exchange = exchange.New(exchange.Config{
		Store: n.store, Now: n.clock.Now, Trusted: n.trusted, Self: n.host.ID(), Logger: n.log,
		Relayed: n.host.RelayedOnly, Doubt: n.host.Doubt, MaxUpload: n.settings.MaxUpload,
		Dialer: exchange.DialFunc(func(ctx context.Context, p wire.PeerID,
			protocol string) (exchange.Stream, error) {
			s, err := n.host.Open(ctx, p, protocol)
			if err != nil {
				return nil, err // not s: an interface holding nil is not nil
			}
			return s, nil
		}),
	})
	n.host.Handle(wire.ProtocolBlob, func(s *peer.Stream) { n.exchange.Serve(s) })
	return nil
}

// trusted reports whether p is a coordinator.
func (n *node) trusted(p wire.PeerID) bool {
	if p == n.member.coordinator {
		return true
	}
	cert := n.host.Member(p)
	return cert != nil && cert.Has(wire.RoleCoordinator)
}

// serve runs the worker until ctx ends.
func (n *node) serve(ctx context.Context) error {
	w, err := worker.New(worker.Config{
		Store: n.store, Exchange: n.exchange, Engine: n.engine, Key: n.key, Hello: n.hello(), Addrs: n.host.Addrs, Paths: n.host.Paths, Crossed: n.agent.Crossed,
		Dial: n.dial, HangUp: func() { n.host.Disconnect(n.member.coordinator) }, Doubt: func() { n.host.Doubt(n.member.coordinator) }, AddPeers: n.addPeers, Trusted: n.trusted, EpochFile: n.dir.path("epoch"), Clock: &n.clock,
		Paused: n.paused(), Takes: n.takes(), Room: n.room, Welcomed: n.welcomed, Logger: n.log, Networks: n.networks,
	})
	if err != nil {
		return err
	}
	n.worker.Store(w)
	n.host.Handle(wire.ProtocolLogs, func(s *peer.Stream) { w.ServeLogs(s) })
	ctx, cancel := context.WithCancel(ctx)
	defer n.pages.Wait()
	defer cancel()
	if err := n.listenHTTP(ctx); err != nil {
		return err
	}
	var renewing sync.WaitGroup
	renewing.Go(func() { n.renew(ctx) })
	err = w.Run(ctx)
	cancel()
	renewing.Wait()
	if err == nil && n.mesh != "" {
		fmt.Fprintf(n.out, "left mesh %s\n", n.mesh)
	}
	return err
}

func (n *node) hello() wire.Hello {
	return wire.Hello{
		Versions: wire.Versions{Release: wire.Release, Protocol: wire.ProtocolVersion,
			Thunks:    wire.ThunkFormats(),
			Platforms: []string{runtime.GOOS + "/" + runtime.GOARCH}, ABIs: wire.ABIs()},
		Name: n.settings.name(), Slots: n.slots(), MemBytes: memory(), StoreMax: n.storeMax, Labels: n.settings.Labels,
		OwnOnly: n.ownOnly(), Metered: n.settings.Metered,
	}
}

// dialLimit bounds one attempt to reach the coordinator: a TCP connection that follows a QUIC one
// without answer takes some 10 s.
const dialLimit = 30 * time.Second

func (n *node) dial(ctx context.Context) (worker.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if c := n.host.Certificate(); c == nil || time.Now().Unix() > c.Expires {
		if err := n.renewNow(ctx); err != nil {
			n.trouble.say(err)
			return nil, err
		}
	}
	s, err := n.host.Open(ctx, n.member.coordinator, wire.ProtocolNode)
	if err != nil {
		n.trouble.say(err)
		return nil, err
	}
	if err := n.host.Reserve(ctx); err != nil {
		n.log.Info("others reach this machine directly or not at all", "error", err)
	}
	return worker.NewLink(s), nil
}

func (n *node) addPeers(peers []wire.PeerInfo) {
	for _, p := range peers {
		n.host.Met(p)
	}
}

// welcomed tells people that the node works, the first time and after troubles.
func (n *node) welcomed(welcome *wire.Welcome) {
	back := n.trouble.over()
	n.joined.Do(func() {
		back, n.mesh = false, welcome.MemberOf
		slots := "1 slot"
		if n.slots() > 1 {
			slots = fmt.Sprintf("%d slots", n.slots())
		}
		fmt.Fprintf(n.out,
			"joined mesh %s as %s: %s, %s of memory for tasks, store of up to %s in %s\n", welcome.MemberOf,
			n.settings.name(), slots, sizeText(memory()), sizeText(n.storeMax), n.dir.path("store"))
		n.tellBounds()
	})
	if back {
		fmt.Fprintln(n.out, "the coordinator is back")
	}
}

// paused asks for the power supply, and tells people when it matters.
func (n *node) paused() func() bool {
	if n.settings.Battery {
		return nil
	}
	last := false // Paused is asked by one goroutine
	return func() bool {
		now := worker.OnBattery("/sys/class/power_supply")
		if now && !last {
			fmt.Fprintln(n.out,
				"on battery power: taking no tasks (node --battery takes them anyway)")
		} else if last && !now {
			fmt.Fprintln(n.out, "on mains power again: taking tasks")
		}
		last = now
		return now
	}
}

// minRoom is how much of the disk must be free before a node takes work again: outputs of a few
// tasks. Of a small store half is enough, or one that began with less would never take any.
const minRoom = 256 << 20

func (n *node) room() bool {
	free, known := blobstore.FreeBytes(string(n.dir))
	if n.storeMax == 0 { // no bound
		return !known || free >= minRoom
	}
	return (!known || free >= roomFor(n.storeMax)) && n.store.Used() < n.storeMax
}

// leastStore is what a store has of a disk that was full at the start: half of nothing would be no bound.
const leastStore = 16 << 20

// storeOf is how much a store may take if nobody said, where half of what is free is so much.
func storeOf(half int64) int64 { return max(half, leastStore) }

// roomFor is how much of the disk must be free for tasks beside a store of a size.
func roomFor(storeMax int64) int64 { return min(minRoom, storeMax/2) }

// renewEvery is how often the age of the certificate is looked at.
const renewEvery = time.Hour

// renew replaces the certificate when half of its life is over, until ctx ends.
func (n *node) renew(ctx context.Context) {
	for {
		if c := n.host.Certificate(); c == nil ||
			time.Until(time.Unix(c.Expires, 0)) < wire.CertLife/2 {
			if err := n.renewNow(ctx); err != nil && ctx.Err() == nil {
				n.log.Info("cannot renew the certificate yet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(renewEvery):
		}
	}
}

func (n *node) renewNow(ctx context.Context) error {
	c, err := n.host.Renew(ctx, n.member.coordinator)
	if err != nil {
		return err
	}
	kept := *n.settings
	kept.Certificate = c.Encode()
	return n.dir.save(&kept)
}

// close ends the parts in the reverse order of open. The work is done: what goes wrong now is for
// the log.
func (n *node) close() {
	var errs []error
	if n.agent != nil {
		errs = append(errs, n.agent.Close())
	}
	if n.exchange != nil {
		errs = append(errs, n.exchange.Close())
	}
	if n.host != nil {
		errs = append(errs, n.host.Close())
	}
	if n.engine != nil {
		errs = append(errs, n.engine.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if err := errors.Join(errs...); err != nil {
		n.log.Warn("stopping", "error", err)
	}
}
