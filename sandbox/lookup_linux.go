package sandbox

import (
	"path"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/notify"
)

// Where Config.Lookups asks for it, the filter stops a command at every call that names a file
// (notify.PathCalls) until the zygote has looked for the file itself, beneath the command's root,
// and noted what is not there. The call then goes on, so nothing depends on what is read here.

// A seeker notes what a command looks for.
type seeker struct {
	mu      sync.Mutex        // guards the fields below; never held while a command starts
	root    int               // of the command; -1 while there is none
	prefix  string            // path of that root as the zygote sees it
	found   map[string]string // by base name, the first path
	missing map[string]bool
	bytes   int // of out.Missing's paths
	out     Lookups
}

func newSeeker() *seeker { return &seeker{root: -1} }

// begin has the calls of a command noted whose root that is, until end.
func (s *seeker) begin(root int, prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.root, s.prefix, s.bytes, s.out = root, prefix, 0, Lookups{}
	s.found, s.missing = map[string]string{}, map[string]bool{}
}

// end returns what was noted.
func (s *seeker) end() *Lookups {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.out
	for i := range out.Missing {
		m := &out.Missing[i]
		at := s.found[path.Base(m.Path)]
		m.Elsewhere = at != "" && at != m.Path // a link that leads nowhere is there itself
	}
	s.root, s.out = -1, Lookups{}
	s.found, s.missing = nil, nil
	return &out
}

// see looks for what a stopped call names.
func (s *seeker) see(p *notify.PathCall, c *notify.Call) {
	name, relative := p.Path(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root < 0 {
		return
	}
	if relative && name != "" {
		var inside bool
		if name, inside = strings.CutPrefix(name, s.prefix); !inside {
			return
		}
	}
	if name == "" {
		if !p.Empty(c) {
			s.out.Unread++
		}
		return
	}
	name = path.Clean(name)
	if _, own := cutDir(name, "/proc"); own { // here it is the zygote's
		return
	}
	if _, own := cutDir(name, "/dev"); own {
		return
	}
	switch s.lookUp(name, p.Link(c), p.Makes(c)) {
	case nil:
		s.there(name, p.Lists(c))
	case unix.ENOENT, unix.ENOTDIR:
		s.notThere(name, p.Use(c))
	}
}

// cutDir reports whether name is dir or below it.
func cutDir(name, dir string) (string, bool) {
	rest, ok := strings.CutPrefix(name, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// lookUp returns why a file is not there; nil if it is, or if its directory is and it would be made.
func (s *seeker) lookUp(name string, link, makes bool) error {
	if makes {
		name = path.Dir(name)
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if link {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat2(s.root, name, &how)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func (s *seeker) there(name string, lists bool) {
	if base := path.Base(name); s.found[base] == "" && len(s.found) < maxLookups {
		s.found[base] = name
	}
	if !lists || len(s.out.Listed) >= maxListed {
		return
	}
	for _, l := range s.out.Listed {
		if l == name {
			return
		}
	}
	s.out.Listed = append(s.out.Listed, name)
}

func (s *seeker) notThere(name string, use notify.Use) {
	if s.missing[name] || len(s.missing) >= maxLookups {
		return
	}
	s.missing[name] = true
	s.out.Missing = append(s.out.Missing, Missing{Path: name, Use: useNames[use]})
	s.bytes += len(name)
	for len(s.out.Missing) > maxMissing || s.bytes > maxMissingBytes {
		s.bytes -= len(s.out.Missing[0].Path)
		s.out.Missing = s.out.Missing[1:]
		s.out.Earlier++
	}
}

var useNames = map[notify.Use]string{notify.Look: "look", notify.Open: "open", notify.Execute: "execute"}

// withoutGC keeps the collector from stopping the world until the returned function is called. A
// command stops at its own execve until hear has answered, and the thread that forked it stands
// still until then, where the collector would wait for it while hear waits for the collector.
func withoutGC() (resume func()) {
	percent := debug.SetGCPercent(-1)
	runtime.GC() // ends one that is under way
	return func() { debug.SetGCPercent(percent) }
}
