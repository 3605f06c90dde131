package wire

import "testing"

func TestParseTrust(t *testing.T) {
	for s, want := range map[string]Trust{"any": TrustAny, "own": TrustOwn, "2": 2, "8": MaxTrust} {
		if got, err := ParseTrust(s); err != nil || got != want || got.String() != s || !got.Valid() {
			t.Errorf("ParseTrust(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "1", "9", "-2", "all", "2 "} {
		if got, err := ParseTrust(s); err == nil {
			t.Errorf("ParseTrust(%q) = %v, want an error", s, got)
		}
	}
	if Trust(-1).Valid() || Trust(MaxTrust+1).Valid() || TrustOwn.Owners() != 0 || Trust(3).Owners() != 3 {
		t.Error("policies are not told apart")
	}
}
