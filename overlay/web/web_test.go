package web

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/wire"
)

const token = "a-token-of-twenty-four-characters"

// Every method and path is refused to who lacks the token, names another host, or asks for a site.
func TestGuard(t *testing.T) {
	for _, c := range []struct {
		name, host, auth string
		header           map[string]string
		want             int
	}{
		{"the token", "127.0.0.1:9070", "Bearer " + token, nil, http.StatusOK},
		{"the token, by name", "localhost:9070", "Bearer " + token, nil, http.StatusOK},
		{"the token, IPv6", "[::1]:9070", "Bearer " + token, nil, http.StatusOK},
		{"the token, no port", "[::1]", "Bearer " + token, nil, http.StatusOK},
		{"from the page itself", "localhost:9070", "Bearer " + token, map[string]string{"Origin": "http://localhost:9070", "Sec-Fetch-Site": "same-origin"}, http.StatusOK},
		{"no token", "localhost:9070", "", nil, http.StatusUnauthorized},
		{"an empty token", "localhost:9070", "Bearer ", nil, http.StatusUnauthorized},
		{"the beginning of the token", "localhost:9070", "Bearer " + token[:20], nil, http.StatusUnauthorized},
		{"another name that leads here", "evil.example:9070", "Bearer " + token, nil, http.StatusMisdirectedRequest},
		{"a name that begins like ours", "localhost.evil.example", "Bearer " + token, nil, http.StatusMisdirectedRequest},
		{"another address", "192.168.1.7:9070", "Bearer " + token, nil, http.StatusMisdirectedRequest},
		{"no host", "", "Bearer " + token, nil, http.StatusMisdirectedRequest},
		{"another site", "localhost:9070", "Bearer " + token, map[string]string{"Origin": "https://evil.example"}, http.StatusForbidden},
		{"another port of this machine", "localhost:9070", "Bearer " + token, map[string]string{"Origin": "http://localhost:3000"}, http.StatusForbidden},
		{"a sandboxed frame", "localhost:9070", "Bearer " + token, map[string]string{"Origin": "null"}, http.StatusForbidden},
		{"an image of another site", "localhost:9070", "Bearer " + token, map[string]string{"Sec-Fetch-Site": "cross-site"}, http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"} {
				for _, path := range []string{"/status", "/", "/nothing"} {
					reached := false
					guard := Guard(token, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
					r := httptest.NewRequest(method, path, nil)
					r.Host = c.host
					if c.auth != "" {
						r.Header.Set("Authorization", c.auth)
					}
					for k, v := range c.header {
						r.Header.Set(k, v)
					}
					w := httptest.NewRecorder()
					guard.ServeHTTP(w, r)
					if w.Code != c.want || reached != (c.want == http.StatusOK) {
						t.Errorf("%s %s = %d, reached %v, want %d", method, path, w.Code, reached, c.want)
					}
				}
			}
		})
	}
}

func TestServe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "http.token")
	first, err := Token(file)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Token(file); again != first || err != nil {
		t.Errorf("Token again = %q, %v, want %q", again, err, first)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read the token: %v, %v", fi.Mode(), err)
	}
	l, err := Listen(":0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, first, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }))
	}()
	r, err := http.NewRequest("GET", "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("anybody", first)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || string(b) != "here" {
		t.Errorf("read %q, %v", b, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestListenOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:80", "9070", "127.0.0.1"} {
		l, err := Listen(addr)
		if err == nil {
			l.Close()
		}
		if wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "--http") {
			t.Errorf("Listen(%q) = %v, want cause invalid", addr, err)
		}
	}
}

func TestDamagedToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "http.token")
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Token(file); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("Token = %v, want cause invalid", err)
	}
}
