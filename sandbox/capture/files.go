package capture

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"

	"gaggle/wire"
)

// storeFiles gives files to the sink from as many goroutines as there are processors, each
// source once, and fills in their objects.
func storeFiles(ctx context.Context, files []*node, sink Sink) error {
	type job struct {
		nodes  []*node // of one source or text
		object wire.Object
	}
	jobs := make([]*job, 0, len(files))
	same := make(map[string]*job, len(files))
	for _, n := range files {
		key := n.source
		if key == "" {
			key = "\x00" + n.text
		}
		j := same[key]
		if j == nil {
			j = new(job)
			same[key] = j
			jobs = append(jobs, j)
		}
		j.nodes = append(j.nodes, n)
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan *job)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), max(len(jobs), 1)) {
		wg.Go(func() {
			for j := range todo {
				o, err := storeFile(ctx, j.nodes[0], sink)
				if err != nil {
					cancel(err)
					continue
				}
				j.object = o
			}
		})
	}
feed:
	for _, j := range jobs {
		select {
		case todo <- j:
		case <-ctx.Done():
			break feed
		}
	}
	close(todo)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, j := range jobs {
		for _, n := range j.nodes {
			n.object = j.object
		}
	}
	return nil
}

func storeFile(ctx context.Context, n *node, sink Sink) (wire.Object, error) {
	if n.source == "" {
		return putText(ctx, n.text, sink)
	}
	if s, ok := sink.(PathSink); ok {
		o, err := s.AddPath(ctx, n.source)
		if err != nil {
			return o, fmt.Errorf("capturing %s: %w", n.source, err)
		}
		return o, nil
	}
	f, err := os.Open(n.source)
	if err != nil {
		return wire.Object{}, fmt.Errorf("capturing: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return wire.Object{}, fmt.Errorf("capturing: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return wire.Object{}, fmt.Errorf("capturing %s: it is no file any more", n.source)
	}
	id, err := sink.PutFile(ctx, f, fi.Size())
	if err != nil {
		return wire.Object{}, fmt.Errorf("capturing %s: %w", n.source, err)
	}
	return wire.FileObject(id, uint64(fi.Size()), false), nil
}
