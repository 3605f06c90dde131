package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gaggle/wire"
)

// The pages of a coordinator say how things stand to who has the token, and nothing to others.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	out, in := io.Pipe()
	m := &meshServer{dir: dir, listen: []string{"/ip4/127.0.0.1/tcp/0"}, http: ":0", out: in, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.run(ctx) }()
	lines := bufio.NewScanner(out)
	url := ""
	for said := regexp.MustCompile(`(http://\S+)/status`); url == "" && lines.Scan(); {
		if found := said.FindStringSubmatch(lines.Text()); found != nil {
			url = found[1]
		}
	}
	go io.Copy(io.Discard, out)
	token, err := os.ReadFile(filepath.Join(dir, tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		page, token string
		code        int
		want        []string
	}{
		{"/status", "", http.StatusUnauthorized, []string{"show the token"}},
		{"/metrics", "wrong", http.StatusUnauthorized, []string{"show the token"}},
		{"/status", string(token), http.StatusOK, []string{`"jobs":[]`, `"relayed_bytes":0`}},
		{"/metrics", string(token), http.StatusOK, []string{"\ngaggle_slots{use=\"busy\"} 0\n", "\ngaggle_tasks{how=\"ran\"} 0\n", "\ngaggle_relay{of=\"circuits\"} 0\n",
			"\ngaggle_coordinator_bytes_total{kind=\"relayed\"} 0\n", "\ngaggle_revocations 0\n", "\ngo_goroutines ", "\nprocess_open_fds "}},
		{"/nothing", string(token), http.StatusNotFound, nil},
	} {
		r, err := http.NewRequest("GET", url+c.page, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(c.token))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != c.code {
			t.Errorf("%s with token %q: %s, %v, want %d", c.page, c.token, answer.Status, err, c.code)
		}
		for _, part := range c.want {
			if !strings.Contains(string(b), part) {
				t.Errorf("%s does not have %q, but:\n%s", c.page, part, b)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run = %v", err)
	}
}

// The page has of a network what coord status JOB shows.
func TestNetworksOnThePage(t *testing.T) {
	a, b := wire.PeerID{1}, wire.PeerID{2}
	page := networksPage([]wire.JobNetwork{{Gang: "bench", Generation: 1, VNI: 7,
		Nodes: []wire.NetNode{{Peer: a, Name: "node1", Members: []string{"db"}}, {Peer: b, Name: "node2", Members: []string{"load-0", "load-1"}}},
		Paths: []wire.Crossed{{From: a, Path: wire.NetPath{VNI: 7, Peer: b, Way: "agent", PacketsOut: 3, BytesOut: 100, PacketsIn: 4, BytesIn: 200}, Mesh: "direct"}}}})
	got, err := json.Marshal(page)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"gang":"bench","generation":1,"vni":7,"nodes":[{"name":"node1","peer":"` + a.String() + `","members":["db"]},` +
		`{"name":"node2","peer":"` + b.String() + `","members":["load-0","load-1"]}],"paths":[{"from":"` + a.String() + `","to":"` + b.String() +
		`","way":"agent","mesh":"direct","packets_out":3,"bytes_out":100,"packets_in":4,"bytes_in":200}]}]`
	if string(got) != want {
		t.Errorf("the page has\n%s\nwant\n%s", got, want)
	}
}
