package wire

import (
	"testing"
	"time"
)

func TestRevocationVerify(t *testing.T) {
	mesh, peer := testKey(1), PeerID(fill(9))
	good := SignRevocation(mesh, peer, noon, false)
	another, widened := *good, *good
	another.Peer = PeerID(fill(8))
	widened.Tickets = true
	for _, x := range []struct {
		name string
		r    *Revocation
		want Cause
		ok   bool
	}{
		{"good", good, CauseUnknown, true},
		{"of another mesh", SignRevocation(testKey(2), peer, noon, false), CauseUnauthorized, false},
		{"of another peer", &another, CauseUnauthorized, false},
		{"of tickets, too", &widened, CauseUnauthorized, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			if err := x.r.Verify(PeerOf(mesh)); CauseOf(err) != x.want || (err == nil) != x.ok {
				t.Errorf("Verify = %v, want cause %v", err, x.want)
			}
		})
	}
}

// A revocation lasts until no certificate that its peer may have can be renewed.
func TestRevocationOutlastsCertificates(t *testing.T) {
	r := SignRevocation(testKey(1), PeerID(fill(9)), noon, false)
	renewable := noon.Add(CertLife + RenewGrace)
	if r.Over(renewable) {
		t.Error("it is over while an old certificate can still be renewed")
	}
	if !r.Over(renewable.Add(time.Hour)) {
		t.Error("it is never over")
	}
}
