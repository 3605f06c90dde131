package wire

import (
	"math"
	"testing"
)

func TestHintsSlots(t *testing.T) {
	for _, c := range []struct {
		milliCPU   int64
		have, want int
	}{{0, 4, 1}, {1, 4, 1}, {1000, 4, 1}, {1001, 4, 2}, {4000, 4, 4}, {64_000, 4, 4}, {math.MaxInt64, 4, 4}, {500, 0, 0}} {
		if got := (Hints{MilliCPU: c.milliCPU}).Slots(c.have); got != c.want {
			t.Errorf("%d thousandths of a core take %d slots of %d, want %d", c.milliCPU, got, c.have, c.want)
		}
	}
}
