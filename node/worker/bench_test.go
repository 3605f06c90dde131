package worker

import (
	"fmt"
	"testing"

	"gaggle/wire"
)

// BenchmarkThunks is what the worker itself costs a thunk: everything but the sandbox and a disk.
func BenchmarkThunks(b *testing.B) {
	l := newLab(b, 4).start()
	s := l.accept()
	offers := make([]wire.Offer, b.N)
	for i := range offers {
		offers[i] = l.thunk(wire.LeaseID(i+1), fmt.Sprint("c", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	const ahead = 64 // offered before the first of them is done
	for i := range offers {
		f := &wire.ToNode{Offers: offers[i : i+1]}
		if i >= ahead {
			s.waitOutcomes(i - ahead + 1)
			f.Acked = []wire.LeaseID{offers[i-ahead].Lease}
		}
		s.send(f)
	}
	s.waitOutcomes(b.N)
}
