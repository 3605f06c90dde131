package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	flatfs "github.com/ipfs/go-ds-flatfs"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// listens are the addresses of a host by transport.
var listens = map[string]string{"quic": "/ip4/127.0.0.1/udp/0/quic-v1", "tcp": "/ip4/127.0.0.1/tcp/0"}

// A member is a host with bitswap and what stores blocks.
type member struct {
	host    host.Host
	bitswap *bitswap.Bitswap
	service blockservice.BlockService
	dir     string // of the blocks, removed with the member; "" is in memory
}

// newMember makes a member with gaggle's transports, and blocks in memory or, with a directory, on disk as
// Kubo has them, but without fsync, which gaggle's fetch does not wait for either.
func newMember(ctx context.Context, transport, dir string) (*member, error) {
	listen, ok := listens[transport]
	if !ok {
		return nil, fmt.Errorf("%q is no transport: quic or tcp", transport)
	}
	h, err := libp2p.New(
		libp2p.ListenAddrStrings(listen),
		libp2p.Transport(quic.NewTransport),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(tls.ID, tls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(),
	)
	if err != nil {
		return nil, err
	}
	var store datastore.Batching = dssync.MutexWrap(datastore.NewMapDatastore())
	if dir != "" {
		if store, err = flatfs.CreateOrOpen(dir, flatfs.NextToLast(2), false); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	bs := blockstore.NewBlockstore(store, blockstore.NoPrefix())
	m := &member{dir: dir, host: h, bitswap: bitswap.New(ctx, bsnet.NewFromIpfsHost(h), nil, bs)}
	m.service = blockservice.New(bs, m.bitswap)
	return m, nil
}

func (m *member) close() error {
	err := errors.Join(m.service.Close(), m.host.Close())
	if m.dir != "" {
		err = errors.Join(err, os.RemoveAll(m.dir))
	}
	return err
}

func (m *member) connect(ctx context.Context, to *member) error {
	return m.host.Connect(ctx, peer.AddrInfo{ID: to.host.ID(), Addrs: to.host.Addrs()})
}

// put makes n blocks of noise.
func (m *member) put(ctx context.Context, seed uint64, n, size int) ([]cid.Cid, error) {
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	var all []cid.Cid
	for range n {
		data := make([]byte, size)
		if _, err := noise.Read(data); err != nil {
			return nil, err
		}
		// NewBlock names with sha2-256, as CIDv0.
		b := blocks.NewBlock(data)
		if err := m.service.AddBlock(ctx, b); err != nil {
			return nil, err
		}
		all = append(all, b.Cid())
	}
	return all, nil
}

// bulk fetches blocks that are known beforehand, which is better than what a fetch of a file has to begin
// with.
func bulk(ctx context.Context, transport string, mib int) (*Result, error) {
	x, y, err := pair(ctx, transport, true)
	if err != nil {
		return nil, err
	}
	defer x.close()
	defer y.close()
	keys, err := x.put(ctx, 1, mib, 1<<20)
	if err != nil {
		return nil, err
	}
	if err := y.connect(ctx, x); err != nil {
		return nil, err
	}
	return timed(func() error {
		n := 0
		for range blockservice.NewSession(ctx, y.service).GetBlocks(ctx, keys) {
			n++
		}
		if n != mib {
			return fmt.Errorf("%d blocks of %d", n, mib)
		}
		return nil
	})
}

// requests gets blocks in one session, which knows after the first of them whom to ask.
func requests(ctx context.Context, callers, n int) (*Result, error) {
	x, y, err := pair(ctx, "quic", false)
	if err != nil {
		return nil, err
	}
	defer x.close()
	defer y.close()
	keys, err := x.put(ctx, 2, n, 4096)
	if err != nil {
		return nil, err
	}
	if err := y.connect(ctx, x); err != nil {
		return nil, err
	}
	session := blockservice.NewSession(ctx, y.service)
	return timed(func() error {
		work, failed := make(chan cid.Cid), make(chan error, callers)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				var first error
				for k := range work {
					if _, err := session.GetBlock(ctx, k); err != nil {
						first = errors.Join(first, err)
					}
				}
				failed <- first
			})
		}
		for _, k := range keys {
			work <- k
		}
		close(work)
		wg.Wait()
		close(failed)
		for e := range failed {
			err = errors.Join(err, e)
		}
		return err
	})
}

// contact dials and gets one block.
func contact(ctx context.Context, seed uint64) (*Result, error) {
	x, y, err := pair(ctx, "quic", false)
	if err != nil {
		return nil, err
	}
	defer x.close()
	defer y.close()
	keys, err := x.put(ctx, seed, 1, 4096)
	if err != nil {
		return nil, err
	}
	return timed(func() error {
		if err := y.connect(ctx, x); err != nil {
			return err
		}
		_, err := y.service.GetBlock(ctx, keys[0])
		return err
	})
}

// pair makes two members, on disk if asked to.
func pair(ctx context.Context, transport string, disk bool) (x, y *member, err error) {
	var ms [2]*member
	for i := range ms {
		dir := ""
		if disk {
			if dir, err = os.MkdirTemp("", "bitswap"); err != nil {
				return nil, nil, err
			}
		}
		if ms[i], err = newMember(ctx, transport, dir); err != nil {
			return nil, nil, err
		}
	}
	return ms[0], ms[1], nil
}
