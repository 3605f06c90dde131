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
		// Networks are those of its gangs that run, of the first pageNetworks jobs under way.
		Networks []pageNetwork `json:"networks,omitempty"`
	}
	pageNetwork struct { // a wire.JobNetwork
		Gang       string        `json:"gang"`
		Generation int           `json:"generation"`
		VNI        uint32        `json:"vni"`
		Nodes      []pageNetNode `json:"nodes"`
		Paths      []pagePath    `json:"paths"`
	}
	pageNetNode struct {
		Name    string   `json:"name"`
		Peer    string   `json:"peer"`
		Members []string `json:"members"`
	}
	pagePath struct { // a wire.Crossed: what From says
		From       string `json:"from"` // peers
		To         string `json:"to"`
		Way        string `json:"way"`
		Mesh       string `json:"mesh,omitempty"`
		PacketsOut uint64 `json:"packets_out"`
		BytesOut   uint64 `json:"bytes_out"`
		PacketsIn  uint64 `json:"packets_in"`
		BytesIn    uint64 `json:"bytes_in"`
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
	asked := 0
	for _, j := range jobs.Jobs {
		var networks []pageNetwork
		if j.Ended == 0 && !j.Passing && asked < pageNetworks {
			asked++
			networks = m.networksOf(r.Context(), j.Job)
		}
		page.Jobs = append(page.Jobs, pageJob{Networks: networks, Job: j.Job.String(), Name: j.Name, State: j.State, Waiting: j.Waiting, Client: j.Client,
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

// pageNetworks is of how many jobs the page /status tells the networks: each is a question.
const pageNetworks = 50

// networksOf returns the networks of a job; none of one that has ended meanwhile.
func (m *meshServer) networksOf(ctx context.Context, job wire.JobID) (all []pageNetwork) {
	r, err := m.ask(ctx, &wire.Request{Status: &wire.JobRef{Job: job}})
	if err != nil || len(r.Jobs) != 1 {
		return nil
	}
	return networksPage(r.Jobs[0].Networks)
}

func networksPage(networks []wire.JobNetwork) (all []pageNetwork) {
	for _, n := range networks {
		p := pageNetwork{Gang: n.Gang, Generation: n.Generation, VNI: n.VNI, Nodes: []pageNetNode{}, Paths: []pagePath{}}
		for _, o := range n.Nodes {
			p.Nodes = append(p.Nodes, pageNetNode{o.Name, o.Peer.String(), o.Members})
		}
		for _, c := range n.Paths {
			p.Paths = append(p.Paths, pagePath{From: c.From.String(), To: c.Path.Peer.String(), Way: c.Path.Way, Mesh: c.Mesh,
				PacketsOut: c.Path.PacketsOut, BytesOut: c.Path.BytesOut, PacketsIn: c.Path.PacketsIn, BytesIn: c.Path.BytesIn})
		}
		all = append(all, p)
	}
	return all
}
