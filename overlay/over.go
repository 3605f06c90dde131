package overlay

import (
	"context"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// Over returns the members of the mesh that a host is in, as Peers.
func Over(h *peer.Host) Peers { return mesh{h} }

type mesh struct{ host *peer.Host }

func (m mesh) Open(ctx context.Context, p wire.PeerID, protocol string) (Stream, error) {
	s, err := m.host.Open(ctx, p, protocol)
	if err != nil {
		return nil, err // not s: an interface holding nil is not nil
	}
	return stream{s}, nil
}

func (m mesh) Handle(protocol string, fn func(Stream)) {
	m.host.Handle(protocol, func(s *peer.Stream) { fn(stream{s}) })
}

type stream struct{ *peer.Stream }

func (s stream) Datagrams() Datagrams {
	if d := s.Stream.Datagrams(); d != nil {
		return d
	}
	return nil
}
