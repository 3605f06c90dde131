package graph

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"gaggle/wire"
)

// chunk and reduce must give nearly the same groups when a key comes or goes, or one new file
// would re-run everything behind it. So a key's place is decided by its sha2-256 alone, as in
// extendible hashing (Fagin et al., TODS 1979): the keys are the leaves of a binary trie over
// the bits of their hashes, and the topmost nodes with at most limit keys below are the groups. A
// group is named by its bits. A key that comes or goes changes the one group it is in; only where
// that goes over limit does it become two, and where it and its sibling fit in one do they merge.
// On average a group is about two thirds full.
//
// reduce does the same again with the names of the groups until there is one.

// A group is some keys that go to one instance.
type group struct {
	bits    string // the prefix of the hashes of its members; "" if it is the only group
	members []int  // indexes of keys, ascending
}

// grouped divides keys, which differ, into groups of at most limit, in the order of their bits.
func grouped(keys []string, limit int) []group {
	type hashed struct {
		hash uint64
		i    int
	}
	hs := make([]hashed, len(keys))
	for i, k := range keys {
		d := wire.Sum([]byte(k))
		hs[i] = hashed{binary.BigEndian.Uint64(d[:]), i}
	}
	slices.SortFunc(hs, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), strings.Compare(keys[a.i], keys[b.i]))
	})
	var out []group
	var split func(hs []hashed, depth int)
	split = func(hs []hashed, depth int) {
		if len(hs) == 0 {
			return
		}
		if len(hs) <= limit || depth == 64 {
			// Where 64 bits are equal nobody can tell keys apart by hash; position must do.
			for part := range slices.Chunk(hs, limit) {
				g := group{members: make([]int, len(part))}
				if depth > 0 {
					g.bits = strconv.FormatUint(part[0].hash>>(64-depth)|1<<depth, 2)[1:]
				}
				for i, h := range part {
					g.members[i] = h.i
				}
				slices.Sort(g.members)
				out = append(out, g)
			}
			return
		}
		bit := uint64(1) << (63 - depth)
		mid, _ := slices.BinarySearchFunc(hs, true, func(h hashed, _ bool) int {
			if h.hash&bit != 0 {
				return 0
			}
			return -1
		})
		split(hs[:mid], depth+1)
		split(hs[mid:], depth+1)
	}
	split(hs, 0)
	return out
}

// chunkLimit is the most values in a chunk of about n: groups are between half full and full,
// which for this limit is n on average.
func chunkLimit(n int) int { return n + n/2 }

// A reduction is an instance of a reduce: its key, "" for the root, and what it gets.
type reduction struct {
	key   string
	parts []member
}

// A member of a reduction is the instance from[i] of what is reduced, or an earlier reduction.
type member struct {
	key   string
	i     int
	inner bool // i is of an earlier reduction
}

// reductions returns the tree of instances over keys, each with at most by parts; the root is the
// last. There is a root even over one key; over none there is nothing.
func reductions(keys []string, by int) []reduction {
	var out []reduction
	if len(keys) == 0 {
		return out
	}
	parts := make([]member, len(keys))
	for i, k := range keys {
		parts[i] = member{key: k, i: i}
	}
	for level := 1; ; level++ {
		names := make([]string, len(parts))
		for i, p := range parts {
			names[i] = p.key
		}
		groups := grouped(names, by)
		next := make([]member, len(groups))
		for gi, g := range groups {
			r := reduction{}
			if len(groups) > 1 {
				r.key = strconv.Itoa(level) + "." + g.bits
			}
			for _, m := range g.members {
				r.parts = append(r.parts, parts[m])
			}
			next[gi] = member{key: r.key, i: len(out), inner: true}
			out = append(out, r)
		}
		if len(groups) == 1 {
			return out
		}
		parts = next
	}
}
