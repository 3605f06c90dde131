package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A ListenFlag is where to listen, as a command line says it.
type ListenFlag string

// Set checks the address.
func (l *ListenFlag) Set(text string) error {
	if _, err := ParseListen(text); err != nil {
		return err
	}
	*l = ListenFlag(text)
	return nil
}

// String is the text that was set.
func (l *ListenFlag) String() string { return string(*l) }

// Type is for the usage message.
func (l *ListenFlag) Type() string { return "addr" }

// ParseListen reads where to listen: multiaddrs with commas between them, or one host:port, which
// means QUIC and TCP there; without a host on all addresses. "" gives nil.
func ParseListen(text string) ([]string, error) {
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
