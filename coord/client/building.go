package client

import (
	"context"

	"gaggle/wire"
)

// building lets tools be called by a command of the user's until it goes away, and tells what
// became of the calls.
func (s *session) building(ctx context.Context, cmd *Command) (*End, error) {
	_, err := s.link(ctx, cmd)
	away := wire.CauseOf(err) == wire.CauseUnreachable && ctx.Err() == nil
	if err != nil && !away {
		return nil, err
	}
	t := s.a.tools
	name, b, err := t.begin(cmd)
	if err != nil {
		return nil, err
	}
	defer t.end(name)
	socket, err := s.a.dir.toolSocket()
	if err != nil {
		return nil, err
	}
	b.tells(s.send)
	var d *deferral
	switch {
	case away:
		b.isAway()
		err = s.send(&Event{Note: "the mesh cannot be reached: the tools run here"})
	case cmd.Build.Defer:
		d = b.defers(name, cmd.Build, s.pid, s.send)
		s.deferral.Store(d)
	}
	if err != nil {
		return nil, err
	}
	var how over
	if err = s.send(&Event{Building: &Building{Socket: socket, Build: name}}); err == nil {
		select {
		case how = <-s.over:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	var again string
	lost := b.lost.names()
	if d != nil {
		if err != nil {
			d.abandon()
		}
		again, lost = d.settle(ctx, how)
	}
	if err != nil {
		return nil, err
	}
	t.end(name) // before the command may ask for a report
	b.mu.Lock()
	counts := b.counts
	b.mu.Unlock()
	counts.Again, counts.Lost = again, lost
	return nil, s.send(&Event{Calls: &counts})
}
