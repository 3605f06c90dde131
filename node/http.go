package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gaggle/blobstore/exchange"
	"gaggle/overlay/peer"
	"gaggle/overlay/web"
)

// listenHTTP opens the port for /metrics if an address was given, and serves it until ctx ends.
func (n *node) listenHTTP(ctx context.Context) error {
	if n.settings.HTTP == "" {
		return nil
	}
	l, err := web.Listen(n.settings.HTTP)
	if err != nil {
		return &usageError{err}
	}
	file := n.dir.path("http.token")
	token, err := web.Token(file)
	if err != nil {
		return err
	}
	n.pages.Go(func() { n.serveHTTP(ctx, l, token) })
	fmt.Fprintf(n.out, "metrics on  http://%s/metrics; the token is in %s\n", l.Addr(), file)
	return nil
}

func (n *node) serveHTTP(ctx context.Context, l net.Listener, token string) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(&collector{n: n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if err := web.Serve(ctx, l, token, mux); err != nil {
		n.log.Error("the pages are served no more", "error", err)
	}
}

// A collector makes metrics of the node whenever they are asked for. It is a prometheus.Collector.
type collector struct{ n *node }

var (
	descThunks = desc("thunks_total", "Thunks by what became of them here.", "how")
	descSlots  = desc("slots", "Slots.", "use")
	descLeases = desc("leases", "Thunks accepted and not ended, and outcomes not acknowledged.", "of")
	descStore  = desc("store_bytes", "The store.", "of")
	descBytes  = desc("blob_bytes_total", "Bytes of objects and probes, as they were sent.", "direction")
	descSaved  = desc("blob_saved_bytes_total", "Bytes of objects that were not sent, since what was is compressed.", "direction")
	descBlobs  = desc("blobs_total", "Objects and probes, found there and served from here.", "direction")
	descPeers  = desc("peers", "Connected members by how they are reached.", "way")
	descState  = desc("state", "1 where it is so.", "is")
	descCert   = desc("certificate_expires_seconds", "When the certificate ends, Unix time.")
	descEnded  = desc("revocations", "Memberships known to be revoked.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gaggle_node_"+name, help, labels, nil)
}

// Describe names the metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descThunks, descSlots, descLeases, descStore, descBytes, descSaved, descBlobs, descPeers, descState, descCert, descEnded} {
		ch <- d
	}
	for _, d := range overlayDescs {
		ch <- d
	}
}

// Collect asks the parts of the node.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	put := func(kind prometheus.ValueType, d *prometheus.Desc, of map[string]float64) {
		for label, v := range of {
			ch <- prometheus.MustNewConstMetric(d, kind, v, label)
		}
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	w := c.n.worker.Load().Stats()
	put(counter, descThunks, map[string]float64{"ran": float64(w.Ran), "known": float64(w.Known), "failed": float64(w.Failed)})
	put(gauge, descSlots, map[string]float64{"busy": float64(w.Busy), "free": float64(w.Slots - w.Busy)})
	put(gauge, descLeases, map[string]float64{"accepted": float64(w.Leases), "unacknowledged": float64(w.Unsaid)})
	put(gauge, descStore, map[string]float64{"used": float64(w.StoreUsed), "limit": float64(c.n.storeMax)})
	put(gauge, descState, map[string]float64{"connected": number(w.Connected), "paused": number(w.Paused), "draining": number(w.Draining)})
	var all exchange.PeerStats
	for _, p := range c.n.exchange.Stats().Peers {
		all.Add(p)
	}
	put(counter, descBytes, map[string]float64{"in": float64(all.In), "out": float64(all.Out)})
	put(counter, descSaved, map[string]float64{"in": float64(all.InSaved), "out": float64(all.OutSaved)})
	put(counter, descBlobs, map[string]float64{"in": float64(all.Asked), "out": float64(all.Served)})
	ways := map[string]float64{}
	for _, way := range peer.Ways() {
		ways[way] = 0
	}
	for _, p := range c.n.host.Paths() {
		ways[p.Way]++
	}
	put(gauge, descPeers, ways)
	c.overlay(sink(ch))
	ch <- prometheus.MustNewConstMetric(descEnded, gauge, float64(len(c.n.host.Revocations())))
	if cert := c.n.host.Certificate(); cert != nil {
		ch <- prometheus.MustNewConstMetric(descCert, gauge, float64(cert.Expires))
	}
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
