package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// A collector makes metrics of the state whenever they are asked for. It is a
// prometheus.Collector.
type collector struct{ m *meshServer }

var (
	descJobs    = desc("jobs", "Jobs by state.", "state")
	descTasks   = desc("tasks", "Tasks of all remembered jobs by what became of them.", "how")
	descMoved   = desc("moved_bytes", "Bytes moved between nodes for all remembered jobs.")
	descNodes   = desc("nodes", "Members by state.", "state")
	descSlots   = desc("slots", "Slots of all nodes.", "use")
	descStores  = desc("store_bytes", "Stores of all nodes.", "of")
	descMemory  = desc("memory_bytes", "Memory that all nodes give to tasks.")
	descRan     = desc("node_thunks_total", "Thunks a node ran since the coordinator began.", "node")
	descFetched = desc("node_fetched_bytes_total", "Bytes a node fetched from others.", "node")
	descTraffic = desc("coordinator_bytes_total", "Bytes through the coordinator itself.", "kind")
	descPaths   = desc("paths", "Pairs of members by how one reaches the other.", "way")
	descRelay   = desc("relay", "Circuits and places at the relay now.", "of")
	descOpened  = desc("relay_requests_total", "Circuits opened, and circuits and places refused.", "how")
	descRevoked = desc("revocations", "Memberships that were revoked and not forgotten.")
	descTrouble = desc("trouble", "1 while nothing can be recorded.")
)

var descriptions = []*prometheus.Desc{descJobs, descTasks, descMoved, descNodes, descSlots, descStores, descMemory, descRan, descFetched,
	descTraffic, descPaths, descRelay, descOpened, descRevoked, descTrouble}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gaggle_"+name, help, labels, nil)
}

// Describe names the metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		ch <- d
	}
}

const (
	// scrapeTimeout bounds the wait for the coordinator's loop.
	scrapeTimeout = 10 * time.Second
	// maxSeries bounds the nodes that have series of their own, those that ran most; the others are
	// one, "others".
	maxSeries = 200
)

// A sink takes metrics.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, n float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
}

func (s sink) total(d *prometheus.Desc, n int64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

// gauges is one gauge for each label.
func (s sink) gauges(d *prometheus.Desc, n map[string]int64) {
	for label, n := range n {
		s.gauge(d, float64(n), label)
	}
}

// Collect asks the coordinator.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	jobs, nodes, err := c.m.everything(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descJobs, fmt.Errorf("asking the coordinator: %w", err))
		return
	}
	s := sink(ch)
	s.jobs(jobs.Jobs)
	s.nodes(nodes.Nodes)
	if t := nodes.Traffic; t != nil {
		s.total(descTraffic, t.SubGraphBytes, "sub-graph")
		s.total(descTraffic, t.BlobBytes, "other")
		s.total(descTraffic, t.RelayedBytes, "relayed")
	}
	use := c.m.host.Relayed()
	s.gauges(descRelay, map[string]int64{"circuits": use.Open, "places": use.Places})
	s.total(descOpened, use.Circuits, "opened")
	s.total(descOpened, use.Refused, "refused")
	s.gauge(descRevoked, float64(len(c.m.host.Revocations())))
	trouble := 0.0
	if nodes.Trouble != nil {
		trouble = 1
	}
	s.gauge(descTrouble, trouble)
}

func (s sink) jobs(jobs []wire.JobStatus) {
	states, how := map[string]int64{}, map[string]int64{"ran": 0, "memo": 0, "failed": 0, "running": 0}
	moved := int64(0)
	for _, j := range jobs {
		states[j.State]++
		n := j.Counts
		for k, n := range map[string]int{"ran": n.Ran, "memo": n.Memo, "shared": n.Shared, "failed": n.Failed, "cancelled": n.Cancelled,
			"running": n.Running, "ready": n.Ready, "verified": n.Verified} {
			how[k] += int64(n)
		}
		moved += n.Moved
	}
	s.gauges(descJobs, states)
	s.gauges(descTasks, how)
	s.gauge(descMoved, float64(moved))
}

func (s sink) nodes(nodes []wire.NodeStatus) {
	states, slots, stores, ways := map[string]int64{}, map[string]int64{"busy": 0, "free": 0}, map[string]int64{}, map[string]int64{}
	memory := int64(0)
	for _, n := range nodes {
		states[n.State]++
		slots["busy"] += int64(n.Busy)
		slots["free"] += int64(n.Slots - n.Busy)
		stores["used"] += n.StoreUsed
		stores["limit"] += n.StoreMax
		memory += n.MemBytes
		for _, p := range n.Paths {
			ways[knownWay(p.Way)]++
		}
	}
	s.gauges(descNodes, states)
	s.gauges(descSlots, slots)
	s.gauges(descStores, stores)
	s.gauges(descPaths, ways)
	s.gauge(descMemory, float64(memory))
	s.each(nodes)
}

// each gives the busiest nodes series of their own.
func (s sink) each(nodes []wire.NodeStatus) {
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b wire.NodeStatus) int { return cmp.Compare(b.Ran, a.Ran) })
	ran, fetched := int64(0), int64(0)
	for i, n := range nodes {
		if i < maxSeries {
			name := n.Info.Name + "/" + n.Info.Peer.Short()
			s.total(descRan, int64(n.Ran), name)
			s.total(descFetched, n.Fetched, name)
			continue
		}
		ran, fetched = ran+int64(n.Ran), fetched+n.Fetched
	}
	if len(nodes) > maxSeries {
		s.total(descRan, ran, "others")
		s.total(descFetched, fetched, "others")
	}
}

// knownWay keeps members from making up labels.
func knownWay(way string) string {
	if slices.Contains(peer.Ways(), way) {
		return way
	}
	return "unknown"
}
