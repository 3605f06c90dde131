package exchange

import (
	"math/rand/v2"
	"slices"
	"sync"

	"gaggle/wire"
)

// maxTallies and tallyPieces bound what is remembered of which pieces were sent how often.
const (
	maxTallies  = 64
	tallyPieces = 4 << 20
)

// tallies are of the blobs sent lately.
type tallies struct {
	mu   sync.Mutex // guards the fields below
	list []*tally   // the longest unused first
}

// A tally counts how often each piece of a blob was sent.
type tally struct {
	key  lotKey
	sent []uint32
}

// choose returns which of the pieces wanted to send: the one that was sent least often from here. So of
// a blob that only this member has each piece goes out once before any goes out twice, whoever asks.
// Equal ones take turns at random.
func (ts *tallies) choose(k lotKey, l *lot, want []byte) (int, bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.of(k)
	best, ties := -1, 0
	for i := range t.sent {
		if !bit(want, i) || l.have != nil && !l.have[i] {
			continue
		}
		switch {
		case best < 0 || t.sent[i] < t.sent[best]:
			best, ties = i, 1
		case t.sent[i] == t.sent[best]:
			if ties++; rand.IntN(ties) == 0 {
				best = i
			}
		}
	}
	if best < 0 {
		return 0, false
	}
	t.sent[best]++
	return best, true
}

// of returns the tally of a blob, which is then the last to be forgotten. Called with mu held.
func (ts *tallies) of(k lotKey) *tally {
	i := slices.IndexFunc(ts.list, func(t *tally) bool { return t.key == k })
	t := &tally{key: k}
	if i < 0 {
		t.sent = make([]uint32, wire.Pieces(k.size))
	} else {
		t = ts.list[i]
		ts.list = slices.Delete(ts.list, i, i+1)
	}
	ts.list = append(ts.list, t)
	n, keep := 0, len(ts.list)
	for keep > 0 && len(ts.list)-keep < maxTallies {
		if n += len(ts.list[keep-1].sent); n > tallyPieces && keep < len(ts.list) {
			break
		}
		keep--
	}
	ts.list = slices.Delete(ts.list, 0, keep)
	return t
}
