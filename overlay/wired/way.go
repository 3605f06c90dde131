package wired

import "fmt"

// A Way is how packets get to where a route leads.
type Way uint32

const (
	Local    Way = 1 + iota // a slot of this plane
	Direct                  // a host in a trusted network; the programs write VXLAN's headers
	External                // the same, by a device that the kernel has for that
	Agent                   // the agent, which carries them
	Nowhere                 // they are dropped, and who sends them is told that there is no such host
)

func (w Way) String() string {
	names := [...]string{"no way", "local", "direct", "external", "agent", "nowhere"}
	if int(w) < len(names) {
		return names[w]
	}
	return fmt.Sprintf("way %d", uint32(w))
}
