package clustertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The encoders of examples/video tell their neighbours over a network of their own, on three machines,
// and give the film that they give when they leave each other files:
//
//	hub   n1 (2 slots)   n2 (1 slot)   n3 (1 slot)   anna
//	 |      |              |              |             |
//	 +------+--------------+------br0-----+-------------+
func TestVideoByNetworkAndByFiles(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	for _, tool := range []string{"ffmpeg", "nc", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: scripts/needs installs it", tool)
		}
	}
	m.AddNode("n1", 2, "--trusted-cidr", "10.77.0.0/16") // packets between these two go by the kernel
	m.AddNode("n2", 1, "--trusted-cidr", "10.77.0.0/16")
	m.AddNode("n3", 1)
	anna := m.Client("anna")
	dir := filepath.Join(anna.Dir, "work")
	if err := os.CopyFS(dir, os.DirFS("../examples/video")); err != nil {
		t.Fatal(err)
	}
	anna.Submit(dir, "-p", "seconds=8", "-p", "chunks=4", "-p", "size=160x90", "graph.yaml")

	// So little that the third chunk takes more than its share, and the last as much as there is.
	byNetwork, events := anna.Submit(dir, "--out", "network", "-p", "chunks=4", "-p", "rate=130", "-p", "buffer=520", "network.yaml")
	if shares := Shares(events); len(shares) != 3 {
		t.Errorf("the encoders ran on %v, want all three nodes", shares)
	}
	graph := func(buffer int) {
		t.Helper()
		out, err := exec.Command(filepath.Join(dir, "files.py"), "4", "2", "26", "130", itoa(buffer)).Output()
		if err != nil {
			t.Fatal("files.py: ", err)
		}
		WriteFiles(t, dir, map[string]string{"files.json": string(out)})
	}
	graph(520)
	byFiles, _ := anna.Submit(dir, "--out", "files", "files.json")
	t.Logf("by network: %d tasks in %.2f s, %d B moved; by files: %d tasks in %.2f s, %d B moved",
		byNetwork.Ran, byNetwork.Wall, byNetwork.Moved, byFiles.Ran, byFiles.Wall, byFiles.Moved)
	if byNetwork.Ran != 5 || byFiles.Ran != 12 { // the film is joined once
		t.Errorf("%d tasks ran by network and %d by files, want 5 and 12", byNetwork.Ran, byFiles.Ran)
	}
	film := readFile(t, filepath.Join(dir, "network/film.mp4"))
	if film != readFile(t, filepath.Join(dir, "files/film.mp4")) {
		t.Error("the film by network is another than that by files")
	}
	// Where nothing can be left all have the same share.
	graph(260)
	anna.Submit(dir, "--out", "even", "files.json")
	if film == readFile(t, filepath.Join(dir, "even/film.mp4")) {
		t.Error("what encoders tell each other does not change the film")
	}
}
