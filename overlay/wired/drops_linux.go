package wired

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Drops returns what was dropped since the plane was opened: sent by or for the slot of a number, or for
// 0 what belongs to no slot.
func (p *Plane) Drops(slot int) (d Drops, err error) {
	var t planeTally
	p.gate.RLock()
	defer p.gate.RUnlock()
	if err := p.objects.Drops.Lookup(uint32(slot), &t); err != nil {
		return d, fmt.Errorf("reading drops of slot %d: %w", slot, err)
	}
	return t.N, nil
}

// AllDrops returns the same for every slot, by number.
func (p *Plane) AllDrops() ([]Drops, error) {
	p.gate.RLock()
	defer p.gate.RUnlock()
	keys, tallies := make([]uint32, MaxSlots+1), make([]planeTally, MaxSlots+1)
	var at ebpf.MapBatchCursor
	n, err := p.objects.Drops.BatchLookup(&at, keys, tallies, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("reading drops: %w", err)
	}
	all := make([]Drops, MaxSlots+1)
	for i, t := range tallies[:n] {
		all[keys[i]] = t.N
	}
	return all, nil
}
