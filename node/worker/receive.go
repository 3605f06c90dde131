package worker

import "gaggle/wire"

// receive carries out a frame of the coordinator's. An error ends the connection.
func (w *Worker) receive(f *wire.ToNode) error {
	if err := w.obey(f.Epoch); err != nil {
		return err
	}
	if f.Refuse != nil {
		return &refusedError{f.Refuse}
	}
	for _, n := range []int{len(f.Grants), len(f.Offers), len(f.Recall), len(f.Cancel),
		len(f.Pin), len(f.Unpin), len(f.Copy), len(f.Probe), len(f.Acked), len(f.Withdraw),
		len(f.Networks)} {
		if n > wire.MaxBatch {
			return wire.Errorf(wire.CauseTooLarge, "",
				"the coordinator sent a list of %d; the bound is %d", n, wire.MaxBatch)
		}
	}
	if len(f.Peers) > wire.MaxPeers {
		return wire.Errorf(wire.CauseTooLarge, "",
			"the coordinator named %d peers; the bound is %d", len(f.Peers), wire.MaxPeers)
	}
	if len(f.Peers) > 0 && w.cfg.AddPeers != nil {
		w.cfg.AddPeers(f.Peers)
	}
	for _, b := range f.Grants {
		g, err := wire.DecodeGrant(b)
		if err != nil {
			return err
		}
		w.cfg.Exchange.SetGrant(g)
	}
	for _, d := range f.Withdraw {
		w.withdraw(d.Space, d.Thunk)
	}
	for i := range f.Offers {
		if n := len(f.Offers[i].Then); n > wire.MaxThen {
			return wire.Errorf(wire.CauseTooLarge, "", "the coordinator sent a continuation of %d; the bound is %d", n, wire.MaxThen)
		}
	}
	if err := w.learn(f); err != nil {
		return err
	}
	w.receiveLeases(f)
	// Unpin first: where a frame names one object in both, keeping it too long does less harm.
	for _, p := range f.Unpin {
		w.cfg.Store.Unpin(p.Space, p.Object.Digest, p.Owner)
	}
	for _, p := range f.Pin {
		w.cfg.Store.Pin(p.Space, p.Object.Digest, p.Owner)
	}
	w.orderCopies(f.Copy)
	for _, p := range f.Probe {
		w.orderProbe(p)
	}
	return nil
}

// receiveLeases carries out what a frame says of leases.
func (w *Worker) receiveLeases(f *wire.ToNode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range f.Acked {
		delete(w.outcomes, id)
	}
	for _, id := range f.Cancel {
		if l := w.leases[id]; l != nil {
			l.cancel(errCancelled)
		} else {
			w.dropThen(id)
		}
	}
	for _, id := range f.Recall {
		if l := w.leases[id]; l != nil {
			w.giveBack(l, errRecalled)
		}
	}
	for i := range f.Offers {
		w.accept(&f.Offers[i])
	}
}
