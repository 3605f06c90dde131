package graph

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// BenchmarkExpand1e5 expands 10^5 instances, each with a file, a script and a dependent.
func BenchmarkExpand1e5(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"for", `
gaggle: 1
defaults: {tools: [cc], memory: 256MiB, env: {MODE: fast}}
tasks:
  cc:
    for: {i: {range: [0, 50000]}}
    inputs: [cc.sh, common.h]
    shell: ./cc.sh common.h "{{i}}" > out.o
    outputs: [out.o]
  check:
    for: {i: {range: [0, 50000]}}
    inputs: {o: "@cc[{{i}}]/out.o"}
    run: [cmp, o, "{{i}}"]
    tools: [cmp]
    outputs: [stdout]
  sum:
    reduce: {from: "@check/stdout", by: 100}
    shell: cat in/* > sum
    tools: [cat]
    outputs: [sum]
targets: {sum: "@sum/sum"}
`},
		{"json", explicit(100_000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := files("cc.sh", "common.h")
			b.ReportAllocs()
			thunks := 0
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				f, err := Decode(strings.NewReader(c.text), "g")
				if err != nil {
					b.Fatal(err)
				}
				p, err := Expand(context.Background(), f, m.env())
				if err != nil {
					b.Fatal(err)
				}
				f = nil
				runtime.GC()
				runtime.ReadMemStats(&after)
				thunks += len(p.Tasks)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(p.Tasks)), "B/thunk")
				runtime.KeepAlive(p)
			}
			b.ReportMetric(float64(thunks)/b.Elapsed().Seconds(), "thunks/s")
		})
	}
}

// explicit is a graph of n tasks as a program would print it: a tree of additions.
func explicit(n int) string {
	var b strings.Builder
	b.WriteString(`{"gaggle":1,"tasks":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"t%d":{"inputs":{"sh":"cc.sh"`, i)
		for j, k := range []int{2*i + 1, 2*i + 2} {
			if k < n {
				fmt.Fprintf(&b, `,"in%d":"@t%d/out"`, j, k)
			}
		}
		fmt.Fprintf(&b, `},"tools":["cat"],"run":["./cc.sh","%d"],"outputs":["out"]}`, i)
	}
	b.WriteString(`},"targets":{"out":"@t0/out"}}`)
	return b.String()
}
