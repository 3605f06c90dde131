package wire

import "strconv"

// A Trust is a reader's policy: whose claims of values a job believes. A number from 2 to MaxTrust
// asks for nodes of so many owners to claim the same value. Who a node belongs to stands in its
// certificate.
type Trust int

const (
	TrustAny Trust = 0 // any member's
	TrustOwn Trust = 1 // those of nodes that belong to the submitter's owner
)

// Valid reports whether t is a policy.
func (t Trust) Valid() bool { return t >= TrustAny && t <= MaxTrust }

// Owners returns how many owners' nodes have to claim the same value, 0 if their number does not
// matter.
func (t Trust) Owners() int {
	if t <= TrustOwn {
		return 0
	}
	return int(t)
}

// String returns what ParseTrust reads.
func (t Trust) String() string {
	switch t {
	case TrustAny:
		return "any"
	case TrustOwn:
		return "own"
	}
	return strconv.Itoa(int(t))
}

// ParseTrust reads "any", "own", or a number of owners from 2 to MaxTrust.
func ParseTrust(s string) (Trust, error) {
	switch s {
	case "any":
		return TrustAny, nil
	case "own":
		return TrustOwn, nil
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 2 && n <= MaxTrust {
		return Trust(n), nil
	}
	return TrustAny, Errorf(CauseInvalid, "give any, own, or how many owners' nodes have to give the same value: 2 to "+strconv.Itoa(MaxTrust),
		"%q does not say whom to believe", s)
}
