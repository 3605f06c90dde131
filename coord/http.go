package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gaggle/overlay/web"
	"gaggle/wire"
)

// tokenFile is in the state directory; see package web.
const tokenFile = "http.token"

// listenHTTP opens the port for /status and /metrics if an address was given.
func (m *meshServer) listenHTTP() (l net.Listener, err error) {
	if m.http == "" {
		return nil, nil
	}
	if m.token, err = web.Token(filepath.Join(m.dir, tokenFile)); err != nil {
		return nil, err
	}
	return web.Listen(m.http)
}

// serveHTTP answers on l, if it is not nil, until ctx ends.
func (m *meshServer) serveHTTP(ctx context.Context, l net.Listener) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(&collector{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", m.statusPage)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return web.Serve(ctx, l, m.token, mux)
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
