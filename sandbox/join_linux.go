package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gaggle/wire"
)

// weave has the slot's zygote make a network namespace and lays it, unless one is there.
func (s *slot) weave() error {
	if s.spare != nil {
		return nil
	}
	if s.engine.config.Networks == nil {
		return wire.Errorf(wire.CauseSandbox, "", "this sandbox has no networks")
	}
	z := s.zygote
	if err := send(z.sock, &request{Weave: true}, nil); err != nil {
		return errDiedIdle
	}
	late := time.AfterFunc(startTimeout, func() { z.cmd.Process.Kill() })
	defer late.Stop()
	z.in.idle = nil
	var r reply
	fds, err := z.in.receive(&r)
	if err == nil && r.Trouble != nil {
		err = r.Trouble
	}
	if err == nil && r.Woven == nil {
		err = errors.New("the slot's process did not say what it made")
	}
	if err != nil {
		closeAll(fds)
		return fmt.Errorf("making a network: %w", err)
	}
	n, err := r.Woven.namespace(fds)
	if err != nil {
		return err
	}
	if s.spare, err = s.engine.config.Networks.Lay(n); err != nil {
		s.spare = nil
		return fmt.Errorf("laying a network: %w", err)
	}
	return nil
}

// TryNetwork makes a namespace for a command, lays it and gives it up: what is missing is in the
// error, which is a *wire.Error of CauseSandbox. It waits for a slot.
func (e *Engine) TryNetwork(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ctx.Done():
		return errClosed
	case <-e.idle.some:
	}
	s := e.idle.take(true)
	defer e.idle.put(s)
	if e.ctx.Err() != nil {
		return errClosed
	}
	for again := true; ; again = false {
		if s.zygote == nil {
			if err := s.start(); err != nil {
				return err
			}
		}
		err := s.weave()
		if err == nil {
			s.unplug()
			return nil
		}
		s.stop()
		if !again || !errors.Is(err, errDiedIdle) {
			return sandboxError(err)
		}
	}
}

// refill gives an idle slot a namespace for its next command on a network.
func (s *slot) refill() {
	if s.zygote == nil || s.engine.ctx.Err() != nil {
		return
	}
	if err := s.weave(); err != nil { // the next run tries again, and tells
		s.engine.log.Debug("no spare network", "slot", s.index, "error", err)
	}
}

// unplug gives up the spare namespace.
func (s *slot) unplug() {
	if s.spare == nil {
		return
	}
	if err := s.spare.Close(); err != nil {
		s.engine.log.Warn("closing a network", "slot", s.index, "error", err)
	}
	s.spare = nil
}

// join puts the slot's next command on a network, and returns the variables it gets from that.
func (s *slot) join(m Membership) (leave func(), env []string, err error) {
	for again := true; ; again = false {
		if err := s.weave(); err != nil {
			return nil, nil, sandboxError(err)
		}
		off, err := m.Join(s.spare)
		if err == nil {
			addr := s.spare.Addr().String()
			return func() {
				off()
				s.unplug()
			}, append([]string{"GAGGLE_ADDR=" + addr}, m.Env()...), nil
		}
		s.unplug()
		if !again || !errors.Is(err, ErrStale) {
			return nil, nil, sandboxError(fmt.Errorf("joining the network: %w", err))
		}
	}
}

// with returns env with variables that it does not have.
func with(env, more []string) []string {
	all := env[:len(env):len(env)]
	for _, v := range more {
		if _, has := lookupEnv(env, nameOf(v)); !has {
			all = append(all, v)
		}
	}
	return all
}
