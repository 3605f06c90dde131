package wired

import (
	"errors"
	"net/netip"
	"testing"
)

func TestPool(t *testing.T) {
	a, b := twoHosts(t, Config{})
	q := NewPool(a.plane, PoolConfig{Low: 2, High: 4, Make: newNS, Dress: func(r Ready) error {
		at := netip.AddrFrom4([4]byte{10, 1, 0, byte(r.Slot.Number())})
		return dress(r.NS, at)
	}})
	defer q.Close()
	full := func() bool { return q.Len() == 4 }
	waitFor(t, "the pool to be full", full)
	y := b.endpoint(t, 7)
	used := map[int]bool{}
	for range 3 {
		r, err := q.Take()
		if err != nil {
			t.Fatal(err)
		}
		defer r.NS.Close()
		n := r.Slot.Number()
		if used[n] {
			t.Errorf("slot %d was taken twice", n)
		}
		used[n] = true
		x := &endpoint{host: a, ns: r.NS, slot: r.Slot, addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(n)})}
		x.bind(t, 7)
		meet(t, Direct, x, y)
		pour(t, x, y, 1<<10)
	}
	waitFor(t, "the pool to be full again", full)

	a.plane.mu.Lock()
	a.plane.free = nil
	a.plane.mu.Unlock()
	for range 4 {
		r, err := q.Take()
		if err != nil {
			t.Fatal(err)
		}
		defer r.NS.Close()
	}
	if _, err := q.Take(); !errors.Is(err, ErrExhausted) {
		t.Errorf("a slot of an empty pool of an exhausted plane: %v, want %v", err, ErrExhausted)
	}
	waitFor(t, "the pool to notice", func() bool { return errors.Is(q.Err(), ErrExhausted) })
}

func TestPoolCloses(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	q := NewPool(a.plane, PoolConfig{Low: 1, High: 3, Make: newNS})
	waitFor(t, "a slot", func() bool { return q.Len() > 0 })
	q.Close()
	if _, err := q.Take(); !errors.Is(err, ErrClosed) {
		t.Errorf("Take of a closed pool: %v, want %v", err, ErrClosed)
	}
	waitFor(t, "its slots to go", func() bool { return len(a.devices(t)) == 2 }) // the TAPs
}
