package clustertest

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Of eight nodes four come and go every 2 s, killed or in good order by turns, while a job runs:
//
//	hub  node1 ... node4  node5 ... node8  anna
//	 |     |         |      X         X      |
//	 +-----+-------br0------+---------+------+
func TestHalfTheNodesComeAndGo(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 8, 1)
	stable, churned := m.churn(t, 7*time.Second)
	t.Logf("tasks a second: %.1f while all stay, %.1f while half come and go every 2 s: %.2f of it", stable, churned, churned/stable)
}

// churn runs the same load twice, for about so long each, and returns the tasks a second: while all
// nodes stay, and while every second one comes and goes. It leaves all of them up.
func (m *Mesh) churn(t *testing.T, long time.Duration) (stable, churned float64) {
	anna := m.Client(fmt.Sprint("anna", long/time.Second))
	run := func(seed string, while func(*Running)) float64 {
		// Wide enough that no node waits for another, and as long as the nodes need.
		const sleep, width = 0.4, 40
		layers := max(2, int(long.Seconds()*float64(len(m.Nodes))/(sleep+0.2)/width))
		job := anna.StartWork(&Work{Seed: seed, Layers: layers, Width: width, Sleep: sleep, Pad: 10_000})
		job.WaitLog(`"how":"ran"`)
		while(job)
		job.Check()
		done := job.Done("")
		// Not the last tenth: the end of a job with few tasks left is as slow as its slowest.
		most := len(done) * 9 / 10
		t.Logf("%s: %d tasks in %v", seed, len(done), done[len(done)-1].Sub(done[0]).Round(10*time.Millisecond))
		return float64(most) / done[most].Sub(done[0]).Seconds()
	}
	stable = run(fmt.Sprint("stable", long), func(*Running) {})
	churned = run(fmt.Sprint("churned", long), func(job *Running) {
		var coming sync.WaitGroup
		half := len(m.Nodes) / 2
		for i := range half {
			coming.Go(func() {
				time.Sleep(time.Duration(i) * comeAndGo / time.Duration(half)) // not all at once
				m.nodes[half+i] = m.Nodes[half+i].comesAndGoes(m.nodes[half+i], job.done, i%2 == 0)
			})
		}
		coming.Wait()
	})
	return stable, churned
}

// comeAndGo is how long a node is there, and then is not.
const comeAndGo = 2 * time.Second

// comesAndGoes stops a node and starts it again, until over is closed, and returns it as it runs
// then. One that goes in good order gives back what it has; another one is killed.
func (h *Host) comesAndGoes(p *Process, over <-chan struct{}, inOrder bool) *Process {
	for {
		if inOrder {
			p.Signal(syscall.SIGTERM)
		} else {
			p.Signal(syscall.SIGKILL)
		}
		time.Sleep(comeAndGo)
		<-p.done
		p = h.Start("node")
		select {
		case <-over:
			return p
		case <-time.After(comeAndGo):
		}
	}
}

// A node's uplink of 4 Mbit/s is full with results for a while. Its beats get through, and it goes
// on with the tasks of another job.
func TestFullUplinkLosesNobody(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 1, 2)
	anna, ben := m.Client("anna"), m.Client("ben")
	ben.StartWork(&Work{Seed: "before", Layers: 1, Width: 2, Pad: 10}).Check() // brings the root there
	m.Nodes[0].Rate(4)
	large := anna.StartWork(&Work{Seed: "large", Layers: 1, Width: 4, Pad: 2_000_000})
	large.WaitLog(`"fetching"`)
	begun := time.Now()
	small := ben.StartWork(&Work{Seed: "small", Layers: 10, Width: 2, Sleep: 0.9, Pad: 1000})
	states := map[string]int{}
	for ended := false; !ended; {
		select {
		case <-large.done:
			ended = true
		case <-time.After(500 * time.Millisecond):
			states[m.State("node1")]++
		}
	}
	t.Logf("8 MB in %v over an uplink of 4 Mbit/s; node1 was %v", time.Since(begun).Round(10*time.Millisecond), states)
	large.Check()
	small.Check()
	small.Recovered("the uplink of node1 is full", "node1", begun, begun)
	if states["lost"] > 0 {
		t.Error("node1 counted as lost while its uplink was full")
	}
}
