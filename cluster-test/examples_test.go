package clustertest

import (
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The graphs below examples/ run on this machine alone, each with a state directory of its own.

// example copies an example to a directory where it can be run. It skips the test if it needs a
// tool that is not there.
func example(t *testing.T, name string, tools ...string) *solo {
	t.Helper()
	// Programs of /usr/local may be wrappers of others, which would have to be included by name.
	t.Setenv("PATH", "/usr/bin:/bin:"+os.Getenv("PATH"))
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: scripts/needs installs it", tool)
		}
	}
	if out, err := exec.Command("unshare", "--user", "--map-root-user", "true").CombinedOutput(); err != nil {
		t.Skipf("no user namespaces here: %v %s", err, out)
	}
	s := newSolo(t)
	if err := os.CopyFS(s.dir, os.DirFS(filepath.Join("..", "examples", name))); err != nil {
		t.Fatal(err)
	}
	return s
}

// submits runs coord submit and checks how many tasks ran; want < 0 is all of them.
func (s *solo) submits(want int, args ...string) (Summary, []Event) {
	s.b.Helper()
	out, err := s.coord(append([]string{"submit", "--local", "--json"}, args...)...)
	if err != nil {
		s.b.Fatal(err)
	}
	sum, events := ParseEvents(s.b, out)
	if want < 0 {
		want = sum.Tasks
	}
	if sum.Ran != want || sum.Ran+sum.Memo != sum.Tasks {
		s.b.Errorf("submit %s: %+v, want %d run and the others from the memo", strings.Join(args, " "), sum, want)
	}
	return sum, events
}

func (s *solo) run(name string, args ...string) string {
	s.b.Helper()
	c := exec.Command(name, args...)
	c.Dir = s.dir
	out, err := c.CombinedOutput()
	if err != nil {
		s.b.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *solo) read(name string) string {
	s.b.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.b.Fatal(err)
	}
	return string(b)
}

func TestExampleWordcount(t *testing.T) {
	s := example(t, "wordcount")
	copySources(t, s.dir, "net", "encoding")
	s.submits(-1, "graph.yaml")
	if got, want := s.read("top.txt"), serialTop(t, s.dir); got != want {
		t.Errorf("top.txt:\n%s\nserially:\n%s", got, want)
	}
	s.submits(0, "graph.yaml")
	s.submits(1, "-p", "top=5", "graph.yaml")
	if got := strings.Count(s.read("top.txt"), "\n"); got != 5 {
		t.Errorf("%d lines with top=5", got)
	}
}

// TestExampleFib: 5 x 10^18 calls as a recursion, 91 numbers and 89 sums here.
func TestExampleFib(t *testing.T) {
	s := example(t, "fib")
	_, events := s.submits(180, "graph.json")
	if got := s.read("fib.txt"); got != "2880067194370816120\n" {
		t.Errorf("fib(90) = %s", got)
	}
	numbers, sums := 0, 0
	for _, e := range events {
		switch {
		case e.State != "done" || e.How != "ran":
		case strings.HasSuffix(e.Task, "/sum"):
			sums++
		default:
			numbers++
		}
	}
	if numbers != 91 || sums != 89 {
		t.Errorf("%d runs of fib.sh and %d sums, want 91 and 89", numbers, sums)
	}
	s.submits(0, "graph.json")
	// A smaller one is a part of it: all is known but that nobody asked for it.
	s.submits(0, "-p", "n=40", "graph.json")
	if got := s.read("fib.txt"); got != "102334155\n" {
		t.Errorf("fib(40) = %s", got)
	}
}

func TestExampleVideo(t *testing.T) {
	s := example(t, "video", "ffmpeg", "ffprobe")
	small := []string{"-p", "seconds=4", "-p", "chunk=1", "-p", "chunks=4", "-p", "size=160x90", "graph.yaml"}
	s.submits(-1, small...)
	frames := s.run("ffprobe", "-v", "error", "-select_streams", "v", "-count_frames",
		"-show_entries", "stream=codec_name,width,height,nb_read_frames", "-of", "csv=p=0", "film.mp4")
	if strings.TrimSpace(frames) != "h264,160,90,100" {
		t.Errorf("film.mp4 is %q, want 100 frames of h264, 160x90", frames)
	}
	film := s.read("film.mp4")
	s.submits(0, small...)
	s.submits(5, append([]string{"-p", "crf=40"}, small...)...) // the four chunks and the film
	if got := len(s.read("film.mp4")); got >= len(film) {
		t.Errorf("film.mp4 has %d bytes with crf=40, %d with crf=28", got, len(film))
	}
}

func TestExampleThumbs(t *testing.T) {
	s := example(t, "thumbs", "convert")
	s.run("./pictures.sh", "4")
	pictures := []string{"picture-1.jpg", "picture-2.jpg", "picture-3.jpg", "picture-4.jpg"}
	run := func(want string) {
		t.Helper()
		args := []string{"run", "--local", "--json", "--out", "{.}.png", "convert {} -thumbnail 200x200 -strip {.}.png", ":::"}
		out, err := s.coord(append(args, pictures...)...)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, want) {
			t.Errorf("coord run says %s, want %s", out, want)
		}
	}
	run(`"ran":4,"memo":0,"failed":0`)
	for _, p := range pictures {
		f, err := os.Open(filepath.Join(s.dir, strings.TrimSuffix(p, ".jpg")+".png"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := png.DecodeConfig(f)
		f.Close()
		if err != nil || c.Width != 200 || c.Height != 133 {
			t.Errorf("the thumbnail of %s is %dx%d (%v), want 200x133", p, c.Width, c.Height, err)
		}
	}
	run(`"ran":0,"memo":4,"failed":0`)
	s.run("convert", "picture-3.jpg", "-negate", "picture-3.jpg")
	run(`"ran":1,"memo":3,"failed":0`)

	s.submits(-1, "graph.yaml")
	if s.read("thumbs/picture-3.jpg.png") != s.read("picture-3.png") {
		t.Error("the graph and coord run make different thumbnails")
	}
}

func TestExampleOCI(t *testing.T) {
	s := example(t, "oci", "tar", "ldd")
	s.run("./image.sh")
	s.submits(1, "graph.yaml")
	if got, want := s.read("inside.txt"), "made by image.sh\nLinux\napple\npear\n"; got != want {
		t.Errorf("inside.txt = %q, want %q", got, want)
	}
	// The same image made anew is the same root.
	s.run("./image.sh")
	s.submits(0, "graph.yaml")
}
