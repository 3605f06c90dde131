package wired

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// A Reason says why the programs dropped a packet.
type Reason int

const (
	Unbound   Reason = iota // the slot is in no network
	Protocol                // not IPv4, or with a VLAN tag
	Source                  // not from the slot's own address
	Outside                 // to no address of a tenant network: broadcast, multicast, the world
	Rate                    // the slot had more misses than it may
	Unrouted                // no route after the agent was asked
	Refused                 // the route leads nowhere
	Absent                  // from another host, for no slot that is here
	Spoofed                 // from another host, but its source lives elsewhere
	Malformed               // no packet of VXLAN
	Failed                  // the kernel could not, for want of memory or offload
	reasons
)

var reasonNames = [reasons]string{"unbound", "protocol", "source", "outside", "rate", "unrouted", "refused", "absent",
	"spoofed", "malformed", "failed"}

func (r Reason) String() string {
	if r >= 0 && r < reasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", int(r))
}

// Drops returns how many packets were dropped for each reason since the plane was opened: sent by
// or for the slot of a number, or for 0 those that belong to no slot.
func (p *Plane) Drops(slot int) (map[Reason]uint64, error) {
	var t planeTally
	p.gate.RLock()
	defer p.gate.RUnlock()
	if err := p.objects.Drops.Lookup(uint32(slot), &t); err != nil {
		return nil, fmt.Errorf("reading drops of slot %d: %w", slot, err)
	}
	return counted(&t), nil
}

// AllDrops returns how many packets were dropped for each reason, by all slots and those that
// belong to none.
func (p *Plane) AllDrops() (map[Reason]uint64, error) {
	var sum planeTally
	p.gate.RLock()
	defer p.gate.RUnlock()
	keys, tallies := make([]uint32, MaxSlots+1), make([]planeTally, MaxSlots+1)
	var at ebpf.MapBatchCursor
	n, err := p.objects.Drops.BatchLookup(&at, keys, tallies, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("reading drops: %w", err)
	}
	for _, t := range tallies[:n] {
		for r := range t.N {
			sum.N[r] += t.N[r]
		}
	}
	return counted(&sum), nil
}

func counted(t *planeTally) map[Reason]uint64 {
	all := map[Reason]uint64{}
	for r, n := range t.N {
		if n > 0 {
			all[Reason(r)] = n
		}
	}
	return all
}
