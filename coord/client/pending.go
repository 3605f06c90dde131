package client

import (
	"context"
	"os"
	"path"
	"sync"

	"gaggle/coord/infer"
	"gaggle/coord/placeholder"
	"gaggle/wire"
)

// pendings are the files of this machine that deferred calls have still to make.
type pendings struct {
	mu    sync.Mutex // guards files
	files map[placeholder.ID]*pendingFile
}

// A pendingFile is one of them.
type pendingFile struct {
	*placeholder.File
	call   *deferredCall
	path   string // at which the call makes it
	end    string // what it was called when it was made
	output string // in the call's thunk
	run    bool   // it is a program
}

// at returns what is still to be made at a path, nil if that is nothing.
func (p *pendings) at(path string) *pendingFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.files) == 0 {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	id, _ := placeholder.IDOf(info)
	return p.files[id]
}

func (p *pendings) add(f *pendingFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[f.ID()] = f
}

func (p *pendings) remove(f *pendingFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.files, f.ID())
}

func (p *pendings) has(f *pendingFile) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[f.ID()] == f
}

// of returns those of a build.
func (p *pendings) of(d *deferral) []*pendingFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	var files []*pendingFile
	for _, f := range p.files {
		if f.call.of == d {
			files = append(files, f)
		}
	}
	return files
}

// A sight is the files and the store as one call sees them: it notes what it would read that is still
// to be made.
type sight struct {
	infer.Disk
	spaceStore
	pendings *pendings
	waits    map[string]*pendingFile // by path, clean
}

// Open opens a file; see infer.Files.
func (s *sight) Open(path string) (infer.File, error) {
	if s.pendings.at(path) != nil {
		return nil, infer.ErrPending
	}
	return s.Disk.Open(path)
}

// Add takes a file in; see infer.Store.
func (s *sight) Add(ctx context.Context, name string) (wire.Object, error) {
	if f := s.pendings.at(name); f != nil {
		s.waits[path.Clean(name)] = f
		return wire.Object{}, infer.ErrPending
	}
	return s.spaceStore.Add(ctx, name)
}

// sources waits until the sources of a call are there to be scanned.
func (s *sight) sources(ctx context.Context, call *infer.Call) error {
	for i := range call.Units {
		name := call.Units[i].Source
		if !path.IsAbs(name) {
			name = call.Dir + "/" + name
		}
		f := s.pendings.at(name)
		if f == nil {
			continue
		}
		f.call.of.demand(f.call)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.call.filled:
		}
	}
	return nil
}

// waited waits until the files of a draft are made and returns what they are, in its order.
func (s *sight) waited(ctx context.Context, d *infer.Draft) ([]wire.Object, error) {
	objects := make([]wire.Object, len(d.Pending))
	for i, name := range d.Pending {
		o, err := s.waits[name].object(ctx)
		if err != nil {
			return nil, err
		}
		objects[i] = o
	}
	return objects, nil
}

// object waits until the file is made.
func (f *pendingFile) object(ctx context.Context) (wire.Object, error) {
	f.call.of.demand(f.call)
	select {
	case <-ctx.Done():
		return wire.Object{}, context.Cause(ctx)
	case <-f.call.valued:
	}
	if f.call.valueErr != nil {
		return wire.Object{}, infer.Local("what it reads could not be made")
	}
	return f.call.outputs[f.output], nil
}
