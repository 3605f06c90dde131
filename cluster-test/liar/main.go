// Package main is a member for tests that speaks with the key and the store of a node, runs nothing,
// and sends a wrong byte in whatever it serves of some size:
//
//	liar DIR    with the state directory of a node that is not running
//
// It says "lying" when the coordinator has welcomed it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"gaggle/blobstore"
	"gaggle/blobstore/exchange"
	"gaggle/node/worker"
	"gaggle/overlay/peer"
	"gaggle/wire"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "liar:", err)
		os.Exit(1)
	}
}

// config is what it needs of a node's config.json.
type config struct {
	Mesh, Coordinator string
	Addrs             []string
	Certificate       []byte
}

func (c *config) read(dir string) (mesh, coordinator wire.PeerID, cert *wire.Certificate, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err == nil {
		err = json.Unmarshal(b, c)
	}
	if err == nil {
		mesh, err = wire.ParsePeerID(c.Mesh)
	}
	if err == nil {
		coordinator, err = wire.ParsePeerID(c.Coordinator)
	}
	if err == nil {
		cert, err = wire.DecodeCertificate(c.Certificate)
	}
	return mesh, coordinator, cert, err
}

func run(dir string) error {
	var conf config
	mesh, coordinator, cert, err := conf.read(dir)
	if err != nil {
		return err
	}
	key, err := peer.LoadKey(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	store, err := blobstore.Open(filepath.Join(dir, "store"), blobstore.Options{Logger: logger})
	if err != nil {
		return err
	}
	host, err := peer.New(peer.Config{Key: key, Mesh: mesh, Cert: cert, AnyPort: true, Logger: logger})
	if err != nil {
		return err
	}
	host.AddAddrs(coordinator, conf.Addrs)
	trusted := func(p wire.PeerID) bool { return p == coordinator }
	x := exchange.New(exchange.Config{Store: store, Trusted: trusted, Self: host.ID(), Logger: logger,
		Dialer: exchange.DialFunc(func(ctx context.Context, p wire.PeerID, protocol string) (exchange.Stream, error) {
			return nil, wire.Errorf(wire.CauseUnreachable, "", "it fetches nothing")
		})})
	host.Handle(wire.ProtocolBlob, func(s *peer.Stream) { x.Serve(liar{s}) })
	w, err := worker.New(worker.Config{
		Store: store, Exchange: x, Key: key, Addrs: host.Addrs, Trusted: trusted, Logger: logger,
		Hello: wire.Hello{Name: "liar", Versions: wire.Versions{Protocol: wire.ProtocolVersion, Thunks: []uint64{1}}},
		Dial: func(ctx context.Context) (worker.Link, error) {
			s, err := host.Open(ctx, coordinator, wire.ProtocolNode)
			if err != nil {
				return nil, err
			}
			return worker.NewLink(s), nil
		},
		Welcomed: func(*wire.Welcome) { fmt.Println("lying") },
	})
	if err != nil {
		return err
	}
	return w.Run(context.Background())
}

// A liar inverts a byte of every large piece that is written to a stream.
type liar struct{ *peer.Stream }

const large = 4096

// Write leaves the caller's bytes alone, which may be the store's.
func (l liar) Write(p []byte) (int, error) {
	if len(p) < large {
		return l.Stream.Write(p)
	}
	wrong := append([]byte(nil), p...)
	wrong[len(wrong)/2] ^= 0xff
	return l.Stream.Write(wrong)
}
