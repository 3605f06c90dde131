package wire

import "slices"

// Gang says that tasks of a job run together: all are started at once or none, and if the node of
// one is lost all begin again.
type Gang struct {
	Name    string `cbor:"name"`              // the same for all members
	Size    int    `cbor:"size"`              // how many members it has in all
	Service bool   `cbor:"service,omitempty"` // ended when all others have, its own end is ignored
	// Network says that the members reach each other: each is on a network that they have for
	// themselves. All members of a gang say the same; their thunks are of ABINetworked, others' not.
	Network bool `cbor:"network,omitempty"`
	// Task and Index are whom the member is for the others, see NetMember; of Count instances.
	// Members of a gang without a network need none of the three.
	Task  string `cbor:"task,omitempty"`
	Index int    `cbor:"index,omitempty"`
	Count int    `cbor:"count,omitempty"`
	// Ready is the TCP port that has to listen before the members start that are no services and
	// have no such port themselves; 0 if they need not wait.
	Ready uint16 `cbor:"ready,omitempty"`
	// Deterministic says that equal members of an equal gang give equal values, so that they may be
	// remembered. They are if every member that is no service says so.
	Deterministic bool `cbor:"det,omitempty"`
}

// CheckGang returns an error unless the members, those of one name in a job, are a whole gang: they
// are as many as each says, one of them is no service and so tells when it is over, all are on a
// network or none is, and on one they have names of their own. The error is an *Error.
func CheckGang(members []*Gang) error {
	g := members[0]
	bad := func(hint, format string, args ...any) error {
		return Errorf(CauseInvalid, hint, "gang %q: "+format, append([]any{g.Name}, args...)...)
	}
	if len(members) > MaxGang {
		return Errorf(CauseTooLarge, "make it smaller, or several of it", "gang %q has %d members; the bound is %d", g.Name, len(members), MaxGang)
	}
	names := HostNames{}
	services, deterministic := 0, 0
	for _, m := range members {
		switch {
		case !ValidName(g.Name):
			return bad("", "is no usable name")
		case m.Size != len(members):
			return bad("", "it is of %d tasks, but %d belong to it", m.Size, len(members))
		case m.Network != g.Network:
			return bad("give all of them network: overlay, or none", "some of its members are on a network and others are not")
		case m.Network:
			if err := names.Add(m.Task, m.Index, m.Count); err != nil {
				return bad("call a task something else", "%v", err)
			}
		}
		switch {
		case m.Service:
			services++
		case m.Deterministic:
			deterministic++
		}
	}
	others := len(members) - services
	switch {
	case others == 0:
		return bad("let one task that is no service say by its end when they are to end", "all its members are services")
	case deterministic > 0 && deterministic < others:
		return bad("what one gives hangs on the others: say it of all that are no services, or of none",
			"%d of its members are deterministic and %d are not", deterministic, others-deterministic)
	}
	return nil
}

// StuckGang returns a gang that can never start, 0 if there is none: one of its members needs, by
// whatever ways, what another gives, or what comes of a gang that needs what another of its gives.
// gangs has the number of every task's gang, 0 for none; deps calls dep with the tasks that task i
// waits for. Without gangs the tasks have no cycle.
func StuckGang(gangs []int, deps func(i int, dep func(int))) int {
	// A gang is one unit, and so is each other task; Kahn's algorithm finds those on cycles.
	unit := make([]int, len(gangs))
	units := 0
	for _, g := range gangs {
		units = max(units, g+1)
	}
	for i, g := range gangs {
		if unit[i] = g; g == 0 {
			unit[i] = units
			units++
		}
	}
	users, needs, waits := make([][]int, units), make([][]int, units), make([]int, units)
	for i := range gangs {
		deps(i, func(d int) {
			users[unit[d]] = append(users[unit[d]], unit[i])
			needs[unit[i]] = append(needs[unit[i]], unit[d])
			waits[unit[i]]++
		})
	}
	free := make([]int, 0, units)
	for u, n := range waits {
		if n == 0 {
			free = append(free, u)
		}
	}
	for len(free) > 0 {
		u := free[len(free)-1]
		free = free[:len(free)-1]
		for _, v := range users[u] {
			if waits[v]--; waits[v] == 0 {
				free = append(free, v)
			}
		}
	}
	for _, u := range unit {
		if waits[u] > 0 {
			return gangOnCycle(u, units, needs, waits, slices.Max(gangs))
		}
	}
	return 0
}

// gangOnCycle follows what a unit that never starts needs until it comes round, and returns a gang
// on that way: the least number of 1 to last.
func gangOnCycle(u, units int, needs [][]int, waits []int, last int) int {
	next := func(u int) int {
		return needs[u][slices.IndexFunc(needs[u], func(v int) bool { return waits[v] > 0 })]
	}
	for range units {
		u = next(u)
	}
	found := 0
	for v := u; ; {
		if v >= 1 && v <= last && (found == 0 || v < found) {
			found = v
		}
		if v = next(v); v == u {
			return found
		}
	}
}
