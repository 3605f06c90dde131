package main

import "testing"

// A store takes half of what is free and no more, and the node takes tasks beside it; of a full disk a store
// takes something, for without a bound it would take all, and the node takes no tasks.
func TestStoreAndRoom(t *testing.T) {
	for _, c := range []struct {
		free, store, room int64 // MiB
	}{
		{0, 16, 8},
		{7, 16, 8},
		{32, 16, 8},
		{100, 50, 25},
		{300, 150, 75},
		{1 << 10, 512, 256},
		{100 << 10, 50 << 10, 256},
	} {
		store := storeOf(c.free << 20 / 2)
		if room := roomFor(store); store != c.store<<20 || room != c.room<<20 {
			t.Errorf("with %d MiB free a store of %d MiB, and %d free for tasks; want %d and %d",
				c.free, store>>20, room>>20, c.store, c.room)
		}
	}
}
