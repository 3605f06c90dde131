package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// settle is what connections that have just been made are given to finish with each other.
const settle = 5 * time.Second

// idle measures what n peers that do nothing make this process larger by.
func idle(ctx context.Context, n int) (*Result, error) {
	m, err := newMember(ctx, "quic", "")
	if err != nil {
		return nil, err
	}
	defer m.close()
	heap0, rss0, err := memory()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, self, "peers", fmt.Sprintf("%s/p2p/%s", m.host.Addrs()[0], m.host.ID()), strconv.Itoa(n))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	defer c.Wait()
	defer in.Close() // it leaves
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("waiting for the peers: %w", err)
	}
	time.Sleep(settle)
	if got := len(m.host.Network().Peers()); got != n {
		return nil, fmt.Errorf("%d peers are connected, want %d", got, n)
	}
	heap1, rss1, err := memory()
	if err != nil {
		return nil, err
	}
	return &Result{Heap: (heap1 - heap0) / float64(n), RSS: (rss1 - rss0) / float64(n)}, nil
}

// peers connects n hosts to an address, says so, and stays until its input ends.
func peers(ctx context.Context, addr string, n int) error {
	to, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return err
	}
	for range n {
		m, err := newMember(ctx, "quic", "")
		if err != nil {
			return err
		}
		defer m.close()
		if err := m.host.Connect(ctx, *to); err != nil {
			return err
		}
	}
	fmt.Println("connected")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// memory returns the bytes of the heap that are in use, and those of the process that are resident.
func memory() (heap, rss float64, err error) {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("/proc/self/statm: %q", text)
	}
	pages, err := strconv.Atoi(fields[1])
	return float64(s.HeapAlloc), float64(pages * os.Getpagesize()), err
}
