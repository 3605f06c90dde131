// Command bitswap says what boxo's bitswap takes for what the exchange's benchmarks have gaggle do: it
// makes hosts on loopback, does one thing, and prints the Result as JSON. It is a module of its own, so
// that gaggle does not depend on boxo.
//
//	bitswap bulk quic|tcp MIB    one peer has so many MiB on disk in blocks of 1 MiB, another fetches them
//	bitswap requests CALLERS N   N blocks of 4 KiB in memory, so many at a time
//	bitswap first N              dials a peer and gets a block of 4 KiB, N times with new hosts
//	bitswap idle N               N peers of another process connect and do nothing
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// A Result is what was measured; what a command does not measure is zero.
type Result struct {
	Seconds float64 `json:"seconds"` // in all; of first the median
	CPU     float64 `json:"cpu"`     // seconds of this process
	Heap    float64 `json:"heap"`    // bytes a peer
	RSS     float64 `json:"rss"`     // likewise
}

func main() {
	r, err := run(context.Background(), os.Args[1:])
	if err == nil && r != nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bitswap:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (*Result, error) {
	switch {
	case len(args) == 3 && args[0] == "bulk":
		return bulk(ctx, args[1], number(args[2]))
	case len(args) == 3 && args[0] == "requests":
		return requests(ctx, number(args[1]), number(args[2]))
	case len(args) == 2 && args[0] == "first":
		return first(ctx, number(args[1]))
	case len(args) == 2 && args[0] == "idle":
		return idle(ctx, number(args[1]))
	case len(args) == 3 && args[0] == "peers":
		return nil, peers(ctx, args[1], number(args[2]))
	}
	return nil, fmt.Errorf("%q is no command; see the package comment", args)
}

// number reads a count. What is none is one, which nobody takes for a measurement.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 1
	}
	return max(n, 1)
}

// timed measures what do takes.
func timed(do func() error) (*Result, error) {
	begun, c0 := time.Now(), cpu()
	if err := do(); err != nil {
		return nil, err
	}
	return &Result{Seconds: time.Since(begun).Seconds(), CPU: (cpu() - c0).Seconds()}, nil
}

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// first measures first contacts one after the other.
func first(ctx context.Context, n int) (*Result, error) {
	var all []float64
	for i := range n {
		r, err := contact(ctx, uint64(i))
		if err != nil {
			return nil, err
		}
		all = append(all, r.Seconds)
	}
	slices.Sort(all)
	return &Result{Seconds: all[n/2]}, nil
}
