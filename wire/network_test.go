package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// networkFrame is the first bytes of networks: as messages.hex, it never changes.
var networkFrame = []string{
	"a3",                        // to-node: 3 keys
	"64 686f7374 07",            // host: 7
	"65 65706f6368 04",          // epoch: 4
	"68 6e6574776f726b73 81",    // networks: 1
	"a3",                        // a network: 3 keys
	"63 766e69 19 1234",         // vni
	"65 7370616365 64 616e6e61", // space: anna
	"67 6d656d62657273 82",      // members: 2
	"a6",                        // a member: 6 keys
	"64 686f7374 07",            // host
	"64 70656572 5820" + strings.Repeat("99", 32), // peer
	"64 7461736b 62 6462",                         // task: db
	"65 636f756e74 01",                            // count
	"65 7265616479 19 18eb",                       // ready: 6379
	"67 73657276696365 f5",                        // service
	"a5",                                          // a member: 5 keys
	"64 686f7374 08",                              // host
	"64 70656572 5820" + strings.Repeat("88", 32),
	"64 7461736b 64 6c6f6164", // task: load
	"65 636f756e74 02",        // count
	"65 696e646578 01",        // index
}

func TestGoldenNetwork(t *testing.T) {
	want := ToNode{Epoch: 4, Host: 7, Networks: []Network{{VNI: 0x1234, Space: "anna", Members: []NetMember{
		{Task: "db", Count: 1, Host: 7, Peer: PeerID(fill(0x99)), Ready: 6379, Service: true},
		{Task: "load", Index: 1, Count: 2, Host: 8, Peer: PeerID(fill(0x88))},
	}}}}
	b, err := Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	checkBytes(t, b, hexBytes(t, networkFrame...))
	var got ToNode
	if err := Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, equal...); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestGoldenGang(t *testing.T) {
	for _, c := range []struct {
		name string
		v    any
		want []string
	}{
		{"a place", &Place{VNI: 5, Member: 1}, []string{"a2", "63 766e69 05", "66 6d656d626572 01"}},
		{"a gang as the first version wrote it", &Gang{Name: "b", Size: 2, Service: true}, []string{
			"a3", "64 6e616d65 61 62", "64 73697a65 02", "67 73657276696365 f5"}},
		{"a gang with a network", &Gang{Name: "b", Size: 9, Network: true, Task: "load", Index: 3, Count: 8, Ready: 80, Deterministic: true}, []string{
			"a8",
			"63 646574 f5",            // det
			"64 6e616d65 61 62",       // name
			"64 73697a65 09",          // size
			"64 7461736b 64 6c6f6164", // task
			"65 636f756e74 08",        // count
			"65 696e646578 03",        // index
			"65 7265616479 18 50",     // ready
			"67 6e6574776f726b f5",    // network
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Marshal(c.v)
			if err != nil {
				t.Fatal(err)
			}
			checkBytes(t, b, hexBytes(t, c.want...))
		})
	}
}

func testNetwork(members ...NetMember) *Network {
	for i := range members {
		m := &members[i]
		m.Host, m.Peer = 1, PeerID(fill(1))
		m.Count = max(m.Count, 1)
	}
	return &Network{VNI: 1, Space: "anna", Members: members}
}

func TestNetworkCheck(t *testing.T) {
	many := make([]NetMember, MaxGang+1)
	for i := range many {
		many[i] = NetMember{Task: fmt.Sprint("t", i)}
	}
	for _, c := range []struct {
		name string
		n    *Network
		want string
	}{
		{"one member", testNetwork(NetMember{Task: "a"}), ""},
		{"instances", testNetwork(NetMember{Task: "a", Count: 2}, NetMember{Task: "a", Index: 1, Count: 2}, NetMember{Task: "a-2"}), ""},
		{"as many as may be", testNetwork(many[:MaxGang]...), ""},
		{"too many", testNetwork(many...), "1025 members, want 1 to 1024"},
		{"none", testNetwork(), "0 members"},
		{"no number", &Network{Space: "anna"}, "the number is not 1 to 16777214"},
		{"a number that is too high", &Network{VNI: MaxVNI + 1, Space: "anna"}, "is not 1 to"},
		{"no space", &Network{VNI: 1}, "is of the space \"\""},
		{"no node", &Network{VNI: 1, Space: "anna", Members: []NetMember{{Task: "a", Count: 1, Peer: PeerID(fill(1))}}}, "is on node 0, which is none"},
		{"an index that is too high", testNetwork(NetMember{Task: "a", Index: 1}), "instance 1 of 1 of task \"a\""},
		{"an instance twice", testNetwork(NetMember{Task: "a"}, NetMember{Task: "a"}), "instance 0 of task \"a\" is there twice"},
		{"counts that differ", testNetwork(NetMember{Task: "a", Count: 2}, NetMember{Task: "a", Index: 1, Count: 3}), "has 2 instances and 3"},
		{"capitals", testNetwork(NetMember{Task: "a"}, NetMember{Task: "A"}), "which knows no capitals"},
		{"a task that is called as an instance", testNetwork(NetMember{Task: "a"}, NetMember{Task: "a-0"}), `"a-0" and an instance of task "a"`},
		{"an instance that is called as a task", testNetwork(NetMember{Task: "A-0"}, NetMember{Task: "a"}), `"A-0" and an instance of task "a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.n.Check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check() = %v, want %q", err, c.want)
			}
		})
	}
}

func TestCheckHostName(t *testing.T) {
	for _, ok := range []string{"db", "a_b", "a.b", "Load", "x1", "10-0", "1a", "0x7g", strings.Repeat("a", 58), "redis.1"} {
		if err := CheckHostName(ok); err != nil {
			t.Errorf("CheckHostName(%q) = %v", ok, err)
		}
	}
	for _, bad := range []string{"", "1", "127.1", "0x7f.1", "0X", "localhost", "LocalHost", "-a", "a.-b", "a..b", ".a", "a.", strings.Repeat("a", 59), "a b"} {
		if CheckHostName(bad) == nil {
			t.Errorf("CheckHostName(%q) = nil, want an error", bad)
		}
	}
}

func TestMemberWaits(t *testing.T) {
	for m, want := range map[NetMember]bool{{}: true, {Service: true}: false, {Ready: 80}: false, {Service: true, Ready: 80}: false} {
		if got := m.Waits(); got != want {
			t.Errorf("Waits of %+v = %v, want %v", m, got, want)
		}
	}
}

func gangOf(size int, change func(i int, m *Gang)) []*Gang {
	members := make([]*Gang, size)
	for i := range members {
		members[i] = &Gang{Name: "g", Size: size, Network: true, Task: "t", Index: i, Count: size}
		if change != nil {
			change(i, members[i])
		}
	}
	return members
}

func TestCheckGang(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int
		change func(i int, m *Gang)
		want   string
	}{
		{"alone", 1, nil, ""},
		{"the largest", MaxGang, nil, ""},
		{"too large", MaxGang + 1, nil, "1025 members; the bound is 1024"},
		{"without a network", 3, func(_ int, m *Gang) { *m = Gang{Name: "g", Size: 3} }, ""},
		{"not whole", 2, func(_ int, m *Gang) { m.Size = 3 }, "of 3 tasks, but 2 belong to it"},
		{"half on a network", 2, func(i int, m *Gang) { m.Network = i == 0 }, "some of its members are on a network"},
		{"a name twice", 2, func(_ int, m *Gang) { m.Index = 0 }, "is there twice"},
		{"no usable name", 2, func(_ int, m *Gang) { m.Name = "a b" }, "is no usable name"},
		{"a service", 2, func(i int, m *Gang) { m.Service = i == 0 }, ""},
		{"only services", 2, func(_ int, m *Gang) { m.Service = true }, "all its members are services"},
		{"deterministic", 2, func(_ int, m *Gang) { m.Deterministic = true }, ""},
		{"deterministic but for the service", 2, func(i int, m *Gang) { m.Service, m.Deterministic = i == 0, i == 1 }, ""},
		{"half deterministic", 2, func(i int, m *Gang) { m.Deterministic = i == 1 }, "1 of its members are deterministic and 1 are not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckGang(gangOf(c.size, c.change))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("CheckGang = %v, want %q", err, c.want)
			}
		})
	}
}

func TestStuckGang(t *testing.T) {
	for _, c := range []struct {
		name  string
		gangs []int
		deps  [][]int
		want  int
	}{
		{"no tasks", nil, nil, 0},
		{"no gangs", []int{0, 0, 0}, [][]int{nil, {0}, {0, 1}}, 0},
		{"one after the other", []int{1, 1, 2, 2, 0}, [][]int{nil, nil, {0}, {1}, {2, 3}}, 0},
		{"a member of a member", []int{1, 1}, [][]int{nil, {0}}, 1},
		{"by way of a task", []int{1, 0, 1}, [][]int{nil, {0}, {1}}, 1},
		{"by way of a gang", []int{1, 2, 2, 1}, [][]int{nil, {0}, nil, {2}}, 1},
		{"two that cross", []int{2, 1, 2, 1, 0}, [][]int{nil, nil, {1}, {0}, {3}}, 1},
		{"what waits for a stuck one is not it", []int{1, 2, 2}, [][]int{{1}, nil, {1}}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := StuckGang(c.gangs, func(i int, dep func(int)) {
				for _, d := range c.deps[i] {
					dep(d)
				}
			})
			if got != c.want {
				t.Errorf("StuckGang = %d, want %d", got, c.want)
			}
		})
	}
}
