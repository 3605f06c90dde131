package graph

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("src/pkg%d/file%04d.go", i%17, i)
	}
	return keys
}

// contents describes groups by what is in them, and reductions by all that is below.
func contents(keys []string, limit int) map[string]bool {
	out := make(map[string]bool)
	for _, g := range grouped(keys, limit) {
		var names []string
		for _, m := range g.members {
			names = append(names, keys[m])
		}
		out[strings.Join(names, " ")] = true
	}
	return out
}

// news counts what is in now and not in before.
func news(before, now map[string]bool) (n int) {
	for k := range now {
		if !before[k] {
			n++
		}
	}
	return n
}

func TestGroupedProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.StringN(0, 8, 20), 0, 300, rapid.ID[string]).Draw(rt, "keys")
		limit := rapid.IntRange(1, 40).Draw(rt, "limit")
		groups := grouped(keys, limit)
		seen := make(map[int]bool)
		names := make(map[string]bool)
		for _, g := range groups {
			if len(g.members) == 0 || len(g.members) > limit {
				rt.Fatalf("group %q has %d members, want 1 to %d", g.bits, len(g.members), limit)
			}
			if names[g.bits] {
				rt.Fatalf("two groups %q", g.bits)
			}
			names[g.bits] = true
			for _, m := range g.members {
				if seen[m] {
					rt.Fatalf("key %d is in two groups", m)
				}
				seen[m] = true
			}
		}
		if len(seen) != len(keys) {
			rt.Fatalf("%d of %d keys are in groups", len(seen), len(keys))
		}
		// The order of the keys is of no account.
		shuffled := rapid.Permutation(keys).Draw(rt, "shuffled")
		sorted := func(k []string) map[string]bool {
			k = slices.Clone(k)
			slices.Sort(k)
			return contents(k, limit)
		}
		if a, b := sorted(keys), sorted(shuffled); news(a, b)+news(b, a) > 0 {
			rt.Fatalf("groups depend on the order of the keys")
		}
	})
}

// A key that comes or goes changes the group it is in. At the limit a group splits in two, or in
// the rare case more; nothing else moves.
func TestGroupedIsStable(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.StringN(1, 8, 20), 1, 300, rapid.ID[string]).Draw(rt, "keys")
		limit := rapid.IntRange(2, 40).Draw(rt, "limit")
		slices.Sort(keys)
		gone := rapid.IntRange(0, len(keys)-1).Draw(rt, "gone")
		fewer := slices.Delete(slices.Clone(keys), gone, gone+1)
		with, without := contents(keys, limit), contents(fewer, limit)
		if n := news(with, without); n > 1 {
			rt.Fatalf("removing a key made %d new groups, want at most 1", n)
		}
		if n := news(without, with); n != 1 {
			full := 0
			for _, g := range grouped(fewer, limit) {
				if len(g.members) == limit {
					full++
				}
			}
			if full == 0 {
				rt.Fatalf("adding a key made %d new groups, none was full, want 1", n)
			}
		}
	})
}

func TestReductionsProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 700).Draw(rt, "n")
		by := rapid.IntRange(2, 40).Draw(rt, "by")
		tree := reductions(numbered(n), by)
		if n == 0 {
			if len(tree) != 0 {
				rt.Fatalf("reductions over nothing = %d", len(tree))
			}
			return
		}
		used, inner := make(map[int]int), make(map[int]int)
		names := make(map[string]bool)
		for i, r := range tree {
			if len(r.parts) == 0 || len(r.parts) > by {
				rt.Fatalf("%q has %d parts, want 1 to %d", r.key, len(r.parts), by)
			}
			if names[r.key] || (r.key == "") != (i == len(tree)-1) {
				rt.Fatalf("reduction %d of %d is called %q", i, len(tree), r.key)
			}
			names[r.key] = true
			for _, m := range r.parts {
				if m.inner {
					if m.i >= i {
						rt.Fatalf("%q needs a later one", r.key)
					}
					inner[m.i]++
				} else {
					used[m.i]++
				}
			}
		}
		if len(used) != n || len(inner) != len(tree)-1 {
			rt.Fatalf("%d of %d keys and %d of %d inner results are used", len(used), n, len(inner), len(tree)-1)
		}
	})
}

const mapReduce = `
gaggle: 1
params: {top: 20}
defaults: {tools: [cat, tr, sort, uniq, awk, head], memory: 256MiB, timeout: 60s}
tasks:
  count:
    for: {src: {glob: "src/**/*.go", chunk: 25}}
    inputs: ["{{src}}"]
    shell: cat {{src}} | tr -cs 'A-Za-z_' '\n' | sort | uniq -c > counts
    outputs: [counts]
  merge:
    reduce: {from: "@count/counts", by: 16}
    shell: awk '{n[$2]+=$1} END {for (w in n) print n[w], w}' in/* > counts
    outputs: [counts]
  top:
    inputs: {counts: "@merge/counts"}
    shell: sort -rn counts | head -n {{top}} > top.txt
    outputs: [top.txt]
targets: {top.txt: "@top/top.txt"}
`

// ids returns the names of the plan's tasks by their thunk.
func ids(p *Plan) map[string]string {
	m := make(map[string]string)
	for i, id := range p.IDs {
		m[id.String()] = p.Tasks[i].Name
	}
	return m
}

// changed lists the tasks of now that before does not have.
func changed(before, now *Plan) (names []string) {
	old := ids(before)
	for i, id := range now.IDs {
		if _, same := old[id.String()]; !same {
			names = append(names, now.Tasks[i].Name)
		}
	}
	return names
}

// One file added to 3,000, or taken away, re-runs one chunk and its path up the tree.
func TestAddingOneFileOfThreeThousand(t *testing.T) {
	keys := numbered(3000)
	m := files(keys...)
	before, err := m.expandText(mapReduce)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d thunks over %d files", len(before.Tasks), len(keys))
	for _, file := range []string{"src/new.go", "src/pkg1/another.go", "src/z/z.go"} {
		m.fs[file] = m.fs[keys[0]]
		after, err := m.expandText(mapReduce)
		if err != nil {
			t.Fatal(err)
		}
		wantPath(t, changed(before, after))
		delete(m.fs, file)
		again, err := m.expandText(mapReduce)
		if err != nil {
			t.Fatal(err)
		}
		wantPath(t, changed(after, again))
	}
	t.Run("without any one of them", func(t *testing.T) {
		whole := contents(keys, chunkLimit(25))
		split := 0
		for i := 0; i < len(keys); i += 7 {
			fewer := contents(slices.Delete(slices.Clone(keys), i, i+1), chunkLimit(25))
			if n := news(whole, fewer); n != 1 {
				t.Fatalf("removing %s changes %d chunks, want 1", keys[i], n)
			}
			if news(fewer, whole) != 1 {
				split++
			}
		}
		t.Logf("adding one of %d files splits a full chunk %d times", len(keys)/7, split)
		if split > len(keys)/7/25 {
			t.Errorf("adding a file splits a chunk %d times of %d", split, len(keys)/7)
		}
	})
}

// wantPath checks that the tasks are one chunk and one path from it to the top.
func wantPath(t *testing.T, names []string) {
	t.Helper()
	var chunks, levels []string
	for _, n := range names {
		if strings.HasPrefix(n, "count[") {
			chunks = append(chunks, n)
		} else {
			levels = append(levels, strings.SplitN(n, ".", 2)[0])
		}
	}
	if want := []string{"merge[1", "merge", "top"}; len(chunks) != 1 || !slices.Equal(levels, want) {
		t.Errorf("re-run %v, want one count and its path: one of each of %v", names, want)
	}
}

func TestChunkSizes(t *testing.T) {
	for _, n := range []int{1, 24, 25, 100, 1000, 3000, 10_000} {
		groups := grouped(numbered(n), chunkLimit(25))
		mean := float64(n) / float64(len(groups))
		t.Logf("%d files: %d chunks of %.1f", n, len(groups), mean)
		if n >= 100 && (mean < 15 || mean > 37.5) {
			t.Errorf("%d files: chunks of %.1f on average, want about 25", n, mean)
		}
	}
}
