package main

import "testing"

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
