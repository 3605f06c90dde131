package graph

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"gaggle/wire"
)

// wholeNumber reads an integer from lo to hi.
func wholeNumber(s string, lo, hi int) (int, string) {
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n > hi {
		return 0, fmt.Sprintf("%q is not a whole number from %d to %d", clip(s), lo, hi)
	}
	return n, ""
}

// sizeUnits are the units of memory: powers of 1024, and of 1000.
var sizeUnits = []struct {
	name string
	n    float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// parseSize reads a number of bytes with a unit, "256MiB".
func parseSize(s string) (int64, string) {
	digits, unit := s, 1.0
	for _, u := range sizeUnits {
		if d, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = strings.TrimRight(d, " "), u.n
			break
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if n *= unit; err != nil || math.IsNaN(n) || n < 1 || n > wire.MaxBlob {
		return 0, fmt.Sprintf("%q is not a size up to 1TiB", clip(s))
	}
	return int64(n), ""
}

// parseTimeout reads a duration as Go writes it, "1m30s".
func parseTimeout(s string) (time.Duration, string) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > wire.MaxTimeout {
		return 0, fmt.Sprintf("%q is not a duration up to %dh", clip(s), int(wire.MaxTimeout.Hours()))
	}
	return d, ""
}

// parseCPU reads a number of cores, "0.5", as thousandths.
func parseCPU(s string) (int64, string) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0.001 && n <= 1024) {
		return 0, fmt.Sprintf("%q is not a number of cores from 0.001 to 1024", clip(s))
	}
	return int64(math.Round(n * 1000)), ""
}
