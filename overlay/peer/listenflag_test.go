package peer

import (
	"slices"
	"testing"
)

func TestParseListen(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string // nil is an error
	}{
		{":7070", []string{"/ip4/0.0.0.0/udp/7070/quic-v1", "/ip6/::/udp/7070/quic-v1", "/ip4/0.0.0.0/tcp/7070", "/ip6/::/tcp/7070"}},
		{"10.0.0.1:80", []string{"/ip4/10.0.0.1/udp/80/quic-v1", "/ip4/10.0.0.1/tcp/80"}},
		{"[::1]:0", []string{"/ip6/::1/udp/0/quic-v1", "/ip6/::1/tcp/0"}},
		{"/ip4/1.2.3.4/tcp/5,/ip4/1.2.3.4/tcp/6", []string{"/ip4/1.2.3.4/tcp/5", "/ip4/1.2.3.4/tcp/6"}},
		{"7070", nil},
		{":70700", nil},
		{"anna.example:7070", nil},
		{"10.0.0.1:", nil},
	} {
		got, err := ParseListen(c.in)
		if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("ParseListen(%q) = %q, %v, want %q", c.in, got, err, c.want)
		}
	}
	if got, err := ParseListen(""); got != nil || err != nil {
		t.Errorf("ParseListen of nothing = %q, %v", got, err)
	}
}
