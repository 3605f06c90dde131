package sim

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/coord/server"
	"gaggle/wire"
)

// A world is a coordinator, hosts and a network, in virtual time.
type world struct {
	rng   *rand.Rand // of the driver; nobody else draws from it
	net   *network
	hosts []*host // fixed from the start
	disk  *disk

	mu     sync.Mutex // guards the fields below
	hub    *server.Server
	hubCtx context.Context
	stop   context.CancelFunc
	ended  chan struct{}
	life   *journal
	errs   []error
	copies []*host              // with the key of another
	runs   map[wire.ThunkID]int // how often a thunk was computed
	past   bool                 // nobody need try any longer
}

func newWorld(seed uint64, nodes, clients int) *world {
	rng := rand.New(rand.NewPCG(seed, 0x6761_6767_6c65))
	w := &world{rng: rng, net: newNetwork(time.Duration(1+rng.IntN(40)) * time.Millisecond),
		disk: newDisk(seed), runs: map[wire.ThunkID]int{}}
	for i := range nodes {
		w.hosts = append(w.hosts, newHost(w, fmt.Sprint("node", i), 1+rng.IntN(3)))
	}
	for i := range clients {
		w.hosts = append(w.hosts, newHost(w, fmt.Sprint("client", i), 0))
	}
	return w
}

// hubKey is the coordinator's.
var hubKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// hostOf returns a host by its key; if there is a copy of it, one that answers, if one does.
func (w *world) hostOf(p wire.PeerID) (found *host) {
	w.mu.Lock()
	all := slices.Concat(w.hosts, w.copies)
	w.mu.Unlock()
	for _, h := range all {
		if h.id() == p && (found == nil || !found.answers()) {
			found = h
		}
	}
	return found
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
}

func (w *world) count(t *wire.Thunk) {
	id, _ := t.Encode()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs[id]++
}

// server returns the running coordinator, or nil.
func (w *world) server() (*server.Server, context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hub, w.hubCtx
}

// startHub starts the coordinator on its disk.
func (w *world) startHub() {
	ctx, cancel := context.WithCancel(context.Background())
	life := newJournal(w.disk)
	s, err := server.New(server.Config{
		Key: hubKey, Mesh: "sim", Journal: life,
		Fetch: w.fetchGraph, Versions: wire.Versions{Protocol: wire.ProtocolVersion},
		Boot: func() time.Duration { return time.Since(epochStart) }, // the hub never sleeps
	})
	if err != nil {
		panic(err)
	}
	ended := make(chan struct{})
	w.mu.Lock()
	w.hub, w.hubCtx, w.stop, w.ended, w.life = s, ctx, cancel, ended, life
	w.mu.Unlock()
	go func() {
		defer close(ended)
		if err := s.Run(ctx); err != nil && !errors.Is(err, errDead) {
			w.fail(fmt.Errorf("coordinator: %w", err))
		}
	}()
}

// killHub ends the coordinator as kill -9 would: nothing it writes or says after counts.
func (w *world) killHub() {
	w.mu.Lock()
	stop, ended, life := w.stop, w.ended, w.life
	w.hub = nil
	w.mu.Unlock()
	life.kill()
	w.net.setCut("hub", true)
	stop()
	<-ended
	w.net.setCut("hub", false)
}

// crashHub kills the coordinator at a point of its next batch, and lets it go on a while without one.
func (w *world) crashHub(p point) (when string) {
	select {
	case <-w.disk.arm(p):
		time.Sleep(time.Duration(w.rng.IntN(1000)) * time.Millisecond)
	case <-time.After(5 * time.Second):
		when = ": there is none"
	}
	w.disk.disarm()
	w.killHub()
	w.startHub()
	return when
}

func (w *world) fetchGraph(ctx context.Context, space wire.Space, held wire.Held) ([]byte, error) {
	hub := &host{w: w, name: "hub", store: blobstore.NewMemory()}
	if _, err := (&fakeExchange{hub}).Fetch(ctx, space, []wire.Held{held}, nil); err != nil {
		return nil, err
	}
	return readObject(hub.store, space, held.Object.Digest)
}

// trouble does one random bad thing, or mends one.
func (w *world) trouble() string {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	switch w.rng.IntN(13) {
	case 0:
		if h.slots > 0 {
			h.kill()
			return "kill " + h.name
		}
	case 1:
		if !h.running() {
			h.start()
			return "start " + h.name
		}
	case 2:
		w.net.setCut(h.name, true)
		return "cut " + h.name
	case 3:
		w.net.setCut(h.name, false)
		return "heal " + h.name
	case 4:
		if h.slots > 0 {
			return "lose a blob of " + h.name + w.loseBlob(h)
		}
	case 5:
		w.killHub()
		w.startHub()
		return "restart hub"
	case 6:
		return "crash hub before a batch is flushed" + w.crashHub(unflushed)
	case 7:
		return "crash hub before a batch is told" + w.crashHub(unspokenOf)
	case 8:
		long := time.Duration(w.rng.Int64N(int64(longestSleep)))
		h.suspend()
		time.AfterFunc(long, h.wake)
		return fmt.Sprintf("suspend %s for %v", h.name, long)
	case 9, 10:
		ahead := time.Duration(w.rng.Int64N(int64(2*farthestJump))) - farthestJump
		h.jump(ahead)
		return fmt.Sprintf("the clock of %s is %v ahead", h.name, ahead)
	case 11:
		if h.slots > 0 && !w.isCopied(h.key) {
			w.copy(h)
			return "copy " + h.name
		}
	}
	return "nothing"
}

const (
	longestSleep = 90 * time.Second
	farthestJump = 6 * time.Hour
)

// copy starts a copy of a machine.
func (w *world) copy(h *host) *host {
	c := h.copied()
	w.mu.Lock()
	w.copies = append(w.copies, c)
	w.mu.Unlock()
	c.start()
	return c
}

// loseBlob damages one of the blobs that h holds, as a bad sector does.
func (w *world) loseBlob(h *host) string {
	var all []wire.Object
	for _, o := range h.store.Held() {
		if o.Kind != wire.Dir {
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		return ": it has none"
	}
	o := all[w.rng.IntN(len(all))]
	h.store.Lose(o.Digest)
	return ": " + o.Digest.Short()
}

// calm mends everything: from here on every job must end.
func (w *world) calm() {
	for _, c := range w.copies {
		c.kill()
	}
	for _, h := range w.hosts {
		h.wake()
		h.jump(0)
		w.net.setCut(h.name, false)
	}
	if len(w.copies) > 0 {
		time.Sleep(untilTrusted)
	}
	for _, h := range w.hosts {
		if !h.running() {
			h.start()
		}
	}
}

// untilTrusted is after when the coordinator takes a key again that two processes used.
const untilTrusted = 15 * time.Second

func (w *world) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.past
}

func (w *world) end() {
	w.mu.Lock()
	w.past = true
	w.mu.Unlock()
	for _, h := range slices.Concat(w.hosts, w.copies) {
		h.kill()
	}
	w.killHub()
}
