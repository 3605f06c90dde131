package peer

import (
	"slices"
	"testing"

	"gaggle/wire"
)

// A host answers a knock by the transports that it listens on.
func TestKnock(t *testing.T) {
	m := newMesh(t)
	h, deaf := m.host(both), m.host(tcpOnly)
	gone := deaf.Addrs()
	deaf.Close()
	for _, a := range Knock(soon(t), h.mesh, h.ID(), h.Addrs()) {
		if a.Err != nil || a.Took == 0 {
			t.Errorf("it answers by %s after %v, %v", a.Transport, a.Took, a.Err)
		}
	}
	half := slices.Concat(gone, h.Addrs()[:1])
	answers := Knock(soon(t), h.mesh, h.ID(), half)
	if len(answers) != 2 || answers[0].Err != nil || wire.CauseOf(answers[1].Err) != wire.CauseUnreachable {
		t.Errorf("Knock at %q = %+v, want UDP alone", half, answers)
	}
	other := Knock(soon(t), h.mesh, wire.PeerOf(newKey(t)), h.Addrs())
	if len(other) != 2 || wire.CauseOf(other[0].Err) != wire.CauseUnauthorized {
		t.Errorf("Knock for another peer = %+v, want that it is not there", other)
	}
}
