package sched

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// unequal is a mesh whose nodes take so many times as long as others, and its speed in slots.
func unequal(t *testing.T, slow ...time.Duration) (w *world, client *simNode, speed float64) {
	w, client = small(t, len(slow))
	for i, k := range slow {
		w.nodes[1+i].slow = k
		speed += 2 / float64(k)
	}
	return w, client, speed
}

// kinds is a graph of n tasks with an input each, of so many kinds.
func kinds(t *testing.T, prefix string, n, kinds int) (*plan, []string) {
	var text string
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%s%d", prefix, i))
		text += fmt.Sprintf(";%s%d -> %ssrc%d", prefix, i, prefix, i)
	}
	p := makePlan(t, text[1:])
	for i := range p.tasks {
		p.tasks[i].Name = fmt.Sprintf("%s%d[%d]", prefix, i%kinds, i)
	}
	return p, names
}

// Nodes that differ, once they have shown it: each is given what it can do, and is not what all wait for
// in the end. Ideal is what the slots together could do if tasks had no length.
func TestUnequalNodes(t *testing.T) {
	for _, c := range []struct {
		slow  []time.Duration
		tasks int
		most  float64 // times ideal
	}{
		{[]time.Duration{1, 1, 1, 1, 2, 3, 4, 8}, 10, 2.2},  // 2.1 is a task; 7.3 without paces
		{[]time.Duration{1, 1, 1, 1, 2, 3, 4, 8}, 20, 1.7},  // 3.7
		{[]time.Duration{1, 1, 1, 1, 2, 3, 4, 8}, 100, 1.3}, // 1.7
		{[]time.Duration{1, 4}, 20, 1.1},                    // 1.4
	} {
		t.Run(fmt.Sprint(len(c.slow), " nodes, ", c.tasks, " tasks"), func(t *testing.T) {
			w, client, speed := unequal(t, c.slow...)
			w.runs = func(string) time.Duration { return 5 * time.Second }
			p, names := kinds(t, "k", 100, 4)
			id := w.submit(1, client, p, nil, names...)
			w.run(time.Hour, w.ended(id))
			w.wantValues(id, p, names...)
			for _, n := range w.s.nodes[2:] {
				t.Logf("%s: pace %.2f", n.hello.Name, n.pace.factor)
			}
			p, names = kinds(t, "more", c.tasks, 1)
			for i := range p.tasks {
				p.tasks[i].Name = fmt.Sprintf("k%d[more%d]", i%4, i)
			}
			begun := w.now
			id = w.submit(2, client, p, nil, names...)
			w.run(time.Hour, w.ended(id))
			w.wantValues(id, p, names...)
			times := (w.now - begun).Seconds() / (5 * float64(c.tasks) / speed)
			t.Logf("%v, %.2fx of ideal", w.now-begun, times)
			if times > c.most {
				t.Errorf("took %.2fx of what the slots could do, want at most %.2fx", times, c.most)
			}
		})
	}
}

// What a node did tells how long it takes for kinds that were never run: here long ones, of which
// there is no telling that they are stragglers.
func TestSlowNodeGetsNoLongTasks(t *testing.T) {
	w, client, _ := unequal(t, 1, 1, 1, 10)
	p, names := kinds(t, "k", 60, 1)
	id := w.submit(1, client, p, nil, names...)
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	w.runs = func(string) time.Duration { return 10 * time.Second }
	p, names = kinds(t, "long", 6, 6)
	begun := w.now
	id = w.submit(2, client, p, nil, names...)
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	t.Logf("%v, %.2fx of 10 s", w.now-begun, (w.now-begun).Seconds()/10)
	if w.now-begun > 15*time.Second {
		t.Errorf("6 tasks of 10 s on 6 fast slots took %v", w.now-begun)
	}
}

// Tasks wait for fast nodes that are busy rather than go to an idle slow one.
func TestTasksWaitForFastNodes(t *testing.T) {
	w, client, _ := unequal(t, 1, 1, 1, 10)
	w.calm = true
	w.runs = func(string) time.Duration { return 10 * time.Second }
	p, names := kinds(t, "k", 240, 1)
	id := w.submit(1, client, p, nil, names...)
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	p, names = kinds(t, "more", 18, 1)
	for i := range p.tasks {
		p.tasks[i].Name = fmt.Sprintf("k0[more%d]", i)
	}
	slow := w.nodes[4].peer
	before := w.offers[slow]
	id = w.submit(2, client, p, nil, names...)
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	if n := w.offers[slow] - before; n > 0 {
		t.Errorf("18 tasks on 6 fast slots, 10 s each: %d were offered to a node that takes 100 s", n)
	}
}

// A node that says that it takes no time is taken for one four times as fast at most.
func TestWhoSaysThatItIsFastGetsNoMore(t *testing.T) {
	w, client, speed := unequal(t, 1, 1, 1, 1, 1, 1, 1, 1)
	liar := w.nodes[8]
	liar.says = func(time.Duration) time.Duration { return 0 }
	const tasks = 240
	p, names := kinds(t, "k", tasks, 3)
	id := w.submit(1, client, p, nil, names...)
	begun := w.now
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	n := w.s.nodes[w.s.nodeOf[liar.peer]]
	ideal := time.Duration(tasks / speed * float64(time.Second))
	t.Logf("%v, %.2fx of %v; pace %.2f, ran %d of %d", w.now-begun, float64(w.now-begun)/float64(ideal), ideal, n.pace.factor, n.ran, tasks)
	if n.pace.factor < minPace || n.ran > tasks/8*5/4 || w.now-begun > ideal*5/4 {
		t.Errorf("pace %v, it ran %d of %d tasks, and all took %v of at least %v", n.pace.factor, n.ran, tasks, w.now-begun, ideal)
	}
}

// A pace belongs to the machine: it is there when that comes back, and fades.
func TestPaceOfANodeThatComesBack(t *testing.T) {
	w, client, _ := unequal(t, 1, 1, 1, 4)
	p, names := kinds(t, "k", 120, 1)
	id := w.submit(1, client, p, nil, names...)
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	node := w.nodes[4]
	pace := func() float64 { return w.s.nodes[w.s.nodeOf[node.peer]].pace.factor }
	learnt := pace()
	w.calm = true
	node.crash(true)
	w.run(time.Minute, nil)
	node.connect()
	w.run(time.Second, nil)
	if back := pace(); learnt < 2.5 || learnt > 4.5 || back < learnt*9/10 || back > learnt {
		t.Errorf("pace %.2f, and %.2f when it came back; it is 4", learnt, back)
	}
	w.run(3*time.Hour, nil)
	if faded := pace(); faded > 1.05 {
		t.Errorf("pace %.2f after three hours in which it ran nothing", faded)
	}
}

// A node may say of a run that it took any time: what is learnt stays a number.
func TestAbsurdDurations(t *testing.T) {
	w, client := small(t, 3)
	for i, d := range []time.Duration{math.MinInt64, -paceNoise, math.MaxInt64} {
		w.nodes[1+i].says = func(time.Duration) time.Duration { return d }
	}
	p, names := kinds(t, "k", 60, 1)
	id := w.submit(1, client, p, nil, names...)
	w.run(time.Hour, func() bool {
		for _, n := range w.s.nodes[2:] {
			if f := n.pace.factor; f != 0 && !(f >= minPace && f <= maxPace) {
				t.Fatalf("%s has a pace of %v", n.hello.Name, f)
			}
		}
		for _, k := range w.s.kinds {
			if e := k.ewma; e < 0 || e > 4*maxRun {
				t.Fatalf("tasks are expected to run for %v", e)
			}
		}
		return w.ended(id)()
	})
	w.wantValues(id, p, names...)
}

// Who has few runs to show is taken for what others are, and no run counts beyond the bounds.
func TestPaceIsBounded(t *testing.T) {
	for _, c := range []struct {
		name        string
		took, usual time.Duration
		runs        int
		low, high   float64
	}{
		{"one slow run", 10 * time.Second, time.Second, 1, 2, 2.3},
		{"many slow runs", 10 * time.Second, time.Second, 100, 9.5, 10.1},
		{"slower than slow", time.Hour, time.Second, 100, 15.5, maxPace},
		{"one fast run", time.Second, 10 * time.Second, 1, 0.4, 0.5},
		{"many fast runs", time.Second, 10 * time.Second, 100, minPace, minPace},
		{"no time at all", 0, time.Hour, 100, minPace, minPace},
		{"noise", 3 * time.Millisecond, time.Millisecond, 100, 1, 1.2},
	} {
		var p pace
		for i := range c.runs {
			p.observe(time.Duration(i)*time.Second, c.took, c.usual)
		}
		if p.factor < c.low || p.factor > c.high {
			t.Errorf("%s: pace %v, want %v to %v", c.name, p.factor, c.low, c.high)
		}
	}
}

// A node whose runs are all overtaken by copies never tells how long it takes: that tells enough.
func TestPaceOfANodeThatIsOvertaken(t *testing.T) {
	w, client, _ := unequal(t, 1, 1, 1, 1000)
	p, names := kinds(t, "k", 48, 1)
	id := w.submit(1, client, p, nil, names...)
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	n := w.s.nodes[w.s.nodeOf[w.nodes[4].peer]]
	if n.ran > 0 || n.pace.factor < 2 {
		t.Errorf("a node that was overtaken each time has a pace of %v after %d results", n.pace.factor, n.ran)
	}
}
