package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A make that waits for a program which is held back takes no signal before that has ended.
func TestSignalEndsWhatIsHeldBack(t *testing.T) {
	held, ends, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	p := exec.Command("sh", "-c", "trap '' TERM; read line")
	p.Stdin = held
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	_, stopped, err := runTo(p, signals, func() { ends.Close() })
	if err != nil || !stopped {
		t.Errorf("runTo() = stopped: %v, %v", stopped, err)
	}
}
