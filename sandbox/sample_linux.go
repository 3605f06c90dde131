package sandbox

import (
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
	scratch scratch // the command's: the zygote's own may be the next one's already
	timer   *time.Timer
	peak    int64
	starved bool
}

// sample starts a sampler for the command of Exec seq.
func (z *zygote) sample(seq uint64, limit int64) *sampler {
	s := &sampler{zygote: z, seq: seq, limit: limit, scratch: z.scratch}
	z.mu.Lock()
	defer z.mu.Unlock()
	s.timer = time.AfterFunc(sampleEvery, s.look)
	return s
}

func (s *sampler) look() {
	own, shared := residentBytes(s.limit / 8)
	used := own + max(shared, s.scratch.bytesUsed()) // what is in scratch may be mapped as well
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

// residentBytes adds up the resident memory of all other processes in the pid namespace: their
// own, and what they share with each other. The latter is divided among them, which is dear to
// tell and asked only of those that share more than spare bytes. Files without a name
// (memfd_create) that nobody maps are not seen: only a cgroup counts them.
func residentBytes(spare int64) (own, shared int64) {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return 0, 0
	}
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid < firstPid {
			continue
		}
		f, err := os.Open("/proc/" + e.Name() + "/status")
		if err != nil {
			continue // it has ended
		}
		own += number(f, "RssAnon:") << 10
		mapped := number(f, "RssShmem:") << 10
		f.Close()
		if mapped > spare {
			mapped = dividedBytes(e.Name(), mapped)
		}
		shared += mapped
	}
	return own, shared
}

// dividedBytes returns a process's part of the memory that it shares; all of it if it cannot tell.
func dividedBytes(pid string, all int64) int64 {
	f, err := os.Open("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return all
	}
	defer f.Close()
	if part := number(f, "Pss_Shmem:") << 10; part > 0 {
		return part
	}
	return all
}

// bytesUsed returns the bytes in the /job and /tmp of a scratch. Once they are gone it is anything.
func (s *scratch) bytesUsed() (n int64) {
	for i := range scratchDirs {
		var st unix.Statfs_t
		if unix.Statfs(s.path(i), &st) == nil {
			n += int64(st.Blocks-st.Bfree) * st.Bsize
		}
	}
	return n
}
