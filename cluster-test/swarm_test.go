package clustertest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A swarm is two Docker hosts with an overlay network, which scripts/swarm keeps.
type swarm struct {
	b   *testing.B
	dir string
}

// newSwarm starts one, whose containers have these programs; nil where there is no Docker.
func newSwarm(b *testing.B, programs ...string) *swarm {
	b.Helper()
	for _, tool := range []string{"dockerd", "docker"} {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Println("without Docker Swarm; to have it compared: apt-get install docker.io")
			return nil
		}
	}
	s := &swarm{b, b.TempDir()}
	root := filepath.Join(s.dir, "root")
	image := exec.Command("sh", append([]string{"-eu", "-c", `
		mkdir -p "$0/usr/bin" "$0/tmp"
		ln -s usr/bin "$0/bin"
		for p; do
			p=$(command -v "$p")
			cp -L "$p" "$0/usr/bin/"
			# shellcheck disable=SC2046
			cp -L --parents $(ldd "$p" | grep -o '/[^ ]*') "$0"
		done`, root}, programs...)...)
	if out, err := image.CombinedOutput(); err != nil {
		b.Fatalf("making an image: %v\n%s", err, out)
	}
	lab := exec.Command("../scripts/swarm", s.dir, root)
	lab.Stderr = os.Stderr
	in, err := lab.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := lab.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = lab.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		b.Fatalf("scripts/swarm says %q (%v), want ready", line, err)
	}
	return s
}

// docker runs Docker's command for a host.
func (s *swarm) docker(host string, args ...string) error {
	socket := "unix://" + filepath.Join(s.dir, host+".sock")
	if out, err := exec.Command("docker", append([]string{"-H", socket}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

const (
	videoChunks  = 4
	videoSeconds = 4 // of a chunk
)

// encoding are the arguments of the encoders of examples/video.
func encoding(crf int) []string {
	return []string{itoa(crf), itoa(videoSeconds), "600", "4800"}
}

// video has containers encode the chunks, half of them on each host, and returns the film and what
// it took. The containers are removed later, as our networks are.
func (s *swarm) video(example string, crf int) (film string, took time.Duration) {
	s.b.Helper()
	dir := s.b.TempDir()
	for i := range videoChunks {
		s.copy(filepath.Join(example, "chunks", itoa(i)+".mkv"), filepath.Join(dir, itoa(i), "in.mkv"))
		s.copy(filepath.Join(example, "encoder.sh"), filepath.Join(dir, itoa(i), "encoder.sh"))
	}
	s.copy(filepath.Join(example, "join.sh"), filepath.Join(dir, "join.sh"))
	host := func(i int) string { return []string{"a", "b"}[i*2/videoChunks] }
	begun := time.Now()
	var encoders sync.WaitGroup
	failed := make([]error, videoChunks)
	for i := range videoChunks {
		encoders.Go(func() {
			name := "encode-" + itoa(i)
			failed[i] = s.docker(host(i), append([]string{"run", "--name", name, "--network", "tenants",
				"-e", "GAGGLE_INDEX=" + itoa(i), "-e", "GAGGLE_COUNT=" + itoa(videoChunks),
				"-v", filepath.Join(dir, itoa(i)) + ":/job", "-w", "/job", "tenant", "./encoder.sh", "neighbours"}, encoding(crf)...)...)
		})
	}
	encoders.Wait()
	err := errors.Join(failed...)
	for i := 0; i < videoChunks && err == nil; i++ {
		s.copy(filepath.Join(dir, itoa(i), "out.mkv"), filepath.Join(dir, "parts", itoa(i)))
	}
	if err == nil {
		err = s.docker("a", "run", "--name", "join", "--network", "none", "-v", dir+":/job", "-w", "/job", "tenant", "./join.sh", itoa(videoChunks))
	}
	took = time.Since(begun)
	for i := range videoChunks {
		err = errors.Join(err, s.docker(host(i), "rm", "-f", "encode-"+itoa(i)))
	}
	if err = errors.Join(err, s.docker("a", "rm", "-f", "join")); err != nil {
		s.b.Fatal(err)
	}
	return readFile(s.b, filepath.Join(dir, "film.mp4")), took
}

func (s *swarm) copy(from, to string) {
	s.b.Helper()
	if out, err := exec.Command("install", "-D", from, to).CombinedOutput(); err != nil {
		s.b.Fatalf("copying %s: %v: %s", from, err, out)
	}
}

// BenchmarkVideo encodes the film of examples/video by files, over a network of ours and over Docker
// Swarm's with as many containers, each on two machines, in turns: the wall time until the film is
// there, once all programs and chunks are where they are needed. GAGGLE_ROUNDS says how often.
func BenchmarkVideo(b *testing.B) {
	m := NewMesh(b, bin, 0, 0)
	m.AddNode("n1", videoChunks/2, "--trusted-cidr", "10.77.0.0/16")
	m.AddNode("n2", videoChunks/2, "--trusted-cidr", "10.77.0.0/16")
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	if err := os.CopyFS(dir, os.DirFS("../examples/video")); err != nil {
		b.Fatal(err)
	}
	length := []string{"-p", "chunks=" + itoa(videoChunks), "-p", "chunk=" + itoa(videoSeconds)}
	anna.Submit(dir, append(length, "-p", "seconds="+itoa(videoChunks*videoSeconds), "graph.yaml")...)
	anna.lab.run("sh", "-c", `cd "$0" && ./split.sh `+itoa(videoSeconds), dir)

	submit := func(args ...string) (string, time.Duration) {
		begun := time.Now()
		anna.Submit(dir, append(args, "--out", "out")...)
		return readFile(b, filepath.Join(dir, "out", "film.mp4")), time.Since(begun)
	}
	type way struct {
		name   string
		encode func(crf int) (film string, took time.Duration)
	}
	ways := []way{
		{"files", func(crf int) (string, time.Duration) {
			p := encoding(crf)
			graph := anna.lab.output(filepath.Join(dir, "files.py"), itoa(videoChunks), p[1], p[0], p[2], p[3])
			// The film is not to be joined once for both.
			graph = strings.Replace(graph, `["./join.sh",`, `["sh", "./join.sh",`, 1)
			WriteFiles(b, dir, map[string]string{"files.json": graph})
			return submit("files.json")
		}},
		{"network", func(crf int) (string, time.Duration) {
			p := encoding(crf)
			return submit(append(length, "-p", "crf="+p[0], "-p", "rate="+p[2], "-p", "buffer="+p[3], "network.yaml")...)
		}},
	}
	if docker := newSwarm(b, "sh", "ffmpeg", "cat", "nc", "sleep", "wc"); docker != nil {
		ways = append(ways, way{"swarm", func(crf int) (string, time.Duration) { return docker.video(dir, crf) }})
	}
	times := make([][]float64, len(ways))
	for round := range 1 + rounds() { // the first brings programs and chunks
		films := map[string]bool{}
		for i := range ways {
			i = (i + round) % len(ways)
			film, took := ways[i].encode(24 + round)
			films[film] = true
			if round > 0 {
				times[i] = append(times[i], took.Seconds())
			}
		}
		if len(films) > 1 {
			b.Fatalf("crf %d: the film is not the same by all ways", 24+round)
		}
	}
	for i := range ways {
		ratios := make([]float64, len(times[i]))
		for round, took := range times[i] {
			ratios[round] = took / times[0][round]
		}
		fmt.Printf("%-8s %6.2f s, %.2fx of files; %.2f\n", ways[i].name, median(times[i]), median(ratios), times[i])
	}
}

func median(all []float64) float64 {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// rounds is how often benchmarks compare.
func rounds() int {
	n := 3
	_, _ = fmt.Sscan(os.Getenv("GAGGLE_ROUNDS"), &n)
	return max(n, 1)
}
