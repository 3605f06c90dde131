//go:build unix

package exchange

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// A spent is what something took of this process, or of another one.
type spent struct{ took, cpu time.Duration }

func (s *spent) add(t spent) { s.took, s.cpu = s.took+t.took, s.cpu+t.cpu }

// perGiB returns the seconds of processor time for each GiB of so many bytes.
func (s spent) perGiB(bytes int) float64 { return s.cpu.Seconds() / float64(bytes) * (1 << 30) }

// timed measures what do takes.
func timed(b *testing.B, do func() error) spent {
	b.Helper()
	begun, c0 := time.Now(), cpu()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	return spent{time.Since(begun), cpu() - c0}
}

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// drain reads so many bytes and the end.
func drain(r io.Reader, size int) error {
	n, err := io.Copy(io.Discard, r)
	if err == nil && n != int64(size) {
		err = fmt.Errorf("%d bytes, want %d", n, size)
	}
	return err
}

var (
	// anyTLS is a client that takes any certificate.
	anyTLS = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"raw"}}
	// windows are those that libp2p gives QUIC.
	windows = &quic.Config{MaxStreamReceiveWindow: 10 << 20, MaxConnectionReceiveWindow: 15 << 20}
)

// serverTLS returns the configuration of a server with a certificate of its own.
func serverTLS(b *testing.B) *tls.Config {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"raw"}}
}

// tlsSend sends the bytes over TLS on TCP, and discards them at the other end.
func tlsSend(b *testing.B, data []byte) spent {
	b.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS(b))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Write(data)
		c.Close()
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), anyTLS)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	return timed(b, func() error { return drain(c, len(data)) })
}

// rawSend sends the bytes over a quic-go stream with libp2p's windows, and discards them at the
// other end: what QUIC itself gives on this machine.
func rawSend(b *testing.B, data []byte) spent {
	b.Helper()
	l, err := quic.ListenAddr("127.0.0.1:0", serverTLS(b), windows)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ctx := context.Background()
	go func() {
		c, err := l.Accept(ctx)
		if err != nil {
			return
		}
		s, err := c.OpenStream()
		if err != nil {
			return
		}
		s.Write(data)
		s.Close()
	}()
	c := dialQUIC(b, l)
	return timed(b, func() error {
		s, err := c.AcceptStream(ctx)
		if err != nil {
			return err
		}
		return drain(s, len(data))
	})
}

// newHTTP2 serves 4 KiB.
func newHTTP2(b *testing.B) *httptest.Server {
	b.Helper()
	body := noise(1, 4096)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	b.Cleanup(s.Close)
	return s
}

func askHTTP2(s *httptest.Server) error {
	r, err := s.Client().Get(s.URL)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	return drain(r.Body, 4096)
}

// A quicAsker asks for 4 KiB over one connection, and keeps its streams.
type quicAsker struct {
	*quic.Conn
	free chan *quic.Stream
}

func dialQUIC(b *testing.B, l *quic.Listener) *quicAsker {
	b.Helper()
	c, err := quic.DialAddr(b.Context(), l.Addr().String(), anyTLS, windows)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.CloseWithError(0, "") })
	return &quicAsker{c, make(chan *quic.Stream, 64)}
}

func (q *quicAsker) ask(ctx context.Context) error {
	var s *quic.Stream
	var err error
	select {
	case s = <-q.free:
	default:
		if s, err = q.OpenStreamSync(ctx); err != nil {
			return err
		}
	}
	if _, err := s.Write(make([]byte, 32)); err != nil {
		return err
	}
	if _, err := io.ReadFull(s, make([]byte, 4096)); err != nil {
		return err
	}
	q.free <- s
	return nil
}

// listenQUIC answers each 32 bytes on any stream with 4 KiB.
func listenQUIC(b *testing.B) *quic.Listener {
	b.Helper()
	l, err := quic.ListenAddr("127.0.0.1:0", serverTLS(b), windows)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	body, ctx := noise(1, 4096), b.Context()
	answer := func(s *quic.Stream) {
		ask := make([]byte, 32)
		for {
			if _, err := io.ReadFull(s, ask); err != nil {
				return
			}
			if _, err := s.Write(body); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					s, err := c.AcceptStream(ctx)
					if err != nil {
						return
					}
					go answer(s)
				}
			}()
		}
	}()
	return l
}

// A rival is what scripts/bitswap prints.
type rival struct{ Seconds, CPU, Heap, RSS float64 }

func (r rival) spent() spent {
	return spent{time.Duration(r.Seconds * float64(time.Second)), time.Duration(r.CPU * float64(time.Second))}
}

// bitswap has the program named by GAGGLE_BITSWAP, scripts/bitswap built, do something. Without it all is
// zero, and not compared.
func bitswap(b *testing.B, args ...string) (r rival) {
	b.Helper()
	program := os.Getenv("GAGGLE_BITSWAP")
	if program == "" {
		return r
	}
	c := exec.CommandContext(b.Context(), program, args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		b.Fatalf("%s %q: %v", program, args, err)
	}
	return r
}
