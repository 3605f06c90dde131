package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strings"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// A meshConfig is a mesh that this machine has logged in to, as JSON in meshes/NAME.json.
type meshConfig struct {
	Name        string   `json:"name"`
	Mesh        string   `json:"mesh"`        // id of the mesh key
	Coordinator string   `json:"coordinator"` // peer id
	Addrs       []string `json:"addrs"`
	Certificate []byte   `json:"certificate"`
}

// maxMesh bounds a mesh configuration on disk: a certificate of wire.MaxText and the addresses.
const maxMesh = 64 << 10

func (d stateDir) meshFile(name string) string { return d.path("meshes", name+".json") }

func (d stateDir) loadMesh(name string) (*meshConfig, error) {
	if !wire.ValidName(name) {
		return nil, wire.Errorf(wire.CauseInvalid, "coord mesh ls lists them", "%q cannot be the name of a mesh", name)
	}
	m := new(meshConfig)
	err := readJSON(d.meshFile(name), maxMesh, m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wire.Errorf(wire.CauseInvalid, "coord mesh ls lists them; coord login TICKET adds one", "this machine is not logged in to a mesh %q", name)
	}
	return m, err
}

// certificate decodes and returns the membership.
func (m *meshConfig) certificate() (*wire.Certificate, error) {
	return wire.DecodeCertificate(m.Certificate)
}

// currentMesh returns the name of the mesh in use, "" for none.
func (d stateDir) currentMesh() (string, error) {
	b, err := os.ReadFile(d.path("meshes", "current"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

func (d stateDir) setCurrentMesh(name string) error {
	return writeFile(d.path("meshes", "current"), []byte(name+"\n"))
}

// refusedTicket makes it the caller's mistake that a ticket is no good; what else went wrong stays.
func refusedTicket(err error) error {
	e := *wire.AsError(err)
	switch e.Cause {
	case wire.CauseExpired, wire.CauseUnauthorized, wire.CauseClock, wire.CauseVersion, wire.CauseRevoked:
		e.Cause = wire.CauseInvalid
	}
	return &e
}

// login joins the mesh of a ticket and makes it the one in use.
func (s *session) login(ctx context.Context, dir stateDir, in *Login) (*End, error) {
	t, err := wire.ParseTicket(in.Ticket)
	if err != nil {
		return nil, err
	}
	name := in.Name
	if name == "" {
		name = "mesh-" + strings.ToLower(t.Mesh.Short())
	}
	if !wire.ValidName(name) || name == NoMesh {
		return nil, wire.Errorf(wire.CauseInvalid, "use letters, digits, '_', '.' and '-'", "%q cannot be the name of a mesh", name)
	}
	if t.Roles&wire.RoleClient == 0 || len(t.Tenants) == 0 { // said before it is spent
		return nil, wire.Errorf(wire.CauseInvalid, "on the coordinator, coord ticket --role tenant makes one for submitting",
			"this ticket is for running tasks, not for submitting; it can still be used for that (node --join)")
	}
	cert, err := peer.Join(ctx, s.a.backend.key, t, Owner(), HostName())
	if err != nil {
		return nil, refusedTicket(err)
	}
	m := &meshConfig{Name: name, Mesh: t.Mesh.String(), Coordinator: t.Coordinator.String(), Addrs: t.Addrs, Certificate: cert.Encode()}
	if err := s.a.backend.dropLink(name); err != nil {
		return nil, err
	}
	if err := writeJSON(dir.meshFile(name), m); err != nil {
		return nil, err
	}
	if err := dir.setCurrentMesh(name); err != nil {
		return nil, err
	}
	tenants := make([]string, len(cert.Tenants))
	for i, t := range cert.Tenants {
		tenants[i] = string(t)
	}
	return nil, s.send(&Event{Text: fmt.Sprintf("logged in to %s (tenant %s); coord submit uses it from now on, --local works without it\n",
		name, strings.Join(tenants, ", "))})
}

// Owner names the person who answers for this machine.
func Owner() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

// HostName names this machine, for people.
func HostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// meshes changes the mesh in use and lists those there are.
func (s *session) meshes(dir stateDir, arg *MeshArg) (*End, error) {
	switch {
	case arg.Use == NoMesh:
		if err := dir.setCurrentMesh(""); err != nil {
			return nil, err
		}
	case arg.Use != "":
		if _, err := dir.loadMesh(arg.Use); err != nil {
			return nil, err
		}
		if err := dir.setCurrentMesh(arg.Use); err != nil {
			return nil, err
		}
	case arg.Remove != "":
		if err := s.removeMesh(dir, arg.Remove); err != nil {
			return nil, err
		}
	}
	list, err := dir.listMeshes()
	if err != nil {
		return nil, err
	}
	if arg.Use != "" {
		if err := s.send(&Event{Text: usesText(arg.Use)}); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, s.send(&Event{Text: "logged in to no mesh: jobs run on this machine (coord login TICKET joins one)\n"})
	}
	return nil, s.send(&Event{Meshes: list})
}

// usesText says what commands use from now on.
func usesText(mesh string) string {
	if mesh == NoMesh {
		return "commands use this machine alone from now on\n"
	}
	return fmt.Sprintf("commands use the mesh %s from now on; --local has one use this machine alone\n", mesh)
}

func (s *session) removeMesh(dir stateDir, name string) error {
	if _, err := dir.loadMesh(name); err != nil {
		return err
	}
	current, err := dir.currentMesh()
	if err == nil && current == name {
		err = dir.setCurrentMesh("")
	}
	if err == nil {
		err = s.a.backend.dropLink(name)
	}
	if err == nil {
		err = os.Remove(dir.meshFile(name))
	}
	return err
}

// listMeshes returns the configured meshes by name. A damaged one is left out.
func (d stateDir) listMeshes() ([]MeshInfo, error) {
	current, err := d.currentMesh()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.path("meshes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []MeshInfo
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		m, err := d.loadMesh(name)
		if err != nil {
			continue
		}
		cert, err := m.certificate()
		if err != nil {
			continue
		}
		list = append(list, MeshInfo{Name: name, Mesh: cert.Mesh, Addrs: m.Addrs, Tenants: cert.Tenants, Expires: cert.Expires, InUse: name == current})
	}
	slices.SortFunc(list, func(a, b MeshInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// link returns the link that a command asks for: none but this machine if it says so or nothing
// is configured, else the mesh it names or the one in use.
//
// That the coordinator cannot be reached, with patience, is an error: silently working elsewhere
// would surprise.
func (s *session) link(ctx context.Context, cmd *Command) (*link, error) {
	b := s.a.backend
	name, err := b.meshOf(cmd)
	if err != nil {
		return nil, err
	}
	l, err := b.linkTo(name)
	if err != nil {
		return nil, err
	}
	said := false
	return l, patiently(ctx, func() error { return l.Reach(ctx) }, func(error) {
		if !said {
			said = true
			note := fmt.Sprintf("mesh %s cannot be reached, trying again for %v; --local works on this machine only", name, patience)
			_ = s.send(&Event{Note: note}) // a command that is gone ends ctx
		}
	})
}

// meshOf returns the name of the mesh that a command asks for, "" for this machine alone.
func (b *backend) meshOf(cmd *Command) (string, error) {
	switch {
	case cmd.Local || cmd.Mesh == NoMesh:
		return "", nil
	case cmd.Mesh != "":
		return cmd.Mesh, nil
	}
	return b.dir.currentMesh()
}

// linkTo returns the link to a mesh, or to this machine alone if the name is empty, and makes it
// if need be. It does not wait for the coordinator.
func (b *backend) linkTo(name string) (*link, error) {
	b.linking.Lock()
	defer b.linking.Unlock()
	b.mu.Lock()
	l := b.links[name]
	b.mu.Unlock()
	if l != nil {
		return l, nil
	}
	var err error
	if name == "" {
		l, err = b.openLocal()
	} else {
		l, err = b.openMesh(name)
	}
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.links[name] = l
	b.mu.Unlock()
	return l, nil
}

// dropLink closes the link to a mesh that is configured anew or no more, unless jobs use it.
func (b *backend) dropLink(name string) error {
	b.linking.Lock()
	defer b.linking.Unlock()
	b.mu.Lock()
	l := b.links[name]
	for id, j := range b.jobs {
		if l != nil && j.link == l {
			b.mu.Unlock()
			return wire.Errorf(wire.CauseBusy, "wait for it, or run coord cancel "+id.String(), "job %s runs on mesh %s", id, name)
		}
	}
	delete(b.links, name)
	b.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Close()
}
