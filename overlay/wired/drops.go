package wired

import "fmt"

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
	Reasons                 // how many there are
)

var reasonNames = [Reasons]string{"unbound", "protocol", "source", "outside", "rate", "unrouted", "refused", "absent",
	"spoofed", "malformed", "failed"}

func (r Reason) String() string {
	if r >= 0 && r < Reasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", int(r))
}

// Drops are how many packets were dropped, by Reason.
type Drops [Reasons]uint64

// Add adds what another tally has more than a third, which is older.
func (d *Drops) Add(now, before Drops) {
	for r := range d {
		d[r] += now[r] - min(now[r], before[r])
	}
}
