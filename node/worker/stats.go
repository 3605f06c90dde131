package worker

// Stats is how a worker fares.
type Stats struct {
	Ran, Known, Failed int64 // leases that ended since New: by a run, by what was known, without a value
	Slots, Busy        int
	Leases             int // accepted and not ended
	Unsaid             int // outcomes that the coordinator has not acknowledged
	StoreUsed          int64
	Connected          bool // to a coordinator
	Paused, Draining   bool
}

// Stats returns how the worker fares now.
func (w *Worker) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	free := w.slots.free()
	return Stats{
		Ran: w.ends.ran.Load(), Known: w.ends.known.Load(), Failed: w.ends.failed.Load(),
		Slots: w.cfg.Hello.Slots, Busy: w.cfg.Hello.Slots - free, Leases: len(w.leases), Unsaid: len(w.outcomes),
		StoreUsed: w.cfg.Store.Used(), Connected: w.out != nil, Paused: w.paused, Draining: w.draining || w.stopping,
	}
}
