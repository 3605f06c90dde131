package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gaggle/wire"
)

// listenHTTP opens the port for /status and /metrics if an address was given. There is no
// authentication, so there is no interface but loopback.
func (m *meshServer) listenHTTP() (net.Listener, error) {
	if m.http == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(m.http)
	if err == nil && host == "" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, wire.Errorf(wire.CauseInvalid, "use 127.0.0.1:PORT, and a proxy that authenticates for others", "--http %q is not of the loopback interface", m.http)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "choose another port", "--http: %v", err)
	}
	return l, nil
}

// serveHTTP answers on l, if it is not nil, until ctx ends.
func (m *meshServer) serveHTTP(ctx context.Context, l net.Listener) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(&collector{m})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", m.statusPage)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { closed <- s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-closed
}

// ask sends a request to the coordinator of this process, as its own certificate may.
func (m *meshServer) ask(ctx context.Context, req *wire.Request) (*wire.Response, error) {
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- m.server.ServeClient(ctx, there, m.certificate()) }()
	var r wire.Response
	err := wire.WriteFrame(here, req)
	if err == nil {
		err = wire.NewFrameReader(here).Read(&r)
	}
	err = errors.Join(err, here.Close(), <-served)
	if err == nil && r.Error != nil {
		err = r.Error
	}
	return &r, err
}

// everything asks for jobs, nodes and traffic.
func (m *meshServer) everything(ctx context.Context) (jobs, nodes *wire.Response, err error) {
	if jobs, err = m.ask(ctx, &wire.Request{Status: &wire.JobRef{}}); err != nil {
		return nil, nil, err
	}
	nodes, err = m.ask(ctx, &wire.Request{Nodes: &wire.Nothing{}})
	return jobs, nodes, err
}

// The page /status. Ids are text, times seconds.
type (
	pageStatus struct {
		Jobs    []pageJob   `json:"jobs"`
		Nodes   []pageNode  `json:"nodes"`
		Traffic pageTraffic `json:"traffic"`
	}
	pageJob struct {
		Job     string     `json:"job"`
		Name    string     `json:"name"`
		State   string     `json:"state"`
		Waiting string     `json:"waiting,omitempty"`
		Client  string     `json:"client"`
		Begun   float64    `json:"begun"`
		Ended   float64    `json:"ended,omitempty"`
		Counts  pageCounts `json:"counts"`
	}
	pageCounts struct { // a wire.Counts
		Tasks     int   `json:"tasks"`
		Ran       int   `json:"ran"`
		Memo      int   `json:"memo"`
		Shared    int   `json:"shared"`
		Failed    int   `json:"failed"`
		Cancelled int   `json:"cancelled"`
		Running   int   `json:"running"`
		Ready     int   `json:"ready"`
		Verified  int   `json:"verified"`
		Moved     int64 `json:"moved_bytes"`
	}
	pageTraffic struct { // a wire.Traffic
		SubGraphBytes int64 `json:"sub_graph_bytes"`
		BlobBytes     int64 `json:"blob_bytes"`
		RelayedBytes  int64 `json:"relayed_bytes"`
	}
	pageNode struct {
		Name      string  `json:"name"`
		Peer      string  `json:"peer"`
		State     string  `json:"state"`
		Slots     int     `json:"slots"`
		Busy      int     `json:"busy"`
		Ran       int     `json:"ran"`
		Fetched   int64   `json:"fetched_bytes"`
		StoreUsed int64   `json:"store_bytes"`
		Silent    float64 `json:"silent_s"`
	}
)

func (m *meshServer) statusPage(w http.ResponseWriter, r *http.Request) {
	jobs, nodes, err := m.everything(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	page := pageStatus{Jobs: []pageJob{}, Nodes: []pageNode{}}
	for _, j := range jobs.Jobs {
		page.Jobs = append(page.Jobs, pageJob{Job: j.Job.String(), Name: j.Name, State: j.State, Waiting: j.Waiting, Client: j.Client,
			Begun: float64(j.Begun) / 1e6, Ended: float64(j.Ended) / 1e6, Counts: pageCounts(j.Counts)})
	}
	for _, n := range nodes.Nodes {
		page.Nodes = append(page.Nodes, pageNode{Name: n.Info.Name, Peer: n.Info.Peer.String(), State: n.State, Slots: n.Slots, Busy: n.Busy,
			Ran: n.Ran, Fetched: n.Fetched, StoreUsed: n.StoreUsed, Silent: n.SilentFor.Seconds()})
	}
	if nodes.Traffic != nil {
		page.Traffic = pageTraffic(*nodes.Traffic)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(page); err != nil {
		m.log.Debug("a reader of /status has gone", "error", err)
	}
}

// A collector makes metrics of the state whenever they are asked for. It is a
// prometheus.Collector.
type collector struct{ m *meshServer }

var (
	descJobs    = desc("jobs", "Jobs by state.", "state")
	descTasks   = desc("tasks", "Tasks of all remembered jobs by what became of them.", "how")
	descNodes   = desc("nodes", "Members by state.", "state")
	descSlots   = desc("slots", "Slots of all nodes.", "use")
	descRan     = desc("node_thunks_total", "Thunks a node ran since the coordinator began.", "node")
	descFetched = desc("node_fetched_bytes_total", "Bytes a node fetched from others.", "node")
	descTraffic = desc("coordinator_bytes_total", "Blob bytes through the coordinator itself.", "kind")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gaggle_"+name, help, labels, nil)
}

// Describe names the metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descJobs, descTasks, descNodes, descSlots, descRan, descFetched, descTraffic} {
		ch <- d
	}
}

// scrapeTimeout bounds the wait for the coordinator's loop.
const scrapeTimeout = 10 * time.Second

// Collect asks the coordinator.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	jobs, nodes, err := c.m.everything(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descJobs, fmt.Errorf("asking the coordinator: %w", err))
		return
	}
	gauge := func(d *prometheus.Desc, n float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, label)
	}
	total := func(d *prometheus.Desc, n int64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
	}
	states, sum := map[string]int{}, wire.Counts{}
	for _, j := range jobs.Jobs {
		states[j.State]++
		sum.Ran += j.Counts.Ran
		sum.Memo += j.Counts.Memo
		sum.Shared += j.Counts.Shared
		sum.Failed += j.Counts.Failed
		sum.Running += j.Counts.Running
	}
	for s, n := range states {
		gauge(descJobs, float64(n), s)
	}
	for how, n := range map[string]int{"ran": sum.Ran, "memo": sum.Memo, "shared": sum.Shared, "failed": sum.Failed, "running": sum.Running} {
		gauge(descTasks, float64(n), how)
	}
	states = map[string]int{}
	slots, busy := 0, 0
	for _, n := range nodes.Nodes {
		states[n.State]++
		slots, busy = slots+n.Slots, busy+n.Busy
		name := n.Info.Name + "/" + n.Info.Peer.Short()
		total(descRan, int64(n.Ran), name)
		total(descFetched, n.Fetched, name)
	}
	for s, n := range states {
		gauge(descNodes, float64(n), s)
	}
	gauge(descSlots, float64(busy), "busy")
	gauge(descSlots, float64(slots-busy), "free")
	if t := nodes.Traffic; t != nil {
		total(descTraffic, t.SubGraphBytes, "sub-graph")
		total(descTraffic, t.BlobBytes, "other")
		total(descTraffic, t.RelayedBytes, "relayed")
	}
}
