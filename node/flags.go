package main

import (
	"fmt"
	"net/netip"
	"slices"
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

// A listenFlag is where to listen.
type listenFlag string

// Set checks the address.
func (l *listenFlag) Set(text string) error {
	if _, err := multiaddrs(text); err != nil {
		return err
	}
	*l = listenFlag(text)
	return nil
}

func (l *listenFlag) String() string { return string(*l) }

// Type is for the usage message.
func (l *listenFlag) Type() string { return "addr" }

// multiaddrs reads where to listen: multiaddrs with commas between them, or one host:port, which
// means QUIC and TCP there; without a host on all addresses. "" gives nil.
func multiaddrs(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if strings.HasPrefix(text, "/") {
		return strings.Split(text, ","), nil
	}
	host, port, ok := cutPort(text)
	if n, err := strconv.ParseUint(port, 10, 16); !ok || err != nil {
		return nil, fmt.Errorf("want host:port, :port, or multiaddrs like /ip4/0.0.0.0/udp/7070/quic-v1")
	} else {
		port = strconv.FormatUint(n, 10)
	}
	ips := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if host != "" {
		ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			return nil, fmt.Errorf("%q is not an address of this machine, like 192.168.1.5", host)
		}
		ips = []netip.Addr{ip.Unmap()}
	}
	var out []string
	for _, ip := range ips {
		net := "/ip4/"
		if ip.Is6() {
			net = "/ip6/"
		}
		out = append(out, net+ip.WithZone("").String()+"/udp/"+port+"/quic-v1",
			net+ip.WithZone("").String()+"/tcp/"+port)
	}
	// QUIC first: it is what peers should try first.
	slices.SortStableFunc(out, func(a, b string) int { return quicFirst(a) - quicFirst(b) })
	return out, nil
}

func cutPort(text string) (host, port string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return "", "", false
	}
	return text[:i], text[i+1:], true
}

func quicFirst(addr string) int {
	if strings.HasSuffix(addr, "/quic-v1") {
		return 0
	}
	return 1
}
