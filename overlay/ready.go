package overlay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"gaggle/wire"
)

// Ready waits until every member of a network that has a Ready port listens on it. Nobody is
// connected to for that: the agents of their nodes look at the kernel's tables. The error says which
// member does not, if ctx ends before, or that the network is not known here (any more).
func (a *Agent) Ready(ctx context.Context, vni uint32) error {
	n, err := a.known(vni)
	if err != nil {
		return err
	}
	var waited []int
	for i := range n.members {
		if n.members[i].Ready != 0 {
			waited = append(waited, i)
		}
	}
	errs := make(chan error, len(waited))
	var waiting sync.WaitGroup
	for _, i := range waited {
		waiting.Go(func() { errs <- a.await(ctx, n, i) })
	}
	waiting.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// A watch waits for one member to listen, for all who want to know.
type watch struct {
	waiters int           // guarded by the network's mu
	done    chan struct{} // closed when it is over
	err     error         // set before
	cancel  context.CancelFunc
}

// await waits until a member listens.
func (a *Agent) await(ctx context.Context, n *network, i int) error {
	n.mu.Lock()
	w := n.watches[i]
	if w == nil {
		w = &watch{done: make(chan struct{})}
		var wctx context.Context
		wctx, w.cancel = context.WithCancel(a.ctx)
		n.watches[i] = w
		go func() {
			defer close(w.done)
			w.err = a.watch(wctx, n, i)
		}()
	}
	w.waiters++
	n.mu.Unlock()
	defer func() {
		if n.unwatch(i, w) {
			<-w.done
		}
	}()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return n.silent(ctx, i)
	}
}

// unwatch takes one off who waits, and reports whether the watch ends with that. That a member listens
// is remembered until it leaves.
func (n *network) unwatch(i int, w *watch) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	w.waiters--
	select {
	case <-w.done:
		if w.err == nil {
			return true
		}
	default:
		if w.waiters > 0 {
			return false
		}
	}
	w.cancel()
	if n.watches[i] == w {
		delete(n.watches, i)
	}
	return true
}

// watch waits until a member listens, here or on its host.
func (a *Agent) watch(ctx context.Context, n *network, i int) error {
	p := n.members[i].Peer
	if p == a.self {
		return a.listening(ctx, n, i)
	}
	for {
		r, err := a.ask(ctx, p, question{VNI: n.vni, Members: []int{i}, Listen: true, Wait: maxWait.Milliseconds()})
		if err == nil && r.Listen {
			return nil
		}
		if err != nil {
			a.log.Debug("asking whether a service listens", "peer", p, "vni", n.vni, "error", err)
		}
		if n.ended.Load() {
			return errNetworkEnded
		}
		if !pause(ctx, askAgain) {
			return n.silent(ctx, i)
		}
	}
}

// silent is the error of a member that does not listen.
func (n *network) silent(ctx context.Context, i int) error {
	m := &n.members[i]
	return fmt.Errorf("%s does not listen on port %d: %w", m.HostName(), m.Ready, context.Cause(ctx))
}

var errNetworkEnded = wire.Errorf(wire.CauseCancelled, "", "the network has ended")

// The kernel tells nobody when a socket begins to listen.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 100 * time.Millisecond
)

// listening waits until a member that runs here listens on its Ready port.
func (a *Agent) listening(ctx context.Context, n *network, i int) error {
	every := firstLook
	for !n.listens(i) {
		if n.ended.Load() {
			return errNetworkEnded
		}
		if !pause(ctx, every) {
			return n.silent(ctx, i)
		}
		every = min(lastLook, every*3/2)
	}
	return nil
}

func (n *network) listens(i int) bool {
	n.mu.Lock()
	e := n.here[i]
	n.mu.Unlock()
	return e != nil && e.listens(n.members[i].Ready)
}

// listens reports whether a socket of the endpoint's namespace that others can reach listens.
func (e *endpoint) listens(port uint16) bool {
	for _, t := range e.space.Tables {
		if found, err := listensIn(t, e.addr, port); err == nil && found {
			return true
		}
	}
	return false
}

// maxTable bounds what is read of a table: some 100,000 sockets.
const maxTable = 16 << 20

// listensIn looks into a table (proc_net_tcp(5)).
func listensIn(table io.ReaderAt, addr address, port uint16) (bool, error) {
	in := bufio.NewScanner(io.NewSectionReader(table, 0, maxTable))
	const listen = "0A"
	want := fmt.Sprintf("%04X", port)
	for in.Scan() {
		f := strings.Fields(in.Text()) // 0: 0100007F:0035 00000000:0000 0A ...
		if len(f) < 4 || f[3] != listen {
			continue
		}
		if at, p, ok := strings.Cut(f[1], ":"); ok && p == want && reaches(at, addr) {
			return true, nil
		}
	}
	return false, in.Err()
}

// reaches reports whether a socket bound to what a table has is reached at addr. Each word of it is in
// the order of bytes of the machine, which is little endian on all that gaggle runs on.
func reaches(at string, addr address) bool {
	b, err := hex.DecodeString(at)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return false
	}
	for w := b; len(w) > 0; w = w[4:] {
		w[0], w[1], w[2], w[3] = w[3], w[2], w[1], w[0]
	}
	if len(bytes.Trim(b, "\x00")) == 0 {
		return true
	}
	want := addr.bytes()
	mapped := append(bytes.Repeat([]byte{0}, 10), 0xff, 0xff)
	if len(b) == 16 && bytes.HasPrefix(b, mapped) {
		b = b[12:]
	}
	return bytes.Equal(b, want[:])
}
