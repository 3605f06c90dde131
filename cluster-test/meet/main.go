// Package main is one member of a gang on a network, for tests: it serves an echo over TCP and UDP at port 80,
// as any program would, and has each other member, found by name, echo what fits no packet and what fits
// one. It ends when all others have been served.
package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// patience bounds all of it: the others may run on slow machines.
const patience = time.Minute

func main() {
	index, _ := strconv.Atoi(os.Getenv("GAGGLE_INDEX"))
	count, err := strconv.Atoi(os.Getenv("GAGGLE_COUNT"))
	if err == nil {
		err = meet(index, count)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "meet:", err)
		os.Exit(1)
	}
}

func meet(index, count int) error {
	var s served
	if err := s.listen(); err != nil {
		return err
	}
	end := time.Now().Add(patience)
	met := []int{}
	var addrs []string
	for i := range count {
		if i == index {
			addrs = append(addrs, os.Getenv("GAGGLE_ADDR"))
			continue
		}
		host := fmt.Sprintf("peer-%d", i)
		for _, network := range []string{"tcp4", "udp4"} {
			for err := echoed(network, host); err != nil; err = echoed(network, host) {
				if time.Now().After(end) {
					return err
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		addr, err := net.ResolveIPAddr("ip4", host)
		if err != nil {
			return err
		}
		met, addrs = append(met, i), append(addrs, addr.String())
	}
	all, err := net.LookupHost("peer")
	if err != nil {
		return err
	}
	slices.Sort(all)
	slices.Sort(addrs)
	if !slices.Equal(all, addrs) {
		return fmt.Errorf("peer is %v, want %v", all, addrs)
	}
	for s.count() < count-1 {
		if time.Now().After(end) {
			return fmt.Errorf("%d others came, want %d", s.count(), count-1)
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond) // a datagram may have to be answered once more
	fmt.Println(index, "met", met)
	return nil
}

// echoed has a host echo some bytes.
func echoed(network, host string) error {
	c, err := net.DialTimeout(network, host+":80", 20*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	size, wait := 300_000, 20*time.Second
	if network == "udp4" {
		size, wait = 1_200, 500*time.Millisecond
	}
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	go func() {
		_, _ = c.Write(data) // what is missing is missing in the echo
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}()
	got := make([]byte, size)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%s sent other bytes back", host)
	}
	return nil
}

// served are the addresses of those who were served over TCP.
type served struct {
	mu  sync.Mutex // guards the field below
	who map[string]bool
}

func (s *served) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.who)
}

func (s *served) listen() error {
	l, err := net.Listen("tcp4", ":80")
	if err != nil {
		return err
	}
	p, err := net.ListenPacket("udp4", ":80")
	if err != nil {
		return err
	}
	s.who = map[string]bool{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.echo(c)
		}
	}()
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(b[:n], from)
		}
	}()
	return nil
}

func (s *served) echo(c net.Conn) {
	defer c.Close()
	if _, err := io.Copy(c, c); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.who[c.RemoteAddr().(*net.TCPAddr).IP.String()] = true
}
