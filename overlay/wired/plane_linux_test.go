package wired

import (
	"testing"
)

func TestTwoHosts(t *testing.T) {
	for _, way := range []Way{Direct, External} {
		t.Run(way.String(), func(t *testing.T) {
			a, b := twoHosts(t, Config{})
			x, y := a.endpoint(t, 7), b.endpoint(t, 7)
			meet(t, way, x, y)
			p, q := x.udp(t), y.udp(t)
			sendUDP(t, p, y.addr, "ping")
			wantUDP(t, q, x.addr, "ping")
			sendUDP(t, q, x.addr, "pong")
			wantUDP(t, p, y.addr, "pong")
			pour(t, x, y, 4<<20)
			pour(t, y, x, 4<<20)
			for _, h := range []*host{a, b} {
				if d := drops(t, h, 1); len(d) > 0 {
					t.Errorf("dropped %v", d)
				}
			}
		})
	}
}
