// Package web serves the pages of a member for its owner: on loopback, to who has the token, and not
// to web sites that a browser on this machine shows.
//
// A request must name this machine as its Host, or a site could point its own name here (DNS
// rebinding); come from no other Origin; and show the token, as "Authorization: Bearer TOKEN" or as
// the password of Basic authentication, which browsers ask for. That holds for every method and
// path. The token is in a file that only the owner can read.
package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"gaggle/wire"
)

const (
	// maxRequests bounds those under way: a scraper or two, and a person.
	maxRequests = 16
	// maxHeader bounds what is read before a request is judged.
	maxHeader = 16 << 10
	// Slow requests are cut off. A page waits for the coordinator's loop at most.
	readLimit  = 10 * time.Second
	writeLimit = time.Minute
	idleLimit  = 2 * time.Minute
	// tokenBytes is drawn at random.
	tokenBytes = 24
)

// Listen opens a port on an address of the loopback interface, such as 127.0.0.1:9070, :9070 or
// localhost:0. Any other interface is an error of CauseInvalid: the pages are not encrypted.
func Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host == "" {
		host = "127.0.0.1"
	}
	if err != nil || !loopback(host) {
		return nil, wire.Errorf(wire.CauseInvalid, "use 127.0.0.1:PORT, and a proxy that encrypts for others", "--http %q is not of the loopback interface", addr)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "choose another port", "--http: %v", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // whatever localhost means here
		return nil, errors.Join(wire.Errorf(wire.CauseInvalid, "use 127.0.0.1:PORT", "--http %q leads to %s", addr, l.Addr()), l.Close())
	}
	return l, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Token returns the token in a file, which is made on first use with mode 0600.
func Token(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = make([]byte, tokenBytes)
		rand.Read(b) // never fails
		b = []byte(base64.RawURLEncoding.EncodeToString(b) + "\n")
		if err = os.WriteFile(path+".new", b, 0o600); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading the token of the pages: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < tokenBytes {
		return "", wire.Errorf(wire.CauseInvalid, "remove the file to get another", "%s holds no token", path)
	}
	return token, nil
}

// Serve answers on l with pages until ctx ends, and closes it.
func Serve(ctx context.Context, l net.Listener, token string, pages http.Handler) error {
	s := &http.Server{Handler: Guard(token, pages), ReadHeaderTimeout: readLimit, ReadTimeout: readLimit, WriteTimeout: writeLimit,
		IdleTimeout: idleLimit, MaxHeaderBytes: maxHeader}
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { closed <- s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-closed
}

// Guard lets only those requests through to pages that the package comment allows.
func Guard(token string, pages http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	turn := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Cache-Control", "no-store")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		switch {
		case !ourHost(r.Host):
			http.Error(w, "this is not the machine that the request names", http.StatusMisdirectedRequest)
			return
		case !sameOrigin(r):
			http.Error(w, "other sites may not ask", http.StatusForbidden)
			return
		case !shows(r, want):
			head.Set("WWW-Authenticate", `Basic realm="gaggle: the token is the password"`)
			http.Error(w, "show the token", http.StatusUnauthorized)
			return
		}
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
			pages.ServeHTTP(w, r)
		default:
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
		}
	})
}

// ourHost reports whether a Host header names loopback itself.
func ourHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return loopback(strings.Trim(host, "[]"))
}

// sameOrigin reports whether a request is of no site, or of the pages themselves.
func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
		return false
	}
	for _, o := range r.Header.Values("Origin") {
		if u, err := url.Parse(o); err != nil || u.Scheme != "http" || u.Host != r.Host {
			return false
		}
	}
	return true
}

// shows reports whether a request has the token.
func shows(r *http.Request, want [sha256.Size]byte) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, token, _ = r.BasicAuth()
	}
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
