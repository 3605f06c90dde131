package worker

import "time"

const (
	// deafAfter is how long a coordinator may be silent, which says something every second, before
	// it is told so: it offers nothing where nothing arrives. It is as long as the coordinator
	// waits for a silent node.
	deafAfter = 3 * time.Second
	// hangUpAfter is when the connection is given up for a new one. After a cut that long a fresh
	// handshake is sooner through than QUIC's next probe, which comes after twice the silence.
	hangUpAfter = 10 * time.Second
	// listenEvery is how often the silence is measured.
	listenEvery = 250 * time.Millisecond
)

// listen watches a connection on which something should be heard every second, until ended is
// closed. The silence is measured by boot time, so that a laptop that wakes does not trust in a
// connection of yesterday; and twice, as what came while this process was stopped is read first.
func (w *Worker) listen(ended <-chan struct{}, link Link, out *outbox) {
	tick := time.NewTicker(listenEvery)
	defer tick.Stop()
	for last, doubted := false, false; ; {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		silent := w.silence(out)
		if deaf := silent >= deafAfter; deaf != doubted {
			if doubted = deaf; deaf && w.cfg.Doubt != nil {
				w.cfg.Doubt()
			}
		}
		if silent < hangUpAfter {
			last = false
			continue
		}
		if !last {
			last = true
			continue
		}
		w.log.Info("the coordinator is silent; connecting anew", "for", silent.Round(time.Second))
		w.hangUp(link)
		return
	}
}

// hangUp ends a connection that is good for nothing.
func (w *Worker) hangUp(link Link) {
	if w.cfg.HangUp != nil {
		w.cfg.HangUp()
	}
	link.Close()
}

// silence returns for how long the coordinator was silent, and tells it if that is much.
func (w *Worker) silence(out *outbox) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	silent := w.cfg.Boot() - w.heard
	if deaf := silent >= deafAfter; deaf != w.deaf {
		w.deaf = deaf
		out.beat(w.beat())
	}
	return silent
}
