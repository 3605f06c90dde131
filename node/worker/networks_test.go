package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

// memNetworks are Networks without any packets. What listens on them a test says.
type memNetworks struct {
	mu       sync.Mutex // guards the fields below
	changed  sync.Cond  // signalled when a field has changed
	host     uint16
	known    map[uint32]*wire.Network
	forgot   []uint32
	listens  map[uint32]int // how many members that others wait for
	unusable error          // that Ready gives
}

func newMemNetworks() *memNetworks {
	m := &memNetworks{known: map[uint32]*wire.Network{}, listens: map[uint32]int{}}
	m.changed.L = &m.mu
	return m
}

func (m *memNetworks) SetHost(h uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host = h
}

func (m *memNetworks) Learn(n *wire.Network) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[n.VNI] = n
}

func (m *memNetworks) Forget(vni uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, vni)
	m.forgot = append(m.forgot, vni)
}

func (m *memNetworks) vnis() []uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.known))
}

// listen says that one more member of a network listens.
func (m *memNetworks) listen(vni uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listens[vni]++
	m.changed.Broadcast()
}

func (m *memNetworks) Ready(ctx context.Context, vni uint32) error {
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changed.Broadcast()
	})
	defer stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	want := 0
	for _, x := range m.known[vni].Members {
		if x.Ready != 0 {
			want++
		}
	}
	for m.listens[vni] < want {
		switch {
		case m.unusable != nil:
			return m.unusable
		case ctx.Err() != nil:
			return fmt.Errorf("db-0 does not listen on port 80: %w", ctx.Err())
		}
		m.changed.Wait()
	}
	return nil
}

func (m *memNetworks) Member(vni uint32, i int) sandbox.Membership { return memMember{vni, i} }

// A memMember only says where it is.
type memMember struct {
	vni uint32
	i   int
}

func (memMember) Join(sandbox.Cable) (func(), error) {
	return nil, errors.New("there is nothing to join")
}

func (memMember) Await(context.Context) error { return nil }

func (memMember) Env() []string { return nil }

// netLab is a lab that gives networks.
func netLab(t *testing.T, slots int) (*lab, *memNetworks) {
	l, m := newLab(t, slots), newMemNetworks()
	l.cfg.Networks = m
	return l, m
}

// db is a network of a service and some that wait for it, all on the lab's node.
func (l *lab) db(vni uint32, others int) wire.Network {
	n := wire.Network{VNI: vni, Space: space}
	for i := range 1 + others {
		m := wire.NetMember{Task: "load", Index: i - 1, Count: others, Host: 7, Peer: wire.PeerOf(testKey(1))}
		if i == 0 {
			m.Task, m.Index, m.Count, m.Ready, m.Service = "db", 0, 1, 80, true
		}
		n.Members = append(n.Members, m)
	}
	return n
}

// member returns the offer of a member of a network.
func (l *lab) member(lease wire.LeaseID, n *wire.Network, i int, inputs ...wire.Object) wire.Offer {
	l.t.Helper()
	t := wire.Thunk{Command: []string{n.Members[i].HostName()}, Root: l.root(), Platform: "linux/amd64", ABI: wire.ABINetworked}
	if !n.Members[i].Service {
		t.Outputs = []wire.Output{{Path: "out", Kind: wire.File}}
	}
	t.Inputs = inputsOf(inputs)
	o := offerOf(l.t, lease, t)
	o.Fresh, o.Net = true, &wire.Place{VNI: n.VNI, Member: i}
	return o
}

// forever has services run until they are killed, and others for a second.
func (l *lab) forever() {
	l.do(func(ctx context.Context, name string, spec sandbox.Spec) (string, *wire.Failure, error) {
		if m, ok := spec.Net.(memMember); !ok || m.vni != 5 || strings.HasPrefix(name, "db") != (m.i == 0) {
			l.t.Errorf("%s runs as %v", name, spec.Net)
		}
		if !strings.HasPrefix(name, "db") {
			time.Sleep(time.Second)
			return name, nil, nil
		}
		<-ctx.Done()
		return "", nil, ctx.Err()
	})
}

// Members start when those that they wait for listen; the network ends with the last of them.
func TestMembersWaitForServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, nets := netLab(t, 3)
		l.forever()
		l.start()
		s := l.accept()
		if h := s.hello; !h.Overlay || h.Host != 0 || !slices.Contains(h.Versions.ABIs, wire.ABINetworked) {
			t.Errorf("hello %+v, want it to say that it gives networks", h)
		}
		n := l.db(5, 2)
		s.send(&wire.ToNode{Host: 7, Networks: []wire.Network{n}, Offers: []wire.Offer{l.member(1, &n, 0), l.member(2, &n, 1), l.member(3, &n, 2)}})
		time.Sleep(time.Minute)
		got := s.heard()
		if !slices.Equal(got.Started, []wire.LeaseID{1}) {
			t.Errorf("started %v, want the service alone", got.Started)
		}
		waiting := slices.DeleteFunc(got.Progress, func(p wire.Progress) bool { return p.Phase != "wait" })
		if len(waiting) != 2 || l.w.slots.free() != 0 {
			t.Errorf("%d say that they wait, %d slots are free, want 2 and 0", len(waiting), l.w.slots.free())
		}
		nets.listen(5)
		time.Sleep(3 * time.Second)
		got = s.heard()
		if len(got.Started) != 3 || len(got.Results) != 2 || !got.Results[0].Fresh {
			t.Errorf("started %v, results %+v, want the others to have run", got.Started, got.Results)
		}
		if claims, err := l.store.Claims(space, got.Results[0].Thunk); err != nil || len(claims) > 0 {
			t.Errorf("the value of a member was claimed: %v, %v", claims, err)
		}
		if got := nets.vnis(); !slices.Equal(got, []uint32{5}) || nets.host != 7 {
			t.Errorf("networks %v, host %d, want 5 as long as the service runs, and 7", got, nets.host)
		}
		s.send(&wire.ToNode{Cancel: []wire.LeaseID{1}})
		got = s.heard()
		if len(got.Failures) != 1 || got.Failures[0].Failure.Cause != wire.CauseCancelled {
			t.Errorf("failures %+v, want the service cancelled", got.Failures)
		}
		if !slices.Equal(nets.forgot, []uint32{5}) || len(nets.vnis()) > 0 {
			t.Errorf("forgot %v, knows %v", nets.forgot, nets.vnis())
		}
	})
}

func TestServiceThatNeverListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, nets := netLab(t, 2)
		l.forever()
		l.start()
		s := l.accept()
		n := l.db(5, 1)
		s.send(&wire.ToNode{Host: 7, Networks: []wire.Network{n}, Offers: []wire.Offer{l.member(1, &n, 0), l.member(2, &n, 1)}})
		time.Sleep(readyWait + time.Second)
		got := s.heard()
		if len(got.Failures) != 1 || got.Failures[0].Lease != 2 || len(got.Started) != 1 {
			t.Fatalf("failures %+v, started %v, want the member that waits failed", got.Failures, got.Started)
		}
		if f := got.Failures[0].Failure; f.Cause != wire.CauseTimeout || !strings.Contains(f.Message, "5m0s have passed: db-0 does not listen on port 80") || f.Hint == "" {
			t.Errorf("failed with %+v", f)
		}
		// What cannot be asked is the infrastructure's failure, to be tried again elsewhere.
		nets.mu.Lock()
		nets.unusable = errors.New("no path to vm2")
		nets.mu.Unlock()
		s.send(&wire.ToNode{Offers: []wire.Offer{l.member(3, &n, 1)}})
		got = s.heard()
		if f := got.Failures[len(got.Failures)-1].Failure; !f.Cause.Infrastructure() || !strings.Contains(f.Message, "no path to vm2") {
			t.Errorf("failed with %+v", f)
		}
	})
}

// While a member fetches its inputs nothing else takes the slot that it was promised.
func TestMemberKeepsItsSlotWhileItFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := netLab(t, 1)
		l.sleeps(time.Hour)
		l.start()
		l.exch.takes = time.Minute
		s := l.accept()
		n := l.db(5, 1)
		far := l.exch.elsewhere("far away")
		member := l.member(1, &n, 0, far)
		member.Holders = []wire.Held{{Object: far, Peers: []wire.PeerID{wire.PeerOf(testKey(9))}}}
		s.send(&wire.ToNode{Host: 7, Networks: []wire.Network{n}, Offers: []wire.Offer{member, l.thunk(2, "other")}})
		time.Sleep(time.Minute + 10*time.Second)
		if got := s.heard(); !slices.Equal(got.Started, []wire.LeaseID{1}) {
			t.Errorf("started %v, want the member alone", got.Started)
		}
	})
}

// A member that is recalled, or cancelled, while it waits gives its slot back.
func TestMemberIsRecalledWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, nets := netLab(t, 3)
		l.forever()
		l.start()
		s := l.accept()
		n := l.db(5, 2)
		s.send(&wire.ToNode{Networks: []wire.Network{n}, Offers: []wire.Offer{l.member(1, &n, 0), l.member(2, &n, 1), l.member(3, &n, 2)}})
		time.Sleep(time.Second)
		s.send(&wire.ToNode{Recall: []wire.LeaseID{2}, Cancel: []wire.LeaseID{1, 3}})
		got := s.heard()
		slices.Sort(got.Recalled)
		if !slices.Equal(got.Recalled, []wire.LeaseID{2, 3}) || l.w.slots.free() != 3 || len(nets.vnis()) > 0 {
			t.Errorf("recalled %v, %d slots free, networks %v", got.Recalled, l.w.slots.free(), nets.vnis())
		}
	})
}

func TestOffersThatFitNoNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, nets := netLab(t, 3)
		l.forever()
		l.start()
		s := l.accept()
		n := l.db(5, 2)
		n.Members[2].Peer = wire.PeerOf(testKey(2))
		other := l.db(6, 1)
		plain := l.thunk(4, "plain")
		plain.Net = &wire.Place{VNI: 5}
		alone := l.member(5, &n, 1)
		alone.Net = nil
		far := l.member(6, &n, 1)
		far.Net.Member = 3
		builtin := offerOf(t, 7, wire.Thunk{Command: []string{wire.BuiltinSelect, "x"}, Platform: "linux/amd64", ABI: wire.ABI,
			Inputs: []wire.Input{{Path: "in", Object: wire.DirObject(l.root(), 0)}}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}})
		builtin.Net = &wire.Place{VNI: 5}
		space := l.member(8, &n, 1)
		space.Space = "ben"
		s.send(&wire.ToNode{Networks: []wire.Network{n}, Offers: []wire.Offer{l.member(1, &n, 0), l.member(2, &n, 2), l.member(3, &other, 0), plain, alone, far, builtin, space}})
		time.Sleep(2 * progressEvery)
		got := s.heard()
		if !slices.Equal(got.Started, []wire.LeaseID{1}) || len(got.Failures) != 7 {
			t.Errorf("started %v, %d failures, want one and the other 7", got.Started, len(got.Failures))
		}
		for _, f := range got.Failures {
			if f.Failure.Cause != wire.CauseInternal || !strings.Contains(f.Failure.Message, "the coordinator offers") {
				t.Errorf("lease %d failed with %+v", f.Lease, f.Failure)
			}
		}
		if got := nets.vnis(); !slices.Equal(got, []uint32{5}) {
			t.Errorf("knows %v", got)
		}
	})
}

// A coordinator that tells of what is no network, or of one twice, is not heard out; and a network
// whose offers did not come is forgotten with the connection.
func TestNetworksThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(l *lab, f *wire.ToNode){
		"no member":          func(_ *lab, f *wire.ToNode) { f.Networks[0].Members = nil },
		"a name twice":       func(_ *lab, f *wire.ToNode) { f.Networks[0].Members[2].Index = 0 },
		"the same twice":     func(l *lab, f *wire.ToNode) { f.Networks = append(f.Networks, l.db(5, 1)) },
		"a number too high":  func(_ *lab, f *wire.ToNode) { f.Host = wire.MaxHost + 1 },
		"to who gives none":  nil,
		"too many in a list": func(_ *lab, f *wire.ToNode) { f.Networks = make([]wire.Network, wire.MaxBatch+1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, nets := netLab(t, 3)
				if change == nil {
					l.cfg.Networks = nil
				}
				l.start()
				s := l.accept()
				f := &wire.ToNode{Host: 7, Networks: []wire.Network{l.db(5, 2)}}
				if change != nil {
					change(l, f)
				}
				s.send(f)
				<-s.ended
				l.accept()
				synctest.Wait()
				if got := nets.vnis(); len(got) > 0 {
					t.Errorf("knows %v on the next connection", got)
				}
			})
		})
	}
}

// On the next connection the worker says which leases are of no use to another epoch, and its number.
func TestWorkerSaysWhatIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := netLab(t, 3)
		l.forever()
		l.start()
		s := l.accept()
		n := l.db(5, 1)
		s.send(&wire.ToNode{Host: 7, Networks: []wire.Network{n}, Offers: []wire.Offer{l.member(1, &n, 0)}})
		s.heard()
		s.cut()
		h := l.accept().hello
		if h.Host != 7 || len(h.Working) != 1 || !h.Working[0].Fresh {
			t.Errorf("hello %+v", h)
		}
	})
}
