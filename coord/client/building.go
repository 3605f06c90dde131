package client

import (
	"context"
	"time"

	"gaggle/wire"
)

// building lets tools be called by a command of the user's until it goes away, and tells what
// became of the calls.
func (s *session) building(ctx context.Context, cmd *Command) (*End, error) {
	l, err := s.link(ctx, cmd)
	away := wire.CauseOf(err) == wire.CauseUnreachable && ctx.Err() == nil && !cmd.Build.Lazy
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
	if err = s.send(&Event{Building: &Building{Socket: socket, Build: name, Away: away}}); err == nil {
		select {
		case how = <-s.over:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	var again string
	lost := b.lost.names()
	left := 0
	if d != nil {
		if err != nil {
			d.abandon()
		}
		d.settle(ctx, how)
		left, err = s.leave(ctx, l, d, how, err)
		again, lost = d.conclude(how)
		if err != nil && d.lazy { // what the command has kept it cannot put back
			removed, cleanErr := clean(d.base)
			s.a.log.Info("removing what a command has left that is gone", "files", removed, "error", cleanErr)
		}
	}
	if err != nil {
		return nil, err
	}
	t.end(name) // before the command may ask for a report
	b.mu.Lock()
	counts := b.counts
	b.mu.Unlock()
	counts.Again, counts.Lost, counts.Left = again, lost, left
	return nil, s.send(&Event{Calls: &counts})
}

// leave tells and notes which lazy calls of a build are left to be made, and drops them. err is what
// has gone wrong before.
func (s *session) leave(ctx context.Context, l *link, d *deferral, how over, err error) (left int, _ error) {
	all, calls := d.lazyCalls()
	defer d.drop(calls)
	args := d.build.cmd.Build
	if err != nil || !d.lazy {
		return len(calls), err
	}
	if how.Stopped || how.Code != 0 || d.failing() { // what an earlier one has left is not of these sources
		if !args.Plan {
			err = forgetInferred(s.a.dir, d.build.cmd.Dir)
		}
		return len(calls), err
	}
	if args.Plan {
		return len(calls), s.planCalls(ctx, l, all)
	}
	in := inferredOf(&d.build.cmd, all, time.Now())
	if args.Save != "" {
		if err := writeJSON(args.Save, in); err != nil {
			return len(calls), wire.Errorf(wire.CauseInvalid, "name another file with --save", "writing what was inferred: %v", err)
		}
	}
	return len(calls), in.save(s.a.dir)
}
