package sched

import (
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A kind is tasks of one name in one space, which are taken to run for about as long.
type kind struct {
	ewma   time.Duration // on a node of a pace of 1
	guess  time.Duration // while none has ended: twice the longest so far
	recent []sample      // the last keepSamples, a ring
	count  int

	blamed   wire.PeerID   // the last node on which one failed that succeeded elsewhere
	blamedAt time.Duration // and when
	flaky    time.Duration // until when that says nothing of a node
}

type kindKey struct {
	space uint32
	name  string
}

// A sample is how long a node took.
type sample struct {
	took time.Duration
	node nodeRef
}

const (
	keepSamples = 32
	// unknownRun is the estimate for a kind that has not run yet.
	unknownRun = time.Second
	// builtinRun is about what a builtin takes: reading some directories.
	builtinRun = 5 * time.Millisecond
	// maxKinds bounds the kinds kept; those beyond it share one.
	maxKinds = 20_000
	// maxClasses is how many classes are kept that no run asks for.
	maxClasses = 1000
)

func (s *State) kind(space uint32, name string) *kind {
	id := kindKey{space, name}
	k := s.kindOf[id]
	if k == nil && len(s.kinds) >= maxKinds {
		id = kindKey{}
		k = s.kindOf[id]
	}
	if k == nil {
		k = new(kind)
		s.kinds = append(s.kinds, k)
		s.kindOf[id] = k
	}
	return k
}

// sample learns from a run that took so long on a node, and usual were that node as others are: an
// average that forgets, a quarter each time.
func (k *kind) sample(took, usual time.Duration, by nodeRef) {
	if k.count == 0 {
		k.ewma = usual
	} else {
		k.ewma += (usual - k.ewma) / 4
	}
	if len(k.recent) < keepSamples {
		k.recent = append(k.recent, sample{took, by})
	} else {
		k.recent[k.count%keepSamples] = sample{took, by}
	}
	k.count++
}

func (k *kind) estimate(builtin bool) time.Duration {
	switch {
	case k.count > 0:
		return max(k.ewma, time.Millisecond)
	case builtin:
		return builtinRun
	}
	return max(unknownRun, k.guess)
}

// reestimate corrects what is expected of leases: what runs for longer than expected has as long to go
// as it has taken, for all we know, and so has what does not begin though a slot is free for it. That
// may be a node whose disk hangs, and what is parked there would wait for ever.
func (s *State) reestimate() {
	for _, n := range s.nodes[1:] {
		n.pace.forget(s.now)
		for _, l := range n.leases {
			run := s.runs.at(l.run)
			est := l.est
			switch ran := s.now - l.since; {
			case !l.began:
				est = s.estimate(run, n)
				if waited := s.now - l.given; l.overdue(waited) {
					est = min(max(est, waited), maxRun)
				}
			case ran > l.est:
				est = 2 * ran
				if run.kind.count == 0 {
					run.kind.guess = max(run.kind.guess, n.pace.per(est))
				}
			}
			n.est += (est - l.est) * time.Duration(l.slots)
			l.est = est
		}
	}
}

// p95 returns what 95 of 100 runs did not exceed, were the pace of their nodes 1, once there were enough
// to tell: on other nodes than one if they had enough, for a slow node is no measure of itself.
func (s *State) p95(k *kind, but nodeRef) (time.Duration, bool) {
	var others, all []time.Duration
	for _, r := range k.recent {
		d := s.nodes[r.node].pace.per(r.took)
		all = append(all, d)
		if r.node != but {
			others = append(others, d)
		}
	}
	d := others
	if len(d) < 5 {
		d = all
	}
	if len(d) < 5 {
		return 0, false
	}
	slices.Sort(d)
	return d[(len(d)*95-1)/100], true
}

// A link is what is known of the way from one node to another.
type link struct {
	rate  float64       // bytes per second; 0 if it was not measured
	rtt   time.Duration // 0 if it is not known
	asked time.Duration
}

// maxLinks bounds the pairs of which something is kept, 48 bytes each and the map: those between 500
// nodes, or what 2,000 nodes measure of the few that each fetches from. What is over is forgotten in
// the order of nodes, and measured again.
const maxLinks = 1 << 18

const (
	// unknownRate is what is assumed of a link that was not measured, for what exceeds smallFetch:
	// a slow uplink at home, so that large inputs do not leave their holder on a guess.
	unknownRate = 4 << 20
	// smallFetch bytes are fetched in a moment over any link.
	smallFetch = 1 << 20
	// fetchStart is what fetching anything takes at least.
	fetchStart = 5 * time.Millisecond
	// maxRTT bounds what a round trip is taken for: by satellite it is 0.6 s.
	maxRTT = time.Second
	// fetchEach is how long a fetch keeps others waiting at least: a node was measured to send 12,000
	// small blobs a second.
	fetchEach = 100 * time.Microsecond
	// probeAgain is how long a link is not probed again.
	probeAgain = time.Minute
)

func (s *State) linkRate(e *LinkRate) {
	from, to := s.nodeOf[e.From], s.nodeOf[e.To]
	if from == 0 || to == 0 || !(e.BytesPerSec > 0) {
		return
	}
	l := s.link(from, to)
	if l.rate == 0 {
		l.rate = e.BytesPerSec
	} else {
		l.rate += (e.BytesPerSec - l.rate) / 2
	}
	if l.rtt == 0 {
		l.rtt = e.RTT
	} else if e.RTT > 0 {
		l.rtt += (e.RTT - l.rtt) / 2
	}
	s.again, s.moved = true, true
}

func (s *State) link(from, to nodeRef) *link {
	k := [2]nodeRef{from, to}
	l := s.links[k]
	if l == nil {
		if len(s.links) >= maxLinks {
			s.forgetLinks()
		}
		l = new(link)
		s.links[k] = l
	}
	return l
}

// forgetLinks makes room for as many links as a node may have. It ranges over no map: equal events
// give equal bytes.
func (s *State) forgetLinks() {
	for range s.nodes {
		s.linkTurn = nodeRef(int(s.linkTurn+1) % len(s.nodes))
		for r := range s.nodes {
			delete(s.links, [2]nodeRef{nodeRef(r), s.linkTurn})
		}
		if len(s.links) <= maxLinks-len(s.nodes) {
			return
		}
	}
}

// meteredRate is what a link is taken for that somebody pays for by the byte, at either end: a MiB is
// worth moving if it saves eight seconds. It is never probed.
const meteredRate = 128 << 10

// rates returns the rate of a link and its round trip, 0 if they are not known.
func (s *State) rates(from, to nodeRef) (rate float64, rtt time.Duration) {
	if l := s.links[[2]nodeRef{from, to}]; l != nil {
		rate, rtt = l.rate, l.rtt
	}
	if s.nodes[from].metered || s.nodes[to].metered {
		rate = meteredRate
	}
	return rate, rtt
}

// probe has the link measured, unless that was asked for lately.
func (s *State) probe(from, to *node) {
	l := s.link(from.ref, to.ref)
	if l.rate == 0 && (l.asked == 0 || s.now-l.asked > probeAgain) && from.connected {
		l.asked = max(s.now, 1)
		s.emit(Probe{Node: to.peer, From: from.peer})
	}
}

// fetchTrips is how many round trips a fetch takes before bytes flow at the rate of the link: one to
// reach the holder, one for the manifest or the directory, one for the first bytes.
const fetchTrips = 3

// fetchTime returns how long fetching takes at a rate, 0 for one that was not measured, and a round
// trip, likewise.
func fetchTime(bytes uint64, rate float64, rtt time.Duration) time.Duration {
	if rate == 0 {
		rate = unknownRate
		bytes -= min(bytes, smallFetch)
	}
	return fetchStart + fetchTrips*min(rtt, maxRTT) + time.Duration(float64(bytes)/rate*float64(time.Second))
}

// A class is what runs ask of a node: platform, abi, labels and owner.
type class struct {
	classKey
	labels []string // k, v, k, v ...
	space  wire.Space
	nodes  []nodeRef // that have them, in order
	runs   int       // that ask for it
	listed bool      // in State.classes
}

type classKey struct {
	platform string // "" is any, of a builtin
	abi      uint64
	of       uint32 // space
	owner    string // of the node; "" is anybody
	label    string // all of them, as labelKey writes them
}

// class returns a class, which is not listed if no run asked for it so far.
func (s *State) class(v *view, space uint32, labels map[string]string, owner string) *class {
	platform := v.platform
	if v.builtin {
		platform = nil // any node can
	}
	label := labelKey(labels)
	if c := s.classOf[classKey{string(platform), v.abi, space, owner, label}]; c != nil { // makes no string
		return c
	}
	c := &class{classKey: classKey{string(platform), v.abi, space, owner, label}, space: s.spaces[space]}
	if len(labels) > 0 {
		for _, kv := range strings.Split(label, "\x00") {
			k, val, _ := strings.Cut(kv, "=")
			c.labels = append(c.labels, k, val)
		}
	}
	for _, n := range s.nodes[1:] {
		if c.fits(n) {
			c.nodes = append(c.nodes, n.ref)
		}
	}
	return c
}

// joinClass notes that a run asks for a class.
func (s *State) joinClass(c *class) {
	c.runs++
	if !c.listed {
		c.listed = true
		s.classes = append(s.classes, c)
		s.classOf[c.classKey] = c
	}
}

// leaveClass notes that a run that asked for a class is over.
func (s *State) leaveClass(c *class) {
	if c.runs--; c.runs > 0 || len(s.classes) <= maxClasses {
		return
	}
	delete(s.classOf, c.classKey)
	s.classes = slices.DeleteFunc(s.classes, func(o *class) bool { return o == c })
}

// fits reports whether the node has what the class asks for.
func (c *class) fits(n *node) bool { return c.equipped(n) && (c.platform == "" || n.takes(c.space)) }

// takes reports whether the node runs commands of a space: one that cannot bound their memory does
// so for its own tenants only.
func (n *node) takes(space wire.Space) bool {
	return !n.hello.OwnOnly || slices.Contains(n.tenants, space)
}

// equipped is fits but for the tenant.
func (c *class) equipped(n *node) bool {
	v := &n.hello.Versions
	if n.hello.Slots == 0 || c.owner != "" && c.owner != n.owner || c.platform != "" && (!slices.Contains(v.Platforms, c.platform) || !slices.Contains(v.ABIs, c.abi)) {
		return false
	}
	for i := 0; i < len(c.labels); i += 2 {
		if n.hello.Labels[c.labels[i]] != c.labels[i+1] {
			return false
		}
	}
	return true
}

func (c *class) has(r nodeRef) bool {
	_, ok := slices.BinarySearch(c.nodes, r)
	return ok
}

// classNode enters a node that came, or came back different, in the classes.
func (s *State) classNode(n *node) {
	for _, c := range s.classes {
		i, in := slices.BinarySearch(c.nodes, n.ref)
		switch fits := c.fits(n); {
		case fits && !in:
			c.nodes = slices.Insert(c.nodes, i, n.ref)
		case !fits && in:
			c.nodes = slices.Delete(c.nodes, i, i+1)
		}
	}
	s.unstick()
}

func (c *class) String() string {
	var b strings.Builder
	b.WriteString(c.platform)
	switch {
	case c.abi == wire.ABINetworked:
		b.WriteString(" and networks")
	case c.abi > wire.ABI:
		b.WriteString(" of a newer release")
	}
	for i := 0; i < len(c.labels); i += 2 {
		b.WriteString(" labelled " + c.labels[i] + "=" + c.labels[i+1])
	}
	return b.String()
}

// memoryFits reports whether any node could ever give a run that much memory.
func (s *State) memoryFits(run *run, bytes int64) bool {
	return slices.ContainsFunc(run.class.nodes, func(r nodeRef) bool {
		n := s.nodes[r]
		return n.hoped() && (n.hello.MemBytes == 0 || n.hello.MemBytes >= bytes)
	})
}

// admits reports whether the node's memory holds one more run beside what it may run at once: the
// largest of its leases, one a slot.
func (n *node) admits(h *wire.Hints) bool {
	if n.memBytes == 0 || n.mem+h.MemBytes <= n.memBytes {
		return true
	}
	if h.MemBytes > n.memBytes || len(n.leases) < n.slots {
		return false
	}
	sizes := []int64{h.MemBytes}
	for _, l := range n.leases {
		sizes = append(sizes, l.hints.MemBytes)
	}
	slices.Sort(sizes)
	var sum int64
	for _, b := range sizes[len(sizes)-n.hello.Slots:] {
		sum += b
	}
	return sum <= n.hello.MemBytes
}

// queueing returns how long an offer of a run to the node would wait for a slot.
func (s *State) queueing(n *node, run *run) time.Duration {
	ahead, est := n.parked.n, n.parked.est
	if run.first && run.node == n.ref {
		ahead, est = 0, 0
	}
	if n.taken+ahead < n.slots {
		return 0
	}
	ran := time.Duration(n.running)*s.now - n.beganSum
	return max(0, n.est+est-ran) / time.Duration(n.slots)
}
