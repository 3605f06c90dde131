package main

import (
	"slices"
	"testing"
)

func TestMultiaddrs(t *testing.T) {
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
		got, err := multiaddrs(c.in)
		if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("multiaddrs(%q) = %q, %v, want %q", c.in, got, err, c.want)
		}
	}
	if got, err := multiaddrs(""); got != nil || err != nil {
		t.Errorf("multiaddrs of nothing = %q, %v", got, err)
	}
}

func TestSizeFlag(t *testing.T) {
	for in, want := range map[string]int64{"1GiB": 1 << 30, "1.5 GiB": 3 << 29, "500MB": 500_000_000, "20G": 20 << 30, "4096": 4096} {
		var s sizeFlag
		if err := s.Set(in); err != nil || int64(s) != want {
			t.Errorf("Set(%q) = %v, size %d, want %d", in, err, s, want)
		}
	}
	for _, in := range []string{"", "much", "-1GiB", "NaN", "Inf", "1e300TB", "0"} {
		var s sizeFlag
		if err := s.Set(in); err == nil {
			t.Errorf("Set(%q) = size %d, want an error", in, s)
		}
	}
}

func TestLabelFlag(t *testing.T) {
	var labels map[string]string
	f := labelFlag{&labels}
	for _, in := range []string{"disk=ssd", "zone=a", "disk=hdd"} {
		if err := f.Set(in); err != nil {
			t.Errorf("Set(%q) = %v", in, err)
		}
	}
	if len(labels) != 2 || labels["disk"] != "hdd" {
		t.Errorf("labels = %v", labels)
	}
	for _, in := range []string{"", "disk", "=x", "a=", "a b=c", "a=b c"} {
		if err := f.Set(in); err == nil {
			t.Errorf("Set(%q) was taken", in)
		}
	}
}
