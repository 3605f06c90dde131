package blobstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// metaEvery is how long what was kept may stay in memory only, and metaBatch how many entries
	// may: one transaction flushes twice (0.5-1 ms), so each waits for company.
	metaEvery = time.Second
	metaBatch = 4096
	// metaTimeout bounds the wait for bbolt's own lock, which waits for ever by default. Ours is
	// held already, so only a foreign tool could have it.
	metaTimeout = time.Second
	// maxMemo and maxDirs bound a generation of memo entries and of indexed directories and
	// files, at some 600 bytes each.
	maxMemo = 1_000_000
	maxDirs = 1_000_000
)

// A meta is what the store remembers but can do without: the memo and the file identity index,
// in bbolt. Writes are gathered and committed together. If the file turns out damaged it is put
// aside: everything in it becomes a miss.
type meta struct {
	log  *slog.Logger
	path string
	wg   sync.WaitGroup
	quit chan struct{}
	full chan struct{} // asks for a commit; capacity 1

	memo  *cache
	index *cache

	mu sync.RWMutex // guards db; read-held while it is used
	db *bolt.DB     // nil if it is damaged or closed
}

// A cache is a bounded map from bytes to bytes in two generations, the buckets NAME-0 and NAME-1:
// entries are written to the young one, and read ones are moved there; when it is full, the old
// one is emptied and becomes the young one. The bucket "young" says which that is.
type cache struct {
	name  string
	limit uint64 // entries of a generation

	mu      sync.Mutex        // guards pending
	pending map[string][]byte // not yet committed
}

func newCache(name string, limit uint64) *cache {
	return &cache{name: name, limit: limit, pending: map[string][]byte{}}
}

// openMeta opens or makes the file. It does not fail: without it everything is a miss.
func openMeta(path string, log *slog.Logger) *meta {
	m := &meta{log: log, path: path, quit: make(chan struct{}), full: make(chan struct{}, 1),
		memo: newCache("memo", maxMemo), index: newCache("index", maxDirs)}
	err := m.open()
	if err != nil {
		log.Warn("memo and file index are damaged and start empty", "path", path, "err", err)
		if err = os.Remove(path); err == nil {
			err = m.open()
		}
	}
	if err != nil {
		log.Error("going on without memo and file index", "path", path, "err", err)
	}
	m.wg.Go(m.loop)
	return m
}

func (m *meta) open() error {
	db, err := guarded(func() (*bolt.DB, error) {
		// The free list stays in the file (no NoFreelistSync): without it bbolt looks for it in a
		// goroutine of its own, whose panic at a damaged page nobody can catch.
		db, err := bolt.Open(m.path, 0o600, &bolt.Options{Timeout: metaTimeout, FreelistType: bolt.FreelistMapType})
		if err != nil {
			return nil, err
		}
		err = db.Update(func(tx *bolt.Tx) error {
			for _, name := range []string{"young", "memo-0", "memo-1", "index-0", "index-1"} {
				if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		return db, nil
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.db = db
	return err
}

var errDamaged = errors.New("damaged file")

// guarded runs f and turns a panic into an error: bbolt trusts its file, and reads pages beyond
// the end of a cut one through a memory map.
func guarded[T any](f func() (T, error)) (v T, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return f()
}

// use runs f on the open file, and gives the file up if it turns out damaged.
func (m *meta) use(f func(db *bolt.DB) error) error {
	m.mu.RLock()
	db := m.db
	if db == nil {
		m.mu.RUnlock()
		return nil
	}
	_, err := guarded(func() (struct{}, error) { return struct{}{}, f(db) })
	m.mu.RUnlock()
	if errors.Is(err, errDamaged) || errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) {
		m.giveUp(db, err)
	}
	return err
}

// giveUp goes on without the file, which the next start makes anew.
func (m *meta) giveUp(db *bolt.DB, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db != db {
		return
	}
	m.db = nil
	m.log.Error("going on without memo and file index until the next start", "path", m.path, "err", why)
	if err := os.Remove(m.path); err != nil {
		m.log.Error("cannot remove them", "err", err)
	}
}

// get returns the value of a key, nil if there is none.
func (m *meta) get(c *cache, k string) []byte {
	return m.getAll(c, []string{k})[0]
}

// getAll returns the values of many keys under one transaction.
func (m *meta) getAll(c *cache, ks []string) [][]byte {
	out := make([][]byte, len(ks))
	c.mu.Lock()
	for i, k := range ks {
		out[i] = c.pending[k]
	}
	c.mu.Unlock()
	var aging []int
	m.use(func(db *bolt.DB) error { // an error was logged, and is a miss
		return db.View(func(tx *bolt.Tx) error {
			y, o := c.generations(tx)
			young, old := c.bucket(tx, y), c.bucket(tx, o)
			for i, k := range ks {
				if out[i] != nil {
					continue
				}
				if v := young.Get([]byte(k)); v != nil {
					out[i] = append([]byte{}, v...)
				} else if v := old.Get([]byte(k)); v != nil {
					out[i] = append([]byte{}, v...)
					aging = append(aging, i)
				}
			}
			return nil
		})
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range aging {
		if c.pending[ks[i]] == nil { // not put anew meanwhile
			c.pending[ks[i]] = out[i]
		}
	}
	return out
}

// put keeps a value from now on; it is on disk about a second later.
func (m *meta) put(c *cache, k string, v []byte) {
	c.mu.Lock()
	c.pending[k] = v
	n := len(c.pending)
	c.mu.Unlock()
	if n >= metaBatch {
		select {
		case m.full <- struct{}{}:
		default:
		}
	}
}

func (m *meta) loop() {
	tick := time.NewTicker(metaEvery)
	defer tick.Stop()
	for {
		select {
		case <-m.quit:
			return
		case <-m.full:
		case <-tick.C:
		}
		m.commit(m.memo)
		m.commit(m.index)
	}
}

// commit writes what is pending. Readers find it in pending until it is in the file.
func (m *meta) commit(c *cache) {
	c.mu.Lock()
	batch := make(map[string][]byte, len(c.pending))
	for k, v := range c.pending {
		batch[k] = v
	}
	c.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := m.use(func(db *bolt.DB) error {
		return db.Update(func(tx *bolt.Tx) error { return c.write(tx, batch) })
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		m.log.Error("cannot write memo and file index", "path", m.path, "err", err)
		if len(c.pending) > 16*metaBatch { // a full disk must not become a full memory
			clear(c.pending)
		}
		return
	}
	for k, v := range batch {
		if now := c.pending[k]; len(now) > 0 && &now[0] == &v[0] { // not put again meanwhile
			delete(c.pending, k)
		}
	}
}

// generations returns the numbers of the young and the old bucket.
func (c *cache) generations(tx *bolt.Tx) (young, old string) {
	if string(tx.Bucket([]byte("young")).Get([]byte(c.name))) == "1" {
		return "1", "0"
	}
	return "0", "1"
}

func (c *cache) bucket(tx *bolt.Tx, generation string) *bolt.Bucket {
	return tx.Bucket([]byte(c.name + "-" + generation))
}

// write puts a batch into the young generation, changing generations when it is full. A bucket's
// sequence counts what was put into it.
func (c *cache) write(tx *bolt.Tx, batch map[string][]byte) error {
	y, o := c.generations(tx)
	young := c.bucket(tx, y)
	if young.Sequence()+uint64(len(batch)) > c.limit {
		err := tx.DeleteBucket([]byte(c.name + "-" + o))
		if err == nil {
			young, err = tx.CreateBucket([]byte(c.name + "-" + o))
		}
		if err == nil {
			err = tx.Bucket([]byte("young")).Put([]byte(c.name), []byte(o))
		}
		if err != nil {
			return err
		}
	}
	for k, v := range batch {
		if err := young.Put([]byte(k), v); err != nil {
			return err
		}
	}
	return young.SetSequence(young.Sequence() + uint64(len(batch)))
}

// close commits what is pending and closes the file.
func (m *meta) close() error {
	close(m.quit)
	m.wg.Wait()
	m.commit(m.memo)
	m.commit(m.index)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db == nil {
		return nil
	}
	db := m.db
	m.db = nil
	_, err := guarded(func() (struct{}, error) { return struct{}{}, db.Close() })
	return err
}
