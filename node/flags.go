package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gaggle/wire"
)

// A sizeFlag is a number of bytes with a unit.
type sizeFlag int64

var sizeUnits = []struct {
	name string
	n    float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}}

// Set reads a size like 20GiB.
func (s *sizeFlag) Set(text string) error {
	digits, unit := text, 1.0
	for _, u := range sizeUnits {
		if d, ok := strings.CutSuffix(text, u.name); ok {
			digits, unit = strings.TrimSpace(d), u.n
			break
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(n*unit >= 1 && n*unit <= 1<<60) {
		return fmt.Errorf("want a size like 500MiB or 20GiB")
	}
	*s = sizeFlag(n * unit)
	return nil
}

func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return sizeText(int64(*s))
}

// Type is for the usage message.
func (s *sizeFlag) Type() string { return "size" }

// minUpload is the least --max-upload: at half of it ten who fetch the same wait for ten minutes between
// two pieces, after which they give up, and at a fifth 64 KiB take the 10 s for which they wait.
const minUpload = 32 << 10

// sizeText is a size for people.
func sizeText(n int64) string {
	switch {
	case n >= 1<<40:
		return fmt.Sprintf("%.1f TiB", float64(n)/(1<<40))
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// A labelFlag gathers labels.
type labelFlag struct{ labels *map[string]string }

// maxLabels is what a coordinator accepts of one node.
const maxLabels = wire.MaxName

// Set reads k=v.
func (l *labelFlag) Set(text string) error {
	k, v, ok := strings.Cut(text, "=")
	if !ok || !wire.ValidName(k) || !wire.ValidName(v) {
		return fmt.Errorf("want k=v, both of letters, digits, '_', '.' and '-'")
	}
	if *l.labels == nil {
		*l.labels = map[string]string{}
	}
	if len(*l.labels) >= maxLabels {
		return fmt.Errorf("more than %d labels", maxLabels)
	}
	(*l.labels)[k] = v
	return nil
}

func (l *labelFlag) String() string { return "" }

// Type is for the usage message.
func (l *labelFlag) Type() string { return "k=v" }

// A cidrFlag gathers networks of IPv4.
type cidrFlag struct{ all *[]netip.Prefix }

// maxCIDRs is more than a machine has interfaces for.
const maxCIDRs = 64

// Set reads a.b.c.d/n, or none, which forgets those before.
func (c *cidrFlag) Set(text string) error {
	if text == "none" {
		*c.all = nil
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() || p.Bits() == 0 {
		return fmt.Errorf("want a network like 192.168.1.0/24, or none")
	}
	if len(*c.all) >= maxCIDRs {
		return fmt.Errorf("more than %d networks", maxCIDRs)
	}
	*c.all = append(*c.all, p.Masked())
	return nil
}

func (c *cidrFlag) String() string { return "" }

// Type is for the usage message.
func (c *cidrFlag) Type() string { return "CIDR" }
