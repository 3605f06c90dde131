package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// sampleEvery is how often memory is looked at where no cgroup bounds it: a process touches about
// 100 MiB in that time.
const sampleEvery = 50 * time.Millisecond

// A sampler stands in for a memory cgroup: it adds up what the processes in the pid namespace
// hold and what is in the scratch directories, and kills all when that exceeds the limit.
type sampler struct {
	zygote  *zygote
	seq     uint64
	limit   int64
	scratch int // index of the command's scratch: the zygote's own may be the next one's already
	timer   *time.Timer
	peak    int64
	starved bool
}

// sample starts a sampler for the command of Exec seq.
func (z *zygote) sample(seq uint64, limit int64) *sampler {
	s := &sampler{zygote: z, seq: seq, limit: limit, scratch: z.scratch.index}
	z.mu.Lock()
	defer z.mu.Unlock()
	s.timer = time.AfterFunc(sampleEvery, s.look)
	return s
}

func (s *sampler) look() {
	used := residentBytes() + scratchUsed(s.scratch)
	s.zygote.mu.Lock()
	defer s.zygote.mu.Unlock()
	if s.zygote.running != s.seq {
		return
	}
	s.peak = max(s.peak, used)
	if used > s.limit {
		s.starved = true
		unix.Kill(-1, unix.SIGKILL)
		return
	}
	s.timer.Reset(sampleEvery)
}

// residentBytes adds up the resident memory of all other processes in the pid namespace, less
// what they share with files or each other.
func residentBytes() (n int64) {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid < firstPid {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/statm")
		if err != nil {
			continue // it has ended
		}
		f := bytes.Fields(b) // size, resident, shared, ... in pages
		if len(f) < 3 {
			continue
		}
		resident, _ := strconv.ParseInt(string(f[1]), 10, 64)
		shared, _ := strconv.ParseInt(string(f[2]), 10, 64)
		n += (resident - shared) * int64(os.Getpagesize())
	}
	return n
}

// scratchUsed returns the bytes in the /job and /tmp of a scratch; 0 once they are gone.
func scratchUsed(index int) (n int64) {
	for _, d := range scratchDirs {
		var st unix.Statfs_t
		if unix.Statfs(rootPath(index)+d, &st) == nil {
			n += int64(st.Blocks-st.Bfree) * st.Bsize
		}
	}
	return n
}
